package memcached

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// cannotHold says why no memcached can hold a key, or nil.
func cannotHold(k probes.Key) error {
	switch {
	case k.Hash:
		return errors.New("memcached holds no hashes")
	case k.Name == "":
		return errors.New("memcached can't hold an empty key")
	case len(k.Name) > 250:
		return fmt.Errorf("memcached can't hold a key of %d bytes; 250 are the most", len(k.Name))
	}
	for i := range len(k.Name) {
		if c := k.Name[i]; c <= ' ' || c == 0x7f {
			return errors.New("memcached can't hold a key with white space or control characters")
		}
	}
	return nil
}

// Read sends the keys in batches that follow each other without a wait. Those whose meta command the server refuses are
// asked for again with get.
func (n *node) Read(ctx context.Context, keys []probes.Key, visit func(int, probes.Raw)) error {
	all := make([]int, 0, len(keys))
	for i, k := range keys {
		if err := cannotHold(k); err != nil {
			visit(i, probes.Raw{Err: err})
			continue
		}
		all = append(all, i)
	}
	if len(all) == 0 {
		return nil
	}
	r := &reading{node: n, keys: keys, visit: visit, tellsCAS: n.oneServer}
	err := n.link.Do(ctx, func() []wire.Request {
		if r.withGet = n.withGet; r.withGet {
			return r.gets(all)
		}
		return r.metaGets(all)
	})
	if err != nil && wire.Dropped(err) && ctx.Err() == nil && !n.answered.Load() {
		return n.readOtherwise(ctx, r, all, err)
	}
	if err == nil && len(r.refused) > 0 {
		err = n.link.Do(ctx, func() []wire.Request { return r.gets(r.refused) })
	}
	return err
}

// readOtherwise is used after a new connection was closed over the first read, which ended in err. Where that was mg, another
// connection is tried with get. Where get fails too, the server's closes had other reasons, and are forgotten.
func (n *node) readOtherwise(ctx context.Context, r *reading, all []int, err error) error {
	if !r.withGet {
		n.closes.meta, n.closes.since = true, time.Now()
		err = n.link.Do(ctx, func() []wire.Request { return r.gets(all) })
	}
	if err != nil && !n.answered.Load() {
		n.forgetCloses()
	}
	return err
}

// reading is one Read under way.
type reading struct {
	node  *node
	keys  []probes.Key
	visit func(int, probes.Raw)
	// withGet: get is used, not mg. It has no CAS ids: who knows no mg is mostly a proxy, whose servers count each for itself.
	withGet bool
	// tellsCAS: the caller gets CAS ids.
	tellsCAS bool
	// refused are the keys whose mg was no command to the server.
	refused []int
	// giveBacks are the commands that give recache tokens back, one for each of the tokens.
	giveBacks []byte
	tokens    int
	// unproven are the answers since one that may be none: whose they are the next opaque says.
	unproven []metaAnswer
}

// metaAnswer is the answer to one key's mg.
type metaAnswer struct {
	key int
	raw probes.Raw
}

// hand gives the caller one key's answer, unless it is gone.
func (r *reading) hand(x *wire.Exchange, i int, raw probes.Raw) {
	x.Deliver(func() { r.visit(i, raw) })
}

// metaGets are the requests that read all keys with mg.
func (r *reading) metaGets(all []int) []wire.Request {
	r.refused, r.giveBacks, r.tokens, r.unproven = nil, nil, 0, nil
	var out []wire.Request
	for first := 0; first < len(all); first += probes.BatchKeys {
		part := all[first:min(first+probes.BatchKeys, len(all))]
		out = append(out, wire.Request{Commands: r.metaCommands(part), Read: func(x *wire.Exchange) error { return r.readMetas(x, part) }})
	}
	return out
}

// metaCommands ask for the TTL, the CAS id and the value, without a bump in the LRU. They are not quiet (q): a miss is
// answered too, so that each answer belongs to one command, errors as well; the opaque proves it.
func (r *reading) metaCommands(part []int) []byte {
	size := 0
	for _, i := range part {
		size += len(r.keys[i].Name) + 24
	}
	b := make([]byte, 0, size)
	for _, i := range part {
		b = append(append(append(b, "mg "...), r.keys[i].Name...), " t c v u O"...)
		b = append(strconv.AppendInt(b, int64(i), 10), "\r\n"...)
	}
	return b
}

func (r *reading) readMetas(x *wire.Exchange, part []int) error {
	before := len(r.refused)
	for _, i := range part {
		if err := r.readMeta(x, i); err != nil {
			return err
		}
	}
	if len(r.refused)-before == len(part) {
		r.node.withGet = true
	}
	if len(r.unproven) > 0 {
		r.prove(x)
	}
	return nil
}

