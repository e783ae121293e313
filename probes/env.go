package probes

import (
	"log/slog"
	"net"
	"time"
)

// Env is what all backends of one process share: its limits from the command line, its budget, what it remembers of servers,
// and its log. It is made once, and not changed afterwards.
type Env struct {
	// MaxValueBytes bounds a value of Redis and memcached (--canary.max-value-bytes).
	MaxValueBytes int64
	// MaxBody bounds an HTTP body, in bytes (--http.max-body).
	MaxBody int64
	// ForgetAfter bounds how long a node that left its group is still asked (--discovery.forget-after).
	ForgetAfter time.Duration
	// SampleMessages bounds the newest messages that are looked at in each queue (--queue.sample); 0: none.
	SampleMessages int
	// Budget bounds the bytes of values held at once by all probes.
	Budget *Budget
	// Kept is what the process remembers of servers.
	Kept *Kept
	// Resolver of the DNS names that stand for groups; nil: the system's.
	Resolver *net.Resolver
	// Log is where groups say what changed.
	Log *slog.Logger
}
