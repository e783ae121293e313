package memcached

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// readPolicy reads what stats settings tells of evictions; empty where it does not.
func readPolicy(x *wire.Exchange) (string, error) {
	told := map[string]string{}
	for {
		line, err := x.ReadLine()
		if err != nil {
			return "", err
		}
		rest, ok := strings.CutPrefix(string(line), "STAT ")
		if !ok {
			if string(line) != "END" && verb(line) != "ERROR" && verb(line) != "CLIENT_ERROR" {
				return "", x.Foreign
			}
			break
		}
		name, value, _ := strings.Cut(rest, " ")
		told[name] = value
	}
	switch {
	case told["evictions"] == "off":
		return "noeviction", nil
	case told["evictions"] == "":
		return "", nil
	case told["lru_segmented"] == "yes":
		return "segmented-lru", nil
	}
	return "lru", nil
}

// stats is what stats told.
type stats struct {
	probes.Survey
	// complete: the reply is, if only as an error.
	complete bool
	// pid and started (Unix seconds) name the process; 0 where it doesn't tell.
	pid, started int64
}

// statsRequest asks for stats and notes what of hits and misses is ours.
func (n *node) statsRequest(told *stats) wire.Request {
	return wire.Request{Commands: []byte("stats\r\n"), Read: func(x *wire.Exchange) error {
		if err := told.read(x); err != nil {
			return err
		}
		told.complete = true
		if told.Hits.Known && told.Misses.Known {
			told.OwnHits, told.OwnMisses = n.account.Own(n.kept.runOf(told.pid, told.started), &told.Survey)
		}
		return nil
	}}
}

// keptServer is what the process remembers of one memcached server, besides its own reads.
type keptServer struct {
	// started is the server's start in Unix seconds, as it was first told. It belongs to who holds the server's account.
	started int64
	listing listing
}

// runOf names a process by its id and start. The start comes from two clocks that round on their own.
func (s *keptServer) runOf(pid, started int64) string {
	if pid == 0 || started == 0 {
		return ""
	}
	if d := started - s.started; d < -1 || d > 1 {
		s.started = started
	}
	return fmt.Sprint(pid, "@", s.started)
}

func (m *stats) read(x *wire.Exchange) error {
	var expired [3]probes.Count // by a read, for a new item's sake, by the crawler
	var uptime, now, flushes probes.Count
	for {
		line, err := x.ReadLine()
		if err != nil {
			return err
		}
		rest, ok := bytes.CutPrefix(line, []byte("STAT "))
		if !ok {
			if string(line) == "END" {
				break
			}
			return m.refused(x, line)
		}
		name, value, _ := strings.Cut(string(rest), " ")
		switch name {
		case "pid":
			m.pid = int64(probes.ParseCount(value).Value)
		case "uptime":
			uptime = probes.ParseCount(value)
		case "time":
			now = probes.ParseCount(value)
		case "version":
			m.Version = value
		case "get_hits":
			m.Hits = probes.ParseCount(value)
		case "get_misses":
			m.Misses = probes.ParseCount(value)
		case "evictions":
			m.Evicted = probes.ParseCount(value)
		case "get_expired":
			expired[0] = probes.ParseCount(value)
		case "reclaimed":
			expired[1] = probes.ParseCount(value)
		case "crawler_reclaimed":
			expired[2] = probes.ParseCount(value)
		case "cmd_flush":
			flushes = probes.ParseCount(value)
		case "curr_items":
			m.Items = probes.ParseCount(value)
		case "bytes":
			m.MemoryUsed = probes.ParseCount(value)
		case "limit_maxbytes":
			m.MemoryLimit = probes.ParseCount(value)
		}
	}
	m.UptimeSeconds = uptime
	if m.MemoryLimit.Value == 0 {
		m.MemoryLimit = probes.Count{} // no limit
	}
	if now.Known && uptime.Known {
		m.started = int64(now.Value - uptime.Value)
	}
	// An expired item is dropped by whoever comes across it first, and each counts its own. The latter two count what
	// flush_all dropped as well: after one, nothing tells of expired items alone.
	if expired[0].Known && expired[1].Known && flushes == (probes.Count{Known: true}) {
		m.Expired = probes.Count{Value: expired[0].Value + expired[1].Value + expired[2].Value, Known: true}
	}
	return nil
}

// refused reads an answer that is no statistics. A server that doesn't know stats has answered for all that.
func (m *stats) refused(x *wire.Exchange, line []byte) error {
	switch word := verb(line); {
	case string(line) == "CLIENT_ERROR unauthenticated":
		return errLogin
	case string(line) == "ERROR", word == "CLIENT_ERROR":
		return nil
	case word == "ERROR", word == "SERVER_ERROR": // such as ERROR Too many open connections
		return saidError(line)
	}
	return x.Foreign
}