// take hands on an answer of one line. odd: it is none to mg, and may be none to any command. proven: its opaque is the key's.
func (r *reading) take(x *wire.Exchange, i int, raw probes.Raw, odd, proven bool) {
	if !proven && (odd || len(r.unproven) > 0) {
		r.unproven = append(r.unproven, metaAnswer{i, raw})
		return
	}
	r.handUnproven(x)
	r.hand(x, i, raw)
}

// handUnproven gives the caller the answers whose order has been proven.
func (r *reading) handUnproven(x *wire.Exchange) {
	for _, a := range r.unproven {
		r.hand(x, a.key, a.raw)
	}
	r.unproven = nil
}

// prove asks, behind all else, what has an answer of its own: where that is the next one, each before it belongs to its key.
func (r *reading) prove(x *wire.Exchange) {
	before := x.More
	var commands []byte
	if before != nil {
		commands = slices.Clone(before.Commands)
	}
	x.More = &wire.Request{Commands: append(commands, "mn\r\n"...), Read: func(x *wire.Exchange) error {
		if before != nil {
			if err := before.Read(x); err != nil {
				return err
			}
		}
		line, err := x.ReadLine()
		if err == nil && string(line) != "MN" {
			err = x.Foreign
		}
		if err == nil {
			r.handUnproven(x)
		}
		return err
	}}
}

func (r *reading) readMeta(x *wire.Exchange, i int) error {
	line, err := x.ReadLine()
	if err != nil {
		return err
	}
	word, rest, _ := bytes.Cut(line, []byte{' '})
	switch string(word) {
	case "ERROR", "CLIENT_ERROR":
		r.refused = append(r.refused, i)
		return nil
	case "SERVER_ERROR": // it has counted nothing
		r.take(x, i, probes.Raw{Err: saidError(x, line)}, false, false)
		return nil
	case "VA":
	default:
		var m metaFlags
		if !m.parse(rest, i) {
			return x.Foreign
		}
		if string(word) != "EN" {
			r.take(x, i, probes.Raw{Err: errOtherAnswer}, true, m.opaque)
			return nil
		}
		r.node.answered.Store(true)
		r.node.account.Misses++
		r.take(x, i, probes.Raw{}, false, m.opaque)
		return nil
	}
	size, m, ok := parseValueLine(rest, i)
	if !ok || len(r.unproven) > 0 && !m.opaque {
		return x.Foreign
	}
	r.handUnproven(x)
	r.node.answered.Store(true)
	r.node.account.Hits++
	if m.won && m.cas != 0 {
		r.giveBack(x, i, m.cas)
	}
	return x.ReadValue(r.node.env, size, func(raw probes.Raw) {
		if raw.Err == nil {
			raw.TTL, raw.HasTTL, raw.NoExpiry = wire.TTL(m.ttl, time.Second), m.hasTTL, m.forever
			if r.tellsCAS && !m.marked {
				raw.CAS = m.cas
			}
		}
		r.hand(x, i, raw)
	})
}

// giveBack returns a recache token. memcached gives the first who reads an item that was marked stale the right to make
// it anew (W), and nobody else until it is made. Only an application can, so the mark is set as it was. The CAS id sees
// to it that no newer item gets it.
func (r *reading) giveBack(x *wire.Exchange, i int, cas uint64) {
	r.giveBacks = fmt.Appendf(r.giveBacks, "md %s I C%d\r\n", r.keys[i].Name, cas)
	r.tokens++
	x.More = &wire.Request{Commands: r.giveBacks, Read: func(x *wire.Exchange) error {
		for range r.tokens {
			if _, err := x.ReadLine(); err != nil {
				return err
			}
		}
		return nil
	}}
}

// metaFlags are what an answer to mg says beside the value. X (marked stale) and Z (somebody else has the token) do not change what
// the copy is: it is what clients get.
type metaFlags struct {
	ttl     int64
	hasTTL  bool
	forever bool
	cas     uint64
	won     bool
	// opaque: it has the key's.
	opaque bool
	// marked stale: the item got its CAS id from the mark, and not when it was stored.
	marked bool
	// client's flags, where they were asked for.
	client    uint32
	hasClient bool
}

// parseValueLine reads what follows VA: the size of the value in bytes, and the flags, of the key with this index; false: it is no
// such line.
func parseValueLine(rest []byte, i int) (size int64, m metaFlags, ok bool) {
	number, flags, _ := bytes.Cut(rest, []byte{' '})
	size, ok = wire.ParseInt(number)
	ok = ok && size >= 0 && m.parse(flags, i)
	return size, m, ok
}

