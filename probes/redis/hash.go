package redis

import (
	"errors"
	"fmt"
	"math"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

func (p *pipeline) readHash(x *wire.Exchange, i int) error {
	kind, size, said, err := readHeader(x)
	switch {
	case err != nil:
		return err
	case kind == '-':
		refused := errReply(said)
		if refused.word() == "WRONGTYPE" {
			p.node.account.Hits++
			p.deliver(x, i, probes.Raw{Err: errors.New("is not a hash")})
		} else {
			p.refuse(x, i, "HGETALL", refused)
		}
		return nil
	case kind != '*' || size%2 != 0 && size > 0:
		p.deliver(x, i, probes.Raw{Err: keyRefused("HGETALL", errUnusable)})
		return skip(x, kind, size)
	case size/2 > p.mostFields():
		p.node.answered.Store(true)
		p.node.account.Hits++
		p.deliver(x, i, probes.Raw{Err: fmt.Errorf("a hash of %d fields can't be as small as --canary.max-value-bytes (%d)", size/2, p.node.env.MaxValueBytes)})
		return skip(x, kind, size)
	case size <= 0:
		p.node.answered.Store(true)
		p.node.account.Misses++
		p.deliver(x, i, probes.Raw{Suspect: p.ttls[i] != ttlMissing && !p.keys[i].Check})
		return nil
	}
	p.node.answered.Store(true)
	p.node.account.Hits++
	return p.readFields(x, i, size)
}

// mostFields of a hash that is read. Names differ, so that the more there are the longer they must be: of more than these the values
// would have to be empty for all to fit.
func (p *pipeline) mostFields() int64 { return max(p.node.env.MaxValueBytes/3, 1024) }

// fieldBytes that each field of a hash takes beside its bytes.
const fieldBytes = 128

// hashReply is a hash that is being read into the connection's buffer.
type hashReply struct {
	ends []int
	// total bytes of its fields, saturating.
	total int64
	// held: room is held for the most that it may be. gone: the caller is, so that it can be dropped. odd: an element is no text.
	held, gone, odd bool
}

// readFields reads a hash of size/2 fields. How large it is shows only at its end, so once it is no small value, the most that it
// may be is held.
func (p *pipeline) readFields(x *wire.Exchange, i int, size int64) error {
	limit := p.node.env.MaxValueBytes
	defer x.Release()
	x.Buf = x.Buf[:0]
	r := hashReply{ends: make([]int, 0, min(size, 256))}
	for range size {
		if err := p.readField(x, &r); err != nil {
			return err
		}
	}
	x.Arrived()
	switch {
	case r.gone:
	case r.odd:
		p.deliver(x, i, probes.Raw{Err: keyRefused("HGETALL", errUnusable)})
	case r.total > limit:
		p.deliver(x, i, probes.Raw{Err: wire.TooLarge(r.total)})
	default:
		defer content.TakeTurn(size / 2 * fieldBytes)()
		p.deliver(x, i, probes.Raw{Present: true, Fields: cutFields(x.Buf, r.ends)})
	}
	return nil
}

// readField reads a name or a value.
func (p *pipeline) readField(x *wire.Exchange, r *hashReply) error {
	kind, length, _, err := readHeader(x)
	if err != nil {
		return err
	}
	if kind != '$' || length < 0 {
		r.odd = true
		return skip(x, kind, length)
	}
	limit := p.node.env.MaxValueBytes
	r.total = min(r.total, math.MaxInt64-length) + length
	if r.total > probes.SmallValue && r.total <= limit && !r.held {
		r.held = true
		r.gone = !x.Acquire(p.node.env.Budget, limit)
	}
	if r.gone || r.total > limit {
		return x.Discard(length)
	}
	if x.Buf, err = x.ReadBulk(x.Buf, length); err != nil {
		return err
	}
	r.ends = append(r.ends, len(x.Buf))
	return nil
}

// cutFields cuts names and values, in turn, out of one buffer.
func cutFields(b []byte, ends []int) []probes.Field {
	out := make([]probes.Field, 0, len(ends)/2)
	start := 0
	for i := 0; i < len(ends); i += 2 {
		out = append(out, probes.Field{Name: b[start:ends[i]:ends[i]], Value: b[ends[i]:ends[i+1]:ends[i+1]]})
		start = ends[i+1]
	}
	return out
}
