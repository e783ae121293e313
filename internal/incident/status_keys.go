package incident

import (
	"math"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// KeyStatus is one key of a class, with its copies on the nodes that should hold it.
type KeyStatus struct {
	Key string `json:"key"`
	// KeyBase64 is the key where it is no text.
	KeyBase64 []byte `json:"key_base64,omitempty"`
	// Reference is what decided which copies are right; nil where no copy is there.
	Reference *string `json:"reference"`
	// Differs: a copy is stale or undecided.
	Differs bool            `json:"differs"`
	Copies  []KeyCopyStatus `json:"copies"`
}

// KeyCopyStatus is one copy of a key. Times are in seconds. Where the copy could not be read, or is not there, all but its
// state is nil.
type KeyCopyStatus struct {
	Layer string `json:"layer"`
	Node  string `json:"node"`
	State string `json:"state"`
	// Overdue: stale for longer than the layer's max_staleness.
	Overdue      *bool    `json:"overdue"`
	StaleSeconds *float64 `json:"stale_seconds"`
	// Survivor: others of its layer lost the copy without a known cause.
	Survivor *bool `json:"survivor"`
	// Digest is keyed: equal within an answer where contents are equal, and good for nothing else.
	Digest     *string  `json:"digest"`
	Version    *string  `json:"version"`
	TTLSeconds *float64 `json:"ttl_seconds"`
	// NoExpiry: the server says that the copy never expires; nil where that is unknown.
	NoExpiry *bool `json:"no_expiry"`
	// AgeSeconds since the copy was made, where the class has cached_at. SeenSeconds is for how long the exporter has seen
	// this content on the node: the copy is at least as old.
	AgeSeconds  *float64 `json:"age_seconds"`
	SeenSeconds *float64 `json:"seen_seconds"`
}

// addKeys of a class, one by one.
func (s *CanaryStatus) addKeys(c *consistency.ClassResult, digests Digests) {
	s.KeysRead, s.KeysDiffering, s.Keys = c.Matrix.Keys, c.Matrix.Differing, make([]KeyStatus, 0, len(c.Matrix.Rows))
	known := &knownDigests{Digests: digests, known: map[content.Digest]*string{}}
	for i := range c.Matrix.Rows {
		row := &c.Matrix.Rows[i]
		key := KeyStatus{Differs: row.Differs, Copies: make([]KeyCopyStatus, 0, len(row.Copies))}
		key.Key, key.KeyBase64 = probes.KeyText(row.Key)
		if row.Counted {
			key.Reference = new(row.Reference.String())
		}
		for k := range row.Copies {
			key.Copies = append(key.Copies, newKeyCopyStatus(&row.Copies[k], c, known))
		}
		s.Keys = append(s.Keys, key)
	}
}

func newKeyCopyStatus(k *consistency.KeyCopy, c *consistency.ClassResult, digests *knownDigests) KeyCopyStatus {
	on := &c.Nodes[k.Node]
	out := KeyCopyStatus{Layer: on.Layer, Node: on.Node, State: k.State.String()}
	if !k.Present {
		return out
	}
	out.Overdue, out.Survivor = &k.Overdue, &k.Survivor
	if k.State == verdict.Stale {
		out.StaleSeconds = rounded(k.StaleFor)
	}
	out.Digest = digests.of(k.Content)
	if !k.Version.IsZero() {
		out.Version = shown(k.Version.String())
	}
	switch {
	case k.NoExpiry:
		out.NoExpiry = new(true)
	case k.HasTTL:
		out.NoExpiry, out.TTLSeconds = new(false), rounded(k.TTL)
	}
	if k.HasAge {
		out.AgeSeconds = rounded(k.Age)
	}
	out.SeenSeconds = rounded(k.SeenFor)
	return out
}

// rounded to milliseconds, as seconds.
func rounded(d time.Duration) *float64 {
	return new(math.Round(d.Seconds()*1000) / 1000)
}

// knownDigests are those that were made already: copies of one key mostly hold the same.
type knownDigests struct {
	Digests
	known map[content.Digest]*string
}

func (d *knownDigests) of(c content.Digest) *string {
	if d.known[c] == nil {
		d.known[c] = new(d.Of(c))
	}
	return d.known[c]
}
