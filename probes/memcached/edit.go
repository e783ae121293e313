package memcached

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// Load implements probes.Editable. Value, flags, TTL and CAS id are of one moment; where the server knows no meta commands, it
// does not tell the TTL.
func (n *node) Load(ctx context.Context, key probes.Key) (probes.Stored, error) {
	if err := cannotHold(key); err != nil {
		return probes.Stored{}, err
	}
	n.asking.Lock()
	defer n.asking.Unlock()
	var out probes.Stored
	var refused error
	plain := false
	err := n.link.Do(ctx, func() []wire.Request {
		if plain = n.withGet; plain {
			return nil
		}
		command := fmt.Appendf(nil, "mg %s t c f v u\r\n", key.Name)
		return []wire.Request{{Commands: command, Read: func(x *wire.Exchange) error {
			return n.readStored(x, key, func(got probes.Stored, err error) { out, refused = got, err })
		}}}
	})
	switch {
	case err != nil:
		return probes.Stored{}, err
	case plain:
		return n.loadPlain(ctx, key)
	}
	return out, refused
}

// readStored reads mg's answer. An item that waits to be made anew by who reads it first (W) goes back to waiting, which
// changes its CAS id: it is left to its application.
func (n *node) readStored(x *wire.Exchange, key probes.Key, give func(probes.Stored, error)) error {
	line, err := x.ReadLine()
	if err != nil {
		return err
	}
	deliver := func(s probes.Stored, err error) { x.Deliver(func() { give(s, err) }) }
	word, rest, _ := bytes.Cut(line, []byte{' '})
	switch string(word) {
	case "ERROR", "CLIENT_ERROR", "SERVER_ERROR":
		deliver(probes.Stored{}, saidError(x, line))
		return nil
	case "EN":
		n.account.Misses++
		deliver(probes.Stored{}, nil)
		return nil
	case "VA":
	default:
		return x.Foreign
	}
	size, m, ok := parseValueLine(rest, 0)
	if !ok {
		return x.Foreign
	}
	n.account.Hits++
	if m.won && m.cas != 0 {
		(&reading{node: n, keys: []probes.Key{key}}).giveBack(x, 0, m.cas)
	}
	return x.ReadValue(n.env, size, func(raw probes.Raw) {
		if raw.Err != nil {
			deliver(probes.Stored{}, raw.Err)
			return
		}
		s := probes.Stored{
			Present: true, Value: slices.Clone(raw.Value), Flags: m.client, HasFlags: m.hasClient, Token: m.cas, NoExpiry: m.forever,
		}
		if m.hasTTL {
			s.Expires = time.Now().Add(wire.TTL(m.ttl, time.Second))
		}
		deliver(s, nil)
	})
}

// loadPlain reads a copy with gets. The library would take the room for a value of any size that the server announces.
func (n *node) loadPlain(ctx context.Context, key probes.Key) (out probes.Stored, err error) {
	var refused error
	err = n.link.Do(ctx, func() []wire.Request {
		command := fmt.Appendf(nil, "gets %s\r\n", key.Name)
		return []wire.Request{{Commands: command, Read: func(x *wire.Exchange) error {
			return n.readPlain(x, key, func(got probes.Stored, err error) { out, refused = got, err })
		}}}
	})
	if err != nil {
		return probes.Stored{}, err
	}
	return out, refused
}

