package probes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// mannerKept is how long a server that closed the connection over a command is not given that command again.
const mannerKept = 10 * time.Minute

var (
	errNotMemcached = errors.New("the server's answer is not memcached's text protocol")
	errLogin        = errors.New(
		"the server asks for a user name and a password (CLIENT_ERROR unauthenticated); give the node username and password_file")
)

var errNoHostPort = errors.New("the address is not host:port")

// memcachedNode is one memcached, or a proxy that speaks like one. Keys are read with meta commands, which tell the TTL
// and leave no trace in the LRU.
//
// Where the server answers mn with an error, get is used for as long as the connection lasts. Where it closes the
// connection over mn or stats instead, as twemproxy does, these are left out for mannerKept; a server without stats has
// nothing to be surveyed by, and counts as up when it answers reads.
type memcachedNode struct {
	id     Identity
	config config.Memcached
	opt    Options
	link   *link
	server *server
	keys   *keyList

	// plain: the present connection is read with get. It belongs to who holds the server's lane.
	plain bool
	// manner belongs to the goroutine that surveys and reads.
	manner struct {
		plain, mute bool // the server closes over mn; over stats
		since       time.Time
	}
	answered atomic.Bool // a read since the last Survey
	// genuine: the last Survey's stats were a memcached's own, which can be asked for its settings, too. Proxies may close
	// over that. It belongs to who holds one.
	genuine bool

	// one is held by a survey and by what Dedicated adds to it, which come from several goroutines.
	one sync.Mutex
}

func newMemcachedNode(id Identity, c config.Memcached, opt Options) (*memcachedNode, error) {
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return nil, errNoHostPort
	}
	n := &memcachedNode{id: id, config: c, opt: opt, server: opt.Servers.at("memcached", c.Address)}
	n.link = &link{
		address: c.Address, secure: c.TLS.Build, foreign: errNotMemcached, greet: n.greet, outdated: n.outdated, server: n.server,
		ping: request{[]byte("version\r\n"), func(x *exchange) error {
			if _, err := x.line(); err != nil && !dropped(err) {
				return err
			}
			return nil // a server that closes is alive, too
		}},
	}
	n.keys = newKeyList(n.listKeys, &n.server.listing)
	return n, nil
}

func (n *memcachedNode) Identity() Identity { return n.id }

// Answered implements Answerer, for servers without stats.
func (n *memcachedNode) Answered() bool { return n.answered.Load() }

// Close ends the connections, and waits for what goes on over them.
func (n *memcachedNode) Close() {
	n.keys.close()
	n.link.close()
}

// outdated: the server may have learned the commands that it closed the connection over.
func (n *memcachedNode) outdated() bool {
	return (n.manner.plain || n.manner.mute) && time.Since(n.manner.since) > mannerKept
}

// greet finds out on a new connection how the server wants to be spoken to, and whether it began anew.
func (n *memcachedNode) greet(ctx context.Context, w *wire) ([]request, error) {
	if n.outdated() {
		n.forgetManner()
	}
	var told memcachedStats
	err := n.introduce(ctx, w, &told)
	switch {
	case err == nil || ctx.Err() != nil || !dropped(err):
		return nil, err
	case told.complete && !n.manner.plain:
		n.manner.plain = true
	case !told.complete && !n.manner.mute:
		n.manner.plain, n.manner.mute = true, true
	default:
		return nil, err
	}
	n.manner.since = time.Now()
	return nil, errAgain
}

func (n *memcachedNode) introduce(ctx context.Context, w *wire, told *memcachedStats) error {
	var requests []request
	if !n.manner.mute {
		if err := n.login(ctx, w); err != nil {
			return err
		}
		requests = append(requests, n.statsRequest(told))
	}
	n.plain = n.manner.plain
	if !n.plain {
		requests = append(requests, request{[]byte("mn\r\n"), n.readNoop})
	}
	return w.converse(ctx, requests...)
}

