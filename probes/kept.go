package probes

import (
	"runtime"
	"sync"
	"weak"
)

// Kept is what the process remembers of servers, such as how many of their hits and misses were its own reads. It
// outlives nodes that leave and come back, and configurations: what is in use lasts, and of the rest what was asked for last.
type Kept struct {
	mu sync.Mutex
	by map[string]any // a weak.Pointer by kind and address
	// last are the mostKept that were asked for last, as a ring: next is the place of the oldest.
	last []any
	next int
}

// mostKept of servers that may be in use by nobody are remembered.
const mostKept = 10_000

// NewKept remembers nothing yet.
func NewKept() *Kept { return &Kept{by: map[string]any{}} }

// KeptOf gives what is kept under a kind and an address; open makes it where nothing is. Each kind keeps one type: it is asked
// for with the same T every time.
func KeptOf[T any](k *Kept, kind, address string, open func() *T) *T {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := kind + " " + address
	if known, ok := k.by[name].(weak.Pointer[T]); ok {
		if v := known.Value(); v != nil {
			k.touch(v)
			return v
		}
	}
	v := open()
	mine := weak.Make(v)
	k.by[name] = mine
	k.touch(v)
	runtime.AddCleanup(v, func(name string) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.by[name] == any(mine) { // else it was made anew
			delete(k.by, name)
		}
	}, name)
	return v
}

// touch holds v, and lets go of what was not asked for longest.
func (k *Kept) touch(v any) {
	if len(k.last) < mostKept {
		k.last = append(k.last, v)
		return
	}
	k.last[k.next] = v
	k.next = (k.next + 1) % mostKept
}
