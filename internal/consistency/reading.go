package consistency

import (
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// reading is one copy as read, with what only the report and the TTL families need. There are as many as keys and nodes,
// so what few of them have is in detail.
type reading struct {
	verdict.Observation
	ttl      time.Duration
	cachedAt int64 // unix nanoseconds; 0: none
	*detail
	hasTTL, noExpiry, suspect bool
	// unversioned: the copy is present, and the class's version is not in it or can't be read.
	unversioned bool
}

// detail is what few readings have.
type detail struct {
	err error
	// value for the report: what the copy holds, or begins with, and its size in bytes.
	value []byte
	size  int
	// variant that the reading is; empty: the only one.
	variant string
	// variants of the copy that differ from it.
	variants []variant
}

// why a copy could not be read; nil where it could.
func (r *reading) why() error {
	if r.detail == nil {
		return nil
	}
	return r.err
}
