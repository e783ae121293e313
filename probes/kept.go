package probes

import "sync"

// Kept is what the process remembers of servers, such as how many of their hits and misses were its own reads. It
// outlives nodes that leave and come back, and configurations.
type Kept struct {
	mu sync.Mutex
	by map[string]any // by kind and address
}

// NewKept remembers nothing yet.
func NewKept() *Kept { return &Kept{by: map[string]any{}} }

// KeptOf gives what is kept under a kind and an address; open makes it where nothing is. Each kind keeps one type.
func KeptOf[T any](k *Kept, kind, address string, open func() *T) *T {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := kind + " " + address
	if k.by[name] == nil {
		k.by[name] = open()
	}
	return k.by[name].(*T)
}