// readPlain reads the answer to gets for one key.
func (n *node) readPlain(x *wire.Exchange, key probes.Key, give func(probes.Stored, error)) error {
	deliver := func(s probes.Stored, err error) { x.Deliver(func() { give(s, err) }) }
	line, err := x.ReadLine()
	if err != nil {
		return err
	}
	word, rest, _ := bytes.Cut(line, []byte{' '})
	switch string(word) {
	case "ERROR", "CLIENT_ERROR", "SERVER_ERROR":
		deliver(probes.Stored{}, saidError(x, line))
		return nil
	case "END":
		n.account.Misses++
		deliver(probes.Stored{}, nil)
		return nil
	case "VALUE":
	default:
		return x.Foreign
	}
	name, size, ok := parseValue(rest)
	fields := bytes.Fields(rest)
	if !ok || name != key.Name || len(fields) != 4 {
		return x.Foreign
	}
	flags, flagsErr := strconv.ParseUint(string(fields[1]), 10, 32)
	token, tokenErr := strconv.ParseUint(string(fields[3]), 10, 64)
	if flagsErr != nil || tokenErr != nil {
		return x.Foreign
	}
	n.account.Hits++
	err = x.ReadValue(n.env, size, func(raw probes.Raw) {
		if raw.Err != nil {
			deliver(probes.Stored{}, raw.Err)
			return
		}
		deliver(probes.Stored{Present: true, Value: slices.Clone(raw.Value), Flags: uint32(flags), HasFlags: true, Token: token}, nil)
	})
	if err != nil {
		return err
	}
	line, err = x.ReadLine()
	if err == nil && string(line) != "END" {
		err = x.Foreign
	}
	return err
}

// Exchange implements probes.Editable. The CAS id decides whether the copy is still what was seen. memcached's delete does not
// compare, so that a copy is deleted by replacing it with an empty one that has expired already.
func (n *node) Exchange(ctx context.Context, key probes.Key, seen, next probes.Stored) error {
	if err := cannotHold(key); err != nil {
		return err
	}
	item := &memcache.Item{Key: key.Name, Value: next.Value, Flags: seen.Flags, CasID: seen.Token, Expiration: -1}
	if next.HasFlags {
		item.Flags = next.Flags
	}
	if next.Present {
		from := next
		if next.KeepExpiry {
			from = seen
		}
		var err error
		if item.Expiration, err = expiration(from, time.Now()); err != nil {
			return err
		}
	}
	err := n.useLibrary(ctx, func(c *memcache.Client) error {
		switch {
		case seen.Present:
			return c.CompareAndSwap(item)
		case next.Present:
			return c.Add(item)
		}
		return nil
	})
	if errors.Is(err, memcache.ErrCASConflict) || errors.Is(err, memcache.ErrCacheMiss) || errors.Is(err, memcache.ErrNotStored) {
		return probes.ErrChanged
	}
	return err
}

// longestRelative is the longest time to live that memcached takes as such; larger numbers are a time since the epoch.
const longestRelative = 30 * 24 * time.Hour

// expiration as memcached takes it, for a copy that expires when s does.
func expiration(s probes.Stored, now time.Time) (int32, error) {
	left := s.Expires.Sub(now)
	switch {
	case s.NoExpiry:
		return 0, nil
	case s.Expires.IsZero():
		return 0, probes.ErrExpiryUnknown
	case left <= 0:
		return 0, fmt.Errorf("%w: it has expired", probes.ErrChanged)
	case left <= longestRelative-time.Second:
		return int32(max(left.Round(time.Second)/time.Second, 1)), nil
	case s.Expires.Unix() > math.MaxInt32:
		return 0, errors.New("the copy expires after 2038, which the client library can't say; delete it instead")
	}
	return int32(s.Expires.Unix()), nil
}

// useLibrary runs one command of the library. Where the connection was lost, as one is that the server has closed since it was
// last used, it is sent once more.
func (n *node) useLibrary(ctx context.Context, use func(c *memcache.Client) error) error {
	for first := true; ; first = false {
		client, done, err := n.library.open(n)
		if err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() {
			defer done()
			err := probes.Guarded(func() error { return libraryFault(use(client)) })
			if lost(err) {
				n.library.drop(client)
			}
			ended <- err
		}()
		select {
		case err = <-ended:
		case <-ctx.Done():
			return probes.NoAnswer(ctx)
		}
		if !first || ctx.Err() != nil || !wire.Dropped(err) {
			return err
		}
	}
}