func (n *memcachedNode) forgetManner() { n.manner.plain, n.manner.mute = false, false }

// readNoop reads mn's answer: where meta commands are known, MN, or EN as early versions had it.
func (n *memcachedNode) readNoop(x *exchange) error {
	line, err := x.line()
	if err != nil {
		return err
	}
	switch verb(line) {
	case "MN", "EN":
	case "ERROR", "CLIENT_ERROR":
		n.plain = true
	case "SERVER_ERROR":
		return saidError(line)
	default:
		return x.foreign
	}
	return nil
}

// login gives user name and password, if any, to a server that asks for them. To one that doesn't they would be a
// value to store, so it is asked first.
func (n *memcachedNode) login(ctx context.Context, w *wire) error {
	user, password, err := n.config.Credentials.Resolve()
	if err != nil || user == "" && password == "" {
		return err
	}
	if user == "" || password == "" || strings.ContainsAny(user+password, " \r\n\x00") {
		return errors.New("memcached needs both a username and a password, without white space; give the node username and password_file")
	}
	asks := false
	err = w.converse(ctx, request{[]byte("version\r\n"), func(x *exchange) error {
		line, err := x.line()
		asks = string(line) == "CLIENT_ERROR unauthenticated"
		return err
	}})
	if err != nil || !asks {
		return err
	}
	secret := user + " " + password
	return w.converse(ctx, request{fmt.Appendf(nil, "set login 0 0 %d\r\n%s\r\n", len(secret), secret), func(x *exchange) error {
		line, err := x.line()
		if err == nil && string(line) != "STORED" { // not the server's words: a proxy may repeat the secret
			err = fmt.Errorf("username and password were refused (%s); check the node's username and password_file", verb(line))
		}
		return err
	}})
}

// verb is a line's first word.
func verb(line []byte) string {
	word, _, _ := bytes.Cut(line, []byte{' '})
	return string(word)
}

// saidError is what a server that can't do what it was asked says.
func saidError(line []byte) error { return fmt.Errorf("the server said: %.200s", line) }

// Survey asks for stats, and has the server's keys listed where that is asked and due.
func (n *memcachedNode) Survey(ctx context.Context, scan *Scan) (Survey, error) {
	n.one.Lock()
	defer n.one.Unlock()
	start := time.Now()
	if !n.answered.Swap(false) && n.manner.mute {
		n.forgetManner() // it was no such server: it has not answered reads either
	}
	var s Survey
	asks := n.genuine
	err := n.link.exchange(ctx, func() []request {
		if n.manner.mute {
			s.Unasked = true
			return nil
		}
		var told memcachedStats
		stats, commands := n.statsRequest(&told), "stats\r\n"
		if asks {
			commands += "stats settings\r\n"
		}
		return []request{{[]byte(commands), func(x *exchange) error {
			err := stats.read(x)
			if err == nil && asks {
				told.EvictionPolicy, err = readPolicy(x)
			}
			x.deliver(func() { s = told.Survey })
			return err
		}}}
	})
	if err != nil {
		return Survey{Took: time.Since(start)}, err
	}
	n.genuine = s.Version != "" && s.MemoryLimit.Known && s.UptimeSeconds.Known
	if scan != nil {
		s.Found, s.ScanErr = n.keys.take(ctx, scan.Match)
	}
	s.Took = time.Since(start)
	return s, nil
}

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
			told.OwnHits, told.OwnMisses = n.server.own(n.server.runOf(told.pid, told.started), &told.Survey)
		}
		return nil
	}}
}

