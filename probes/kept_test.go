package probes

import (
	"fmt"
	"runtime"
	"testing"
)

type keptThing struct{ name string }

// What is in use lasts, whatever else is asked for; the rest goes in the end, and is made anew.
func TestKeptOfServersThatNobodyNamesAnyMore(t *testing.T) {
	k := NewKept()
	at := func(name string) *keptThing {
		return KeptOf(k, "kind", name, func() *keptThing { return &keptThing{name} })
	}
	used := at("used")
	left := at("left")
	left.name = "left before"
	left = nil
	if at("left").name != "left before" {
		t.Error("what nobody uses was forgotten at once")
	}
	for i := range 3 * mostKept {
		at(fmt.Sprint(i))
	}
	known := func() int {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(k.by)
	}
	n := known()
	for i := 0; n > 2*mostKept && i < 1000; i++ { // cleanups run soon after a collection
		runtime.GC()
		runtime.Gosched()
		n = known()
	}
	if n > 2*mostKept || len(k.last) != mostKept {
		t.Errorf("%d are known, %d held, want %d", n, len(k.last), mostKept)
	}
	if at("used") != used {
		t.Error("what is in use was forgotten")
	}
	if got := at("left").name; got != "left" {
		t.Errorf("%q is still remembered", got)
	}
}
