package consistency

import (
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// differingRows is how many keys of a class that differ are told one by one.
const differingRows = 1000

// Matrix is what a sampling saw of a class key by key. It holds no values. It is made on every sampling, so it is bounded.
type Matrix struct {
	// Rows are at most 1,000 keys that differ, and then at most Options.MaxKeySeries others, literal ones first.
	Rows []KeyRow
	// Keys that were read, and those of them that differ: with a copy that is stale or undecided.
	Keys, Differing int
}

// KeyRow is one key. Its copies are on the nodes that should hold it.
type KeyRow struct {
	Key string
	// Reference is what decided the key; valid where Counted: a copy is there.
	Reference verdict.Reference
	Counted   bool
	// Differs: a copy is stale or undecided.
	Differs bool
	Copies  []KeyCopy
}

// KeyCopy is one copy in a row.
type KeyCopy struct {
	// Node is the index in ClassResult.Nodes.
	Node  int32
	State verdict.State
	// Present: the copy was there, and could be read. Else nothing below is known.
	Present bool
	// Overdue: it has been stale for longer than the layer's max_staleness. StaleFor is how long it has been stale; 0 in
	// any other state.
	Overdue  bool
	StaleFor time.Duration
	// Survivor: others of its layer lost the copy without a known cause.
	Survivor bool
	// TTL that is left; valid where HasTTL. NoExpiry: the server says that the copy never expires.
	HasTTL, NoExpiry bool
	TTL              time.Duration
	// Age since the copy was made (cached_at); valid where HasAge. SeenFor is for how long the exporter has seen this content
	// on the node: the copy is at least as old.
	HasAge       bool
	Age, SeenFor time.Duration
	Version      content.Version
	Content      content.Digest
}

// matrixRows gathers the rows of a Matrix while keys are judged.
type matrixRows struct {
	differing, others []KeyRow
	// space for copies, which the rows share.
	space []KeyCopy
}

// copies makes room for up to n more.
func (m *matrixRows) copies(n int) []KeyCopy {
	const chunk = 1024
	if cap(m.space)-len(m.space) < n {
		m.space = make([]KeyCopy, 0, max(n, chunk))
	}
	return m.space[len(m.space):len(m.space):cap(m.space)]
}

// addRow of the key that was judged now to the matrix, if there is room for it.
func (ct *counts) addRow(key int, v *verdict.Verdict, differs bool) {
	m := &ct.result.Matrix
	m.Keys++
	rows, limit := &ct.rows.others, ct.round.opt.MaxKeySeries
	if differs {
		m.Differing++
		rows, limit = &ct.rows.differing, differingRows
	}
	if len(*rows) >= limit {
		return
	}
	row := KeyRow{Key: ct.keys.names[key], Reference: v.Reference, Counted: v.Counted, Differs: differs, Copies: ct.rows.copies(len(ct.copies))}
	for i := range ct.copies {
		cp := &ct.copies[i]
		if cp.state != verdict.Missing || cp.on.column.placement(key).holding != probes.Anywhere {
			row.Copies = append(row.Copies, ct.keyCopy(verdict.CopyAt(i)))
		}
	}
	ct.rows.space = ct.rows.space[:len(ct.rows.space)+len(row.Copies)]
	*rows = append(*rows, row)
}

func (ct *counts) keyCopy(i verdict.CopyAt) KeyCopy {
	cp, o := &ct.copies[i], ct.copies[i].last
	c := KeyCopy{Node: int32(cp.on.column.index), State: cp.state, Present: o.Presence == verdict.Present}
	policy := ct.c.Layers[cp.on.column.layer]
	if open := cp.memory.episode; open != nil && cp.state == verdict.Stale {
		c.StaleFor = ct.at.Sub(open.Since)
		c.Overdue = c.StaleFor > policy
	}
	if !c.Present {
		return c
	}
	c.TTL, c.HasTTL, c.NoExpiry = o.ttl, o.hasTTL, o.noExpiry
	c.Version, c.Content, c.SeenFor = cp.judged.Version, cp.judged.Content, ct.c.Copies[i].Held
	c.Survivor = cp.survivor
	if o.cachedAt != 0 {
		c.Age = ct.at.Sub(time.Unix(0, o.cachedAt))
		c.HasAge = c.Age >= 0 // else clocks differ, and nothing is known
	}
	return c
}
