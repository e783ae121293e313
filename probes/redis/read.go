package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// What PTTL answers where there is no time: the key is missing, has no expiry, or PTTL was refused.
const (
	ttlMissing = -2
	ttlNone    = -1
	ttlUnknown = -3
)

// pipeline is one batch of keys: PTTL of each (TYPE and PEXPIRETIME too, where asked), one MGET, and HGETALL for each hash. TTLs
// come first, so that a value can be handed on when it arrives. In a Cluster each slot has an MGET of its own.
type pipeline struct {
	node  *node
	keys  []probes.Key
	first int // of keys, in the caller's numbering
	visit func(int, probes.Raw)
	mgets [][]int // by MGET
	// asking: the keys' slots are not this node's yet, so that each command needs ASKING before it.
	asking bool
	// redirected is called with keys that another node is to be asked for; nil: they are refused.
	redirected func(redirect)
	// tellsExpiry: the server is asked for PEXPIRETIME where Key.Identity is set. Beside it PTTL is asked all the same, since neither
	// gives the other without the server's clock.
	tellsExpiry bool
	ttls        []int64
	expires     []int64        // in Unix milliseconds, 0 where unknown; nil: no key's is asked for
	types       map[int]string // of keys whose type was asked; "" if that was refused
}

// redirect is a key that has gone to another node before its slot has: the server answered ASK.
type redirect struct {
	key     int // in the caller's numbering
	address string
}

// Read sends the keys in batches that follow each other without a wait.
func (n *node) Read(ctx context.Context, keys []probes.Key, visit func(int, probes.Raw)) error {
	return n.read(ctx, keys, visit, nil)
}

// read is Read, with redirects given to redirected; nil: such keys are refused.
func (n *node) read(ctx context.Context, keys []probes.Key, visit func(int, probes.Raw), redirected func(redirect)) error {
	if len(keys) == 0 {
		return nil
	}
	n.asked.Store(true)
	var requests []wire.Request
	tellsExpiry := n.tellsExpiry()
	for first := 0; first < len(keys); first += probes.BatchKeys {
		p := &pipeline{
			node: n, keys: keys[first:min(first+probes.BatchKeys, len(keys))], first: first, visit: visit, redirected: redirected, tellsExpiry: tellsExpiry,
		}
		requests = append(requests, wire.Request{Commands: p.commands(), Read: p.read})
	}
	return n.link.Do(ctx, func() []wire.Request { return requests })
}

func (p *pipeline) commands() []byte {
	size := 64
	for _, k := range p.keys {
		size += 2*len(k.Name) + 40
	}
	b := make([]byte, 0, size)
	for _, k := range p.keys {
		if k.Check && !k.Hash {
			b = append(p.prefix(b), "*2\r\n$4\r\nTYPE\r\n"...)
			b = appendArg(b, k.Name)
		}
		b = append(p.prefix(b), "*2\r\n$4\r\nPTTL\r\n"...)
		b = appendArg(b, k.Name)
		if k.Identity && p.tellsExpiry {
			b = append(p.prefix(b), "*2\r\n$11\r\nPEXPIRETIME\r\n"...)
			b = appendArg(b, k.Name)
		}
	}
	p.mgets = p.splitMGets()
	for _, keys := range p.mgets {
		b = append(strconv.AppendInt(append(p.prefix(b), '*'), int64(len(keys)+1), 10), "\r\n$4\r\nMGET\r\n"...)
		for _, i := range keys {
			b = appendArg(b, p.keys[i].Name)
		}
	}
	for _, k := range p.keys {
		if k.Hash {
			b = append(p.prefix(b), "*2\r\n$7\r\nHGETALL\r\n"...)
			b = appendArg(b, k.Name)
		}
	}
	return b
}

// prefix writes what each command needs before it.
func (p *pipeline) prefix(b []byte) []byte {
	if p.asking {
		b = append(b, "*1\r\n$6\r\nASKING\r\n"...)
	}
	return b
}

