package redis

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

func infoRefused(said errReply) error {
	switch said.word() {
	case "NOAUTH":
		return probes.Refusal(errors.New("INFO was refused (NOAUTH); give the node a password or password_file"))
	case "NOPERM":
		return probes.Refusal(errors.New("INFO was refused (NOPERM); grant its user +info +mget +pttl +type +hgetall +scan and the keys' patterns"))
	}
	return probes.Refusal(fmt.Errorf("INFO was refused: %w", said))
}

var errNoScan = errors.New("SCAN's answer can't be read; is the server a Redis or Valkey?")

// readScan reads SCAN's reply. A key that can't be used costs itself alone. refused is the server's, and the connection is in order.
func readScan(x *wire.Exchange, scan *probes.Scan) (cursor string, refused, err error) {
	kind, size, said, err := readHeader(x)
	switch {
	case err != nil:
		return "", nil, err
	case kind == '-':
		if e := errReply(said); e.word() == "NOPERM" {
			refused = errors.New("SCAN was refused (NOPERM); grant the node's user +scan")
		} else {
			refused = fmt.Errorf("SCAN was refused: %w", e)
		}
		return "0", refused, nil
	case kind != '*' || size != 2:
		return "0", errNoScan, skip(x, kind, size)
	}
	var odd errReply
	if cursor, err = readText(x); errors.As(err, &odd) {
		cursor, refused = "0", errNoScan // the next step begins anew
	} else if err != nil {
		return "", nil, err
	}
	if kind, size, _, err = readHeader(x); err != nil {
		return "", nil, err
	}
	if kind != '*' {
		return "0", errNoScan, skip(x, kind, size)
	}
	most := int64(listedMost(scan.Count))
	for i := range size {
		key, ok, err := readKey(x)
		if err != nil {
			return "", nil, err
		}
		if ok && i < most {
			x.Deliver(func() { scan.Offer(key) })
		}
	}
	if size > most {
		refused = fmt.Errorf("SCAN gave %d keys in one step of COUNT %d (--canary.scan-count); the first %d were looked at", size, scan.Count, most)
	}
	return cursor, refused, nil
}

// listedMost is how many keys of one step of SCAN are looked at. Servers give some more than were asked for, and never so many.
func listedMost(count int) int { return max(100*count, 100_000) }

// saidText of a server that is kept: bounded, and without what it was read from.
func saidText(text string) string { return strings.Clone(probes.Shown(text)) }

// parseInfo reads INFO's text.
func parseInfo(text string, s *probes.Survey) {
	var rep infoReplication
	items := probes.Count{Known: strings.Contains(text, "# Keyspace")} // an empty server lists no database
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if !ok {
			continue
		}
		switch name {
		case "redis_version":
			if s.Version == "" {
				s.Version = saidText(value)
			}
		case "valkey_version":
			s.Version = saidText(value)
		case "run_id":
			s.RunID = saidText(value)
		case "role":
			s.Role, s.Active = roleOf(value)
		case "maxmemory_policy":
			s.EvictionPolicy = saidText(value)
		case "keyspace_hits":
			s.Hits = s.Count(name, value)
		case "keyspace_misses":
			s.Misses = s.Count(name, value)
		case "evicted_keys":
			s.Evicted = s.Count(name, value)
		case "expired_keys":
			s.Expired = s.Count(name, value)
		case "used_memory":
			s.MemoryUsed = s.Count(name, value)
		case "maxmemory":
			if s.MemoryLimit = s.Count(name, value); s.MemoryLimit.Value == 0 {
				s.MemoryLimit = probes.Count{} // no limit
			}
		case "uptime_in_seconds":
			s.UptimeSeconds = s.Count(name, value)
		case "loading":
			s.Loading = value == "1"
		default:
			if !isNumbered(name, "db") {
				rep.line(name, value)
				continue
			}
			keys, _, _ := strings.Cut(strings.TrimPrefix(value, "keys="), ",")
			n := s.Count(name, keys)
			items.Value, items.Known = items.Value+n.Value, items.Known && n.Known
		}
	}
	if items.Known {
		s.Items = items
	}
	if s.Role != "" {
		s.Replication = rep.replication(s.Role)
	}
}