// runOf names a process by its id and start. The start comes from two clocks that round on their own.
func (s *server) runOf(pid, started int64) string {
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

// cannotHold says why no memcached can hold a key, or nil.
func cannotHold(k Key) error {
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
func (n *memcachedNode) Read(ctx context.Context, keys []Key, visit func(int, Raw)) error {
	all := make([]int, 0, len(keys))
	for i, k := range keys {
		if err := cannotHold(k); err != nil {
			visit(i, Raw{Err: err})
			continue
		}
		all = append(all, i)
	}
	if len(all) == 0 {
		return nil
	}
	r := &memcachedRead{node: n, keys: keys, visit: visit}
	err := n.link.exchange(ctx, func() []request {
		if r.plain = n.plain; r.plain {
			return r.gets(all)
		}
		return r.metaGets(all)
	})
	if err != nil && dropped(err) && ctx.Err() == nil && !n.answered.Load() {
		return n.readOtherwise(ctx, r, all, err)
	}
	if err == nil && len(r.refused) > 0 {
		err = n.link.exchange(ctx, func() []request { return r.gets(r.refused) })
	}
	return err
}

// readOtherwise comes after a new connection was closed over the first read. With mg another one is tried with get.
// That get is refused disproves what was thought of the server.
func (n *memcachedNode) readOtherwise(ctx context.Context, r *memcachedRead, all []int, err error) error {
	if !r.plain {
		n.manner.plain, n.manner.since = true, time.Now()
		err = n.link.exchange(ctx, func() []request { return r.gets(all) })
	}
	if err != nil && !n.answered.Load() {
		n.forgetManner()
	}
	return err
}

// memcachedRead is one Read under way.
type memcachedRead struct {
	node  *memcachedNode
	keys  []Key
	visit func(int, Raw)
	plain bool
	// refused are the keys whose mg was no command to the server.
	refused []int
	// won are the commands that give recache tokens back, and how many.
	won     []byte
	wonKeys int
}

func (r *memcachedRead) hand(x *exchange, i int, raw Raw) {
	x.deliver(func() { r.visit(i, raw) })
}

func (r *memcachedRead) metaGets(all []int) []request {
	r.refused, r.won, r.wonKeys = nil, nil, 0
	var out []request
	for first := 0; first < len(all); first += batch {
		part := all[first:min(first+batch, len(all))]
		out = append(out, request{r.metaCommands(part), func(x *exchange) error { return r.readMetas(x, part) }})
	}
	return out
}

// metaCommands ask for the TTL, the CAS id and the value, without a bump in the LRU. They are not quiet (q): a miss is
// answered too, so that each answer belongs to one command, errors as well; the opaque proves it.
func (r *memcachedRead) metaCommands(part []int) []byte {
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

func (r *memcachedRead) readMetas(x *exchange, part []int) error {
	before := len(r.refused)
	for _, i := range part {
		if err := r.readMeta(x, i); err != nil {
			return err
		}
	}
	if len(r.refused)-before == len(part) {
		r.node.plain = true
	}
	return nil
}

func (r *memcachedRead) readMeta(x *exchange, i int) error {
	line, err := x.line()
	if err != nil {
		return err
	}
	word, rest, _ := bytes.Cut(line, []byte{' '})
	switch string(word) {
	case "ERROR", "CLIENT_ERROR":
		r.refused = append(r.refused, i)
		return nil
	case "SERVER_ERROR": // it has counted nothing
		r.hand(x, i, Raw{Err: saidError(line)})
		return nil
	case "EN":
		var m metaFlags
		if !m.parse(rest, i) {
			return x.foreign
		}
		r.node.answered.Store(true)
		r.node.server.misses++
		r.hand(x, i, Raw{})
		return nil
	case "VA":
	default:
		return x.foreign
	}
	number, rest, _ := bytes.Cut(rest, []byte{' '})
	size, ok := parseInt(number)
	var m metaFlags
	if !ok || size < 0 || !m.parse(rest, i) {
		return x.foreign
	}
	r.node.answered.Store(true)
	r.node.server.hits++
	if m.won && m.cas != 0 {
		r.giveBack(x, i, m.cas)
	}
	return x.value(r.node.opt, size, func(raw Raw) {
		if raw.Err == nil {
			raw.TTL, raw.HasTTL, raw.NoExpiry = time.Duration(m.ttl)*time.Second, m.hasTTL, m.forever
		}
		r.hand(x, i, raw)
	})
}

// giveBack returns a recache token. memcached gives the first who reads an item that was marked stale the right to make
// it anew (W), and nobody else until it is made. Only an application can, so the mark is set as it was. The CAS id sees
// to it that no newer item gets it.
func (r *memcachedRead) giveBack(x *exchange, i int, cas uint64) {
	r.won = fmt.Appendf(r.won, "md %s I C%d\r\n", r.keys[i].Name, cas)
	r.wonKeys++
	x.more = &request{r.won, func(x *exchange) error {
		for range r.wonKeys {
			if _, err := x.line(); err != nil {
				return err
			}
		}
		return nil
	}}
}

// metaFlags are what an answer says beside the value. X (stale) and Z (somebody else has the token) change nothing: the
// copy is what clients get.
type metaFlags struct {
	ttl     int64
	hasTTL  bool
	forever bool
	cas     uint64
	won     bool
}

// parse reads flags; false: they are none, or answer another command than that for key i.
func (m *metaFlags) parse(flags []byte, i int) bool {
	for len(flags) > 0 {
		var f []byte
		f, flags, _ = bytes.Cut(flags, []byte{' '})
		if len(f) == 0 {
			continue
		}
		switch token := f[1:]; f[0] {
		case 't':
			ttl, ok := parseInt(token)
			if !ok || ttl < -1 {
				return false
			}
			m.ttl, m.hasTTL, m.forever = ttl, ttl >= 0, ttl == -1
		case 'c':
			cas, err := strconv.ParseUint(string(token), 10, 64)
			if err != nil {
				return false
			}
			m.cas = cas
		case 'O':
			if n, ok := parseInt(token); !ok || n != int64(i) {
				return false
			}
		case 'W':
			m.won = true
		}
	}
	return true
}

// getLine is how many keys one get asks for. Proxies split and join them in buffers that are not large.
const getLine = 100

func (r *memcachedRead) gets(all []int) []request {
	var out []request
	for first := 0; first < len(all); first += batch {
		var commands []byte
		var lines []map[string][]int
		for part := all[first:min(first+batch, len(all))]; len(part) > 0; {
			var line map[string][]int
			commands, line, part = r.get(commands, part)
			lines = append(lines, line)
		}
		out = append(out, request{commands, func(x *exchange) error {
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
func (r *memcachedRead) get(b []byte, part []int) (commands []byte, asked map[string][]int, left []int) {
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
func (r *memcachedRead) readGet(x *exchange, asked map[string][]int) error {
	for {
		line, err := x.line()
		if err != nil {
			return err
		}
		word, rest, _ := bytes.Cut(line, []byte{' '})
		switch string(word) {
		case "END":
			r.node.answered.Store(true)
			r.node.server.misses += uint64(len(asked))
			r.handAll(x, asked, Raw{})
			return nil
		case "ERROR", "CLIENT_ERROR", "SERVER_ERROR":
			r.node.answered.Store(true)
			r.handAll(x, asked, Raw{Err: saidError(line)})
			return nil
		case "VALUE":
		default:
			return x.foreign
		}
		name, size, ok := parseValue(rest)
		at := asked[name]
		if !ok || at == nil {
			return x.foreign
		}
		delete(asked, name)
		r.node.answered.Store(true)
		r.node.server.hits++
		err = x.value(r.node.opt, size, func(raw Raw) {
			for _, i := range at {
				r.hand(x, i, raw)
			}
		})
		if err != nil {
			return err
		}
	}
}

func (r *memcachedRead) handAll(x *exchange, asked map[string][]int, raw Raw) {
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
	size, ok = parseInt(number)
	return string(key), size, ok && size >= 0
}
