// Command program is the program by whose name it is called.
package main

import (
	"os"
	"path/filepath"

	"github.com/cacheinv/cacheinv_exporter/internal/test/standin"
)

func main() {
	os.Exit(standin.Main(filepath.Base(os.Args[0]), os.Args[1:]))
}