// splitMGets gives the keys of each MGET.
func (p *pipeline) splitMGets() [][]int {
	var out [][]int
	bySlot := map[int]int{}
	for i, k := range p.keys {
		if k.Hash {
			continue
		}
		group := 0
		switch {
		case p.asking:
			group = len(out) // all keys of one MGET must have arrived already
		case p.node.cluster:
			slot := slotOf(k.Name)
			at, ok := bySlot[slot]
			if !ok {
				at = len(out)
				bySlot[slot] = at
			}
			group = at
		}
		if group == len(out) {
			out = append(out, nil)
		}
		out[group] = append(out[group], i)
	}
	return out
}

// skipAsking reads the answer to a command's prefix.
func (p *pipeline) skipAsking(x *wire.Exchange) error {
	if p.asking {
		return ignore(x)
	}
	return nil
}

func (p *pipeline) read(x *wire.Exchange) error {
	p.ttls, p.expires, p.types = make([]int64, len(p.keys)), nil, map[int]string{}
	for i, k := range p.keys {
		var err error
		if k.Check && !k.Hash {
			if err = p.skipAsking(x); err == nil {
				p.types[i], err = p.node.readType(x, k.Name)
			}
			if err != nil {
				return err
			}
		}
		if err = p.skipAsking(x); err != nil {
			return err
		}
		if p.ttls[i], err = p.readTTL(x); err != nil {
			return err
		}
		if k.Identity && p.tellsExpiry {
			if err = p.skipAsking(x); err == nil {
				err = p.readExpiry(x, i)
			}
			if err != nil {
				return err
			}
		}
	}
	for _, keys := range p.mgets {
		if err := p.skipAsking(x); err != nil {
			return err
		}
		if err := p.readMGet(x, keys); err != nil {
			return err
		}
	}
	for i, k := range p.keys {
		if k.Hash {
			if err := p.skipAsking(x); err != nil {
				return err
			}
			if err := p.readHash(x, i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pipeline) readTTL(x *wire.Exchange) (int64, error) {
	kind, ttl, _, err := readHeader(x)
	switch {
	case err != nil:
		return 0, err
	case kind != ':':
		return ttlUnknown, skip(x, kind, ttl)
	case ttl == ttlMissing:
		p.node.account.Misses++
	default:
		p.node.account.Hits++
	}
	return ttl, nil
}

// readExpiry reads PEXPIRETIME's answer for a key whose TTL has just been read. A server that refuses the command and not PTTL is not
// asked any more over this connection.
func (p *pipeline) readExpiry(x *wire.Exchange, i int) error {
	kind, at, _, err := readHeader(x)
	switch {
	case err != nil:
		return err
	case kind == '-':
		if p.ttls[i] != ttlUnknown {
			p.node.refusesExpiry.Store(true)
		}
		return nil
	case kind != ':':
		return skip(x, kind, at)
	case at == ttlMissing:
		p.node.account.Misses++
		return nil
	}
	p.node.account.Hits++
	if p.expires == nil {
		p.expires = make([]int64, len(p.keys))
	}
	p.expires[i] = max(at, 0)
	return nil
}

// deliver gives the caller one key's answer.
func (p *pipeline) deliver(x *wire.Exchange, i int, raw probes.Raw) {
	if raw.Err == nil && (raw.Present || raw.Suspect) {
		ttl := p.ttls[i]
		raw.NoExpiry = ttl == ttlNone
		if raw.HasTTL = ttl >= 0; raw.HasTTL {
			raw.TTL = wire.TTL(ttl, time.Millisecond)
		}
		if p.expires != nil {
			raw.ExpiresMS = p.expires[i]
		}
	}
	x.Deliver(func() { p.visit(p.first+i, raw) })
}

// readMGet reads the answer for some of the keys.
func (p *pipeline) readMGet(x *wire.Exchange, keys []int) error {
	kind, size, said, err := readHeader(x)
	switch {
	case err != nil:
		return err
	case kind == '-' && len(keys) > 1 && slices.Contains(ofOneKey, errReply(said).word()):
		p.askSingly(x, keys)
		return nil
	case kind == '-':
		refused := errReply(said)
		for _, i := range keys {
			p.refuse(x, i, "MGET", refused)
		}
		return nil
	case kind != '*' || size != int64(len(keys)): // nothing says which element would be whose
		for _, i := range keys {
			p.deliver(x, i, probes.Raw{Err: keyRefused("MGET", errUnusable)})
		}
		return skip(x, kind, size)
	}
	p.node.answered.Store(true)
	for _, i := range keys {
		if err := p.readValue(x, i); err != nil {
			return err
		}
	}
	return nil
}

// readValue reads one key's element of MGET's answer.
func (p *pipeline) readValue(x *wire.Exchange, i int) error {
	kind, size, said, err := readHeader(x)
	switch {
	case err != nil:
		return err
	case kind == '-': // as a proxy says it of one server among several
		p.refuse(x, i, "MGET", errReply(said))
		return nil
	case kind != '$':
		p.deliver(x, i, probes.Raw{Err: keyRefused("MGET", errUnusable)})
		return skip(x, kind, size)
	case size < 0:
		p.deliver(x, i, p.absent(i))
		return nil
	}
	p.node.account.Hits++
	return x.ReadValue(p.node.env, size, func(raw probes.Raw) { p.deliver(x, i, raw) })
}

// ofOneKey are refusals of MGET that may concern one of its keys alone: one may not be read, or has gone ahead of its slot.
var ofOneKey = []string{"NOPERM", "ASK", "TRYAGAIN"}

// refuse delivers why a key was refused, or notes where else it is to be read.
func (p *pipeline) refuse(x *wire.Exchange, i int, command string, said errReply) {
	if f := strings.Fields(string(said)); len(f) == 3 && f[0] == "ASK" && p.redirected != nil {
		address := clusterAddress(f[2])
		x.Deliver(func() { p.redirected(redirect{p.first + i, address}) })
		return
	}
	p.deliver(x, i, probes.Raw{Err: keyRefused(command, said)})
}

// askSingly asks once more for each key by itself: one that the user may not read has refused them all.
func (p *pipeline) askSingly(x *wire.Exchange, keys []int) {
	before := x.More
	var commands []byte
	if before != nil {
		commands = before.Commands
	}
	for _, i := range keys {
		commands = appendCommand(p.prefix(commands), "MGET", p.keys[i].Name)
	}
	x.More = &wire.Request{Commands: commands, Read: func(x *wire.Exchange) error {
		if before != nil {
			if err := before.Read(x); err != nil {
				return err
			}
		}
		for _, i := range keys {
			if err := p.skipAsking(x); err != nil {
				return err
			}
			if err := p.readMGet(x, []int{i}); err != nil {
				return err
			}
		}
		return nil
	}}
}

// keyRefused is what a copy's error says when the server refused the command; a refusal, but where another server would have to
// answer.
func keyRefused(command string, said errReply) error {
	switch said.word() {
	case "NOPERM":
		return probes.Refusal(fmt.Errorf("%s was refused (NOPERM); grant the node's user +%s and the keys' patterns", command, strings.ToLower(command)))
	case "LOADING":
		return probes.Refusal(errors.New("the server is loading its data"))
	case "MOVED", "ASK", "TRYAGAIN":
		return errSlotMoved
	case "CLUSTERDOWN":
		return errors.New("the Redis Cluster does not serve the key's slot (CLUSTERDOWN)")
	}
	if _, large := tooLarge(said); large {
		return probes.Refusal(fmt.Errorf("the answer to %s is larger than any that was asked for; is the server a Redis or Valkey?", command))
	}
	if said == errUnusable {
		return probes.Refusal(fmt.Errorf("the answer to %s is of another kind than that command's; is the server a Redis or Valkey?", command))
	}
	if len(said) > longestWord { // there may be as many as keys
		said = errReply(strings.Clone(string(said[:longestWord])))
	}
	return probes.Refusal(fmt.Errorf("%s was refused: %w", command, said))
}

// absent says what a nil of MGET means. The server counts a miss if the key is not there, and a hit if it is of another
// type; where PTTL has just seen the key, only its type tells which.
func (p *pipeline) absent(i int) probes.Raw {
	own := p.node.account
	kind, asked := p.types[i]
	switch {
	case p.ttls[i] == ttlMissing, kind == "none", kind == "string":
		own.Misses++
		return probes.Raw{}
	case !asked:
		p.node.unsettled[p.keys[i].Name]++
		return probes.Raw{Suspect: true}
	case kind == "":
		own.Hits++
		return probes.Raw{Err: errors.New("is there without a value, and TYPE was refused; grant the node's user +type")}
	}
	own.Hits++
	return probes.Raw{Err: fmt.Errorf("is a %s, not a string", kind)}
}
