package probetest

import (
	"sync"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Listed is what a Scan was given.
type Listed struct {
	probes.Scan
	mu   sync.Mutex
	keys []string
}

// NewListed is a scan for keys that match.
func NewListed(match string) *Listed {
	l := &Listed{Scan: probes.Scan{Count: 1000, Match: match}}
	l.Found = func(key string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.keys = append(l.keys, key)
	}
	return l
}

// Take gives what was listed since the last call.
func (l *Listed) Take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys := l.keys
	l.keys = nil
	return keys
}
