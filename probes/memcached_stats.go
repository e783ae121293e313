package probes

import (
	"bytes"
	"fmt"
	"strings"
)

// readPolicy reads what stats settings tells of evictions; empty where it does not.
func readPolicy(x *exchange) (string, error) {
	told := map[string]string{}
	for {
		line, err := x.line()
		if err != nil {
			return "", err
		}
		rest, ok := strings.CutPrefix(string(line), "STAT ")
		if !ok {
			if string(line) != "END" && verb(line) != "ERROR" && verb(line) != "CLIENT_ERROR" {
				return "", x.foreign
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

// memcachedStats is what stats told.
type memcachedStats struct {
	Survey
	// complete: the reply is, if only as an error.
	complete bool
	// pid and started (Unix seconds) name the process; 0 where it doesn't tell.
	pid, started int64
}

// statsRequest asks for stats and notes what of hits and misses is ours.
func (n *memcachedNode) statsRequest(told *memcachedStats) request {
	return request{[]byte("stats\r\n"), func(x *exchange) error {
		if err := told.read(x); err != nil {
			return err
		}
		told.complete = true
		if told.Hits.Known && told.Misses.Known {
			told.OwnHits, told.OwnMisses = n.server.own(n.kept.runOf(told.pid, told.started), &told.Survey)
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

func (m *memcachedStats) read(x *exchange) error {
	var expired [3]Count // by a read, for a new item's sake, by the crawler
	var uptime, now, flushes Count
	for {
		line, err := x.line()
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
			m.pid = int64(count(value).Value)
		case "uptime":
			uptime = count(value)
		case "time":
			now = count(value)
		case "version":
			m.Version = value
		case "get_hits":
			m.Hits = count(value)
		case "get_misses":
			m.Misses = count(value)
		case "evictions":
			m.Evicted = count(value)
		case "get_expired":
			expired[0] = count(value)
		case "reclaimed":
			expired[1] = count(value)
		case "crawler_reclaimed":
			expired[2] = count(value)
		case "cmd_flush":
			flushes = count(value)
		case "curr_items":
			m.Items = count(value)
		case "bytes":
			m.MemoryUsed = count(value)
		case "limit_maxbytes":
			m.MemoryLimit = count(value)
		}
	}
	m.UptimeSeconds = uptime
	if m.MemoryLimit.Value == 0 {
		m.MemoryLimit = Count{} // no limit
	}
	if now.Known && uptime.Known {
		m.started = int64(now.Value - uptime.Value)
	}
	// An expired item is dropped by whoever comes across it first, and each counts its own. The latter two count what
	// flush_all dropped as well: after one, nothing tells of expired items alone.
	if expired[0].Known && expired[1].Known && flushes == (Count{Known: true}) {
		m.Expired = Count{expired[0].Value + expired[1].Value + expired[2].Value, true}
	}
	return nil
}

// refused reads an answer that is no statistics. A server that doesn't know stats has answered for all that.
func (m *memcachedStats) refused(x *exchange, line []byte) error {
	switch word := verb(line); {
	case string(line) == "CLIENT_ERROR unauthenticated":
		return errLogin
	case string(line) == "ERROR", word == "CLIENT_ERROR":
		return nil
	case word == "ERROR", word == "SERVER_ERROR": // such as ERROR Too many open connections
		return saidError(line)
	}
	return x.foreign
}
