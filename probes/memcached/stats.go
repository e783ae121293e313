package memcached

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// statsReply is the answer to stats.
type statsReply struct {
	probes.Survey
	// complete: it was read to its end, if only as an error.
	complete bool
	// pid and started (Unix seconds) name the process; 0 where it does not report them.
	pid, started int64
	// proxy: it is memcached's own proxy, before servers that count for themselves.
	proxy bool
}

// statsRequest asks for stats; reply gets the answer, and what of its hits and misses is ours.
func (n *node) statsRequest(reply *statsReply) wire.Request {
	return wire.Request{Commands: []byte("stats\r\n"), Read: func(x *wire.Exchange) error {
		if err := reply.read(x); err != nil {
			return err
		}
		reply.complete = true
		if reply.Hits.Known && reply.Misses.Known {
			reply.OwnHits, reply.OwnMisses = n.account.Own(n.kept.runOf(reply.pid, reply.started), &reply.Survey)
		}
		return nil
	}}
}

// keptServer is what the process remembers of one memcached server, besides its own reads.
type keptServer struct {
	// started is the server's start in Unix seconds, as it was first reported. It belongs to who holds the account's lock.
	started int64
	// listing of its keys, which nodes at one server share.
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

// read the answer to stats.
func (r *statsReply) read(x *wire.Exchange) error {
	var expired [3]probes.Count // by a read, for a new item's sake, by the crawler
	var pid, uptime, now, flushes probes.Count
	counts := map[string]*probes.Count{
		"pid": &pid, "uptime": &uptime, "time": &now, "cmd_flush": &flushes,
		"get_hits": &r.Hits, "get_misses": &r.Misses, "evictions": &r.Evicted,
		"get_expired": &expired[0], "reclaimed": &expired[1], "crawler_reclaimed": &expired[2],
		"curr_items": &r.Items, "bytes": &r.MemoryUsed, "limit_maxbytes": &r.MemoryLimit,
	}
	for begun := false; ; begun = true {
		line, err := x.ReadLine()
		if err != nil {
			return err
		}
		rest, ok := bytes.CutPrefix(line, []byte("STAT "))
		switch {
		case ok:
		case string(line) == "END":
			r.finish(&expired, pid, uptime, now, flushes)
			return nil
		case begun && !isError(line): // a line of an extension's own
			continue
		default:
			return r.refused(x, line)
		}
		name, value, _ := strings.Cut(string(rest), " ")
		if count := counts[name]; count != nil {
			*count = r.Count(name, value)
		} else if name == "version" {
			r.Version = x.Secrets.Hide(probes.Shown(value)) // it is a label
		}
		r.proxy = r.proxy || strings.HasPrefix(name, "proxy_")
	}
}

// finish says what follows from several numbers.
func (r *statsReply) finish(expired *[3]probes.Count, pid, uptime, now, flushes probes.Count) {
	r.pid, r.UptimeSeconds = int64(pid.Value), uptime
	if r.MemoryLimit.Value == 0 {
		r.MemoryLimit = probes.Count{} // no limit
	}
	if now.Known && uptime.Known {
		r.started = int64(now.Value - uptime.Value)
	}
	// An expired item is dropped by whoever comes across it first, and each counts its own. The latter two count what
	// flush_all dropped as well: after one, nothing counts expired items alone.
	if expired[0].Known && expired[1].Known && flushes == (probes.Count{Known: true}) {
		r.Expired = probes.Count{Value: expired[0].Value + expired[1].Value + expired[2].Value, Known: true}
	}
}

// isError reports whether a line is an error of the protocol.
func isError(line []byte) bool {
	word := verb(line)
	return word == "ERROR" || word == "CLIENT_ERROR" || word == "SERVER_ERROR"
}

// refused reads an answer that is no statistics. A server that doesn't know stats has answered for all that.
func (r *statsReply) refused(x *wire.Exchange, line []byte) error {
	switch word := verb(line); {
	case string(line) == "CLIENT_ERROR unauthenticated":
		return errLogin
	case string(line) == "ERROR", word == "CLIENT_ERROR":
		return nil
	case word == "ERROR": // such as ERROR Too many open connections
		return saidError(x, line)
	case word == "SERVER_ERROR": // a proxy's, which may serve keys all the same
		r.Refused, r.Unasked = saidError(x, line), true
		return nil
	}
	return x.Foreign
}

// readPolicy reads the eviction policy from the answer to stats settings; empty where it says nothing of that, and where the server
// refuses them: it has just given its statistics.
func readPolicy(x *wire.Exchange) (string, error) {
	var evictions, segmented string
	for begun := false; ; begun = true {
		line, err := x.ReadLine()
		if err != nil {
			return "", err
		}
		if isError(line) {
			return "", nil
		}
		if string(line) == "END" {
			break
		}
		rest, ok := strings.CutPrefix(string(line), "STAT ")
		if !ok && !begun {
			return "", x.Foreign
		}
		if !ok { // as in stats
			continue
		}
		switch name, value, _ := strings.Cut(rest, " "); name {
		case "evictions":
			evictions = value
		case "lru_segmented":
			segmented = value
		}
	}
	switch {
	case evictions == "off":
		return "noeviction", nil
	case evictions == "":
		return "", nil
	case segmented == "yes":
		return "segmented-lru", nil
	}
	return "lru", nil
}
