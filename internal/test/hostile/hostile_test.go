package hostile

import (
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// Each attack alone beside honest nodes: the exporter stays up and small, and tells all of them at each scrape.
func TestAttacks(t *testing.T) {
	binary := servers.Build(t)
	none := Attack{Name: "none", Start: func(testing.TB) Config { return Config{} }}
	for _, a := range append(Attacks(), none) {
		t.Run(a.Name, func(t *testing.T) {
			v := Start(t, binary, 2, []Attack{a})
			for range 4 {
				v.Scrape(t)
			}
			v.Small(t)
		})
	}
}