// parse reads flags; false: they answer another command than that for key i. A flag that can't be read is not there.
func (m *metaFlags) parse(flags []byte, i int) bool {
	for len(flags) > 0 {
		var f []byte
		f, flags, _ = bytes.Cut(flags, []byte{' '})
		if len(f) == 0 {
			continue
		}
		switch token := f[1:]; f[0] {
		case 't':
			if ttl, ok := wire.ParseInt(token); ok {
				m.ttl, m.hasTTL, m.forever = ttl, ttl >= 0, ttl == -1
			}
		case 'c':
			if cas, err := strconv.ParseUint(string(token), 10, 64); err == nil {
				m.cas = cas
			}
		case 'f':
			client, err := strconv.ParseUint(string(token), 10, 32)
			m.client, m.hasClient = uint32(client), err == nil
		case 'O':
			if n, ok := wire.ParseInt(token); !ok || n != int64(i) {
				return false
			}
			m.opaque = true
		case 'W':
			m.won = true
		case 'X':
			m.marked = true
		}
	}
	return true
}

// getLine is how many keys one get asks for. Proxies split and join them in buffers that are not large.
const getLine = 100

// gets are the requests that read all keys with get.
func (r *reading) gets(all []int) []wire.Request {
	var out []wire.Request
	for first := 0; first < len(all); first += probes.BatchKeys {
		var commands []byte
		var lines []map[string][]int
		for part := all[first:min(first+probes.BatchKeys, len(all))]; len(part) > 0; {
			var line map[string][]int
			commands, line, part = r.get(commands, part)
			lines = append(lines, line)
		}
		out = append(out, wire.Request{Commands: commands, Read: func(x *wire.Exchange) error {
			for _, line := range lines {
				if err := r.readGet(x, line); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return out
}

// get appends one get for the first keys of part. A name is asked for once, however often it stands there.
func (r *reading) get(b []byte, part []int) (commands []byte, asked map[string][]int, left []int) {
	k := min(getLine, len(part))
	asked = make(map[string][]int, k)
	b = append(b, "get"...)
	for _, i := range part[:k] {
		name := r.keys[i].Name
		if asked[name] == nil {
			b = append(append(b, ' '), name...)
		}
		asked[name] = append(asked[name], i)
	}
	return append(b, "\r\n"...), asked, part[k:]
}

// readGet reads one get's answers. What is not among them at its end is missing.
func (r *reading) readGet(x *wire.Exchange, asked map[string][]int) error {
	for {
		line, err := x.ReadLine()
		if err != nil {
			return err
		}
		word, rest, _ := bytes.Cut(line, []byte{' '})
		switch string(word) {
		case "END":
			r.node.answered.Store(true)
			for _, at := range asked {
				if at != nil {
					r.node.account.Misses++
				}
			}
			r.handAll(x, asked, probes.Raw{})
			return nil
		case "ERROR", "CLIENT_ERROR", "SERVER_ERROR":
			r.node.answered.Store(true)
			r.handAll(x, asked, probes.Raw{Err: saidError(x, line)})
			return nil
		case "VALUE":
		default:
			return x.Foreign
		}
		name, size, ok := parseValue(rest)
		at, isAsked := asked[name]
		if !ok || !isAsked { // whose answers are these?
			return x.Foreign
		}
		if at == nil { // it has told this key already
			if err := x.Discard(size); err != nil {
				return err
			}
			continue
		}
		asked[name] = nil
		r.node.answered.Store(true)
		r.node.account.Hits++
		err = x.ReadValue(r.node.env, size, func(raw probes.Raw) {
			for _, i := range at {
				r.hand(x, i, raw)
			}
		})
		if err != nil {
			return err
		}
	}
}

// handAll gives the caller the same answer for all keys that were asked.
func (r *reading) handAll(x *wire.Exchange, asked map[string][]int, raw probes.Raw) {
	for _, at := range asked {
		for _, i := range at {
			r.hand(x, i, raw)
		}
	}
}

// parseValue reads KEY FLAGS SIZE, and perhaps a CAS id behind.
func parseValue(b []byte) (name string, size int64, ok bool) {
	key, rest, _ := bytes.Cut(b, []byte{' '})
	_, rest, _ = bytes.Cut(rest, []byte{' '})
	number, _, _ := bytes.Cut(rest, []byte{' '})
	size, ok = wire.ParseInt(number)
	return string(key), size, ok && size >= 0
}
