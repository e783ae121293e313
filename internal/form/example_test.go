package form_test

import (
	"fmt"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

// A block of a backend of one's own, with two fields that are wrong.
func ExampleBlock() {
	const file = `url: queue.example
every: 1x
evry: 1m
`
	d := form.Read("cacheinv.yml", []byte(file))

	b := d.Root().Block()
	url, every := b.Get("url"), b.Get("every")
	if b.Require(url, "the URL of the queue") {
		fmt.Printf("url %q\n", url.URL())
	}
	fmt.Println("every", every.PositiveDuration(30*time.Second, "how often, such as 30s"))
	b.Done()

	fmt.Println(d.Faults())
	// Output:
	// url ""
	// every 30s
	// cacheinv.yml:1: url: is no URL; write http://host:port/path, or https://
	// cacheinv.yml:2: every: "1x" is no duration; write numbers with units, such as 30s, 5m, 1h30m or 1d
	// cacheinv.yml:3: evry: is unknown; did you mean every?
}
