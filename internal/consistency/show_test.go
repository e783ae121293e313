package consistency

import (
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// However many values there are to show: what is kept of each, and of all, is bounded, and how long each is stays known.
func TestShownValuesAreBounded(t *testing.T) {
	r, value := &round{}, make([]byte, longestShown+1)
	kept, shown := 0, 0
	for range 2 * mostShown / longestShown {
		o := reading{Observation: verdict.Observation{Presence: verdict.Present}}
		r.show(&o, value)
		if o.size != len(value) {
			t.Fatalf("%d bytes of %d are told", o.size, len(value))
		}
		if kept += cap(o.value); o.value != nil {
			shown++
		}
	}
	if kept > mostShown || shown != mostShown/longestShown {
		t.Errorf("%d values of %d bytes are kept", shown, kept)
	}
}
