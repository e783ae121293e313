package demo

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	memcachedVersion  = "1.6.18"
	memcachedMaxBytes = 64 << 20
	memcachedItemMax  = 1 << 20
	memcachedKeyMax   = 250
	// itemOverhead is what an item takes beside its key and value, in bytes.
	itemOverhead = 56
)

// memcachedServer is a small memcached: the text protocol and the meta commands, with real TTLs and counters. It keeps
// everything until it expires: the demo holds some dozen keys.
type memcachedServer struct {
	name     string
	listener net.Listener
	started  time.Time
	wg       sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
	items  map[string]*item
	cas    uint64
	counts map[string]int64
}

type item struct {
	value    []byte
	flags    uint32
	cas      uint64
	expires  time.Time // zero: never
	accessed time.Time
	fetched  bool
}

func (i *item) size(key string) int { return len(key) + len(i.value) + itemOverhead }

func (i *item) ttl(now time.Time) int {
	if i.expires.IsZero() {
		return -1
	}
	return int(i.expires.Sub(now).Seconds())
}

func startMemcached(name string) (*memcachedServer, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s := &memcachedServer{
		name: name, listener: l, started: time.Now(), conns: map[net.Conn]struct{}{}, items: map[string]*item{}, counts: map[string]int64{},
	}
	s.wg.Go(s.accept)
	return s, nil
}

func (s *memcachedServer) addr() string { return s.listener.Addr().String() }
func (s *memcachedServer) node() string { return s.name }

func (s *memcachedServer) close() {
	s.mu.Lock()
	s.closed = true
	_ = s.listener.Close() // ends accept
	for c := range s.conns {
		_ = c.Close() // ends its reader
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *memcachedServer) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = c.Close()
			return
		}
		s.conns[c] = struct{}{}
		s.counts["total_connections"]++
		s.mu.Unlock()
		s.wg.Go(func() {
			s.serve(c)
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			_ = c.Close()
		})
	}
}

// get finds an item that has not expired. The lock is held.
func (s *memcachedServer) get(key string) *item {
	i := s.items[key]
	if i != nil && !i.expires.IsZero() && !time.Now().Before(i.expires) {
		if !i.fetched {
			s.counts["expired_unfetched"]++
		}
		s.counts["reclaimed"]++
		delete(s.items, key)
		return nil
	}
	return i
}

// fetch is a read that counts. The lock is held.
func (s *memcachedServer) fetch(key string) *item {
	i := s.get(key)
	s.counts["cmd_get"]++
	if i == nil {
		s.counts["get_misses"]++
	} else {
		s.counts["get_hits"]++
	}
	return i
}

// store sets an item. The lock is held.
func (s *memcachedServer) store(key string, value []byte, flags uint32, expires time.Time) *item {
	s.cas++
	i := &item{value: value, flags: flags, cas: s.cas, expires: expires, accessed: time.Now()}
	s.items[key] = i
	s.counts["total_items"]++
	return i
}

func (s *memcachedServer) put(key string, body []byte, ttl time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts["cmd_set"]++
	s.store(key, body, 0, time.Now().Add(ttl))
}

func (s *memcachedServer) peek(key string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.get(key); i != nil {
		return i.value, true
	}
	return nil, false
}

func (s *memcachedServer) lookup(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.fetch(key)
	if i != nil {
		i.fetched, i.accessed = true, time.Now()
	}
	return i != nil
}

// expiry of an exptime: 0 never, below 0 at once, above 30 days a Unix time, else seconds from now.
func expiry(seconds int64) time.Time {
	switch {
	case seconds == 0:
		return time.Time{}
	case seconds < 0:
		return time.Unix(1, 0)
	case seconds > 30*24*3600:
		return time.Unix(seconds, 0)
	}
	return time.Now().Add(time.Duration(seconds) * time.Second)
}

func validKey(key string) bool {
	return key != "" && len(key) <= memcachedKeyMax && !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

const badLine = "CLIENT_ERROR bad command line format\r\n"

// session is one client's connection. Answers are gathered in out and sent without the server's lock, so that a slow
// client holds up nobody.
type session struct {
	s   *memcachedServer
	r   *bufio.Reader
	out bytes.Buffer
}

// sendAt is how many bytes of answers are gathered while more commands wait.
const sendAt = 64 << 10

func (s *memcachedServer) serve(c net.Conn) {
	t := &session{s: s, r: bufio.NewReaderSize(c, 64<<10)}
	for {
		if t.r.Buffered() == 0 || t.out.Len() > sendAt {
			if _, err := t.out.WriteTo(c); err != nil {
				return
			}
		}
		line, err := t.r.ReadString('\n')
		if err != nil {
			return
		}
		args := strings.Fields(line)
		if len(args) == 0 {
			t.say("ERROR\r\n")
			continue
		}
		if args[0] == "quit" {
			_, _ = t.out.WriteTo(c) // the client leaves anyway
			return
		}
		if t.command(args[0], args[1:]) != nil {
			return
		}
	}
}

func (t *session) say(format string, args ...any) {
	_, _ = fmt.Fprintf(&t.out, format, args...) // never fails
}

// command answers one; an error ends the connection.
func (t *session) command(name string, args []string) error {
	switch name {
	case "get", "gets":
		t.getAll(args, name == "gets")
	case "set", "add", "replace", "cas":
		return t.set(name, args)
	case "delete":
		t.remove(args)
	case "touch":
		t.touch(args)
	case "mg":
		t.metaGet(args)
	case "ms":
		return t.metaSet(args)
	case "md":
		t.metaDelete(args)
	case "mn":
		t.say("MN\r\n")
	case "version":
		t.say("VERSION %s\r\n", memcachedVersion)
	case "verbosity":
		t.say("OK\r\n")
	case "flush_all":
		t.s.mu.Lock()
		clear(t.s.items)
		t.s.counts["cmd_flush"]++
		t.s.mu.Unlock()
		t.reply(args, "OK")
	case "stats":
		t.stats(args)
	case "lru_crawler":
		t.crawl(args)
	default:
		t.say("ERROR\r\n")
	}
	return nil
}

// reply answers unless the command ended in noreply.
func (t *session) reply(args []string, answer string) {
	if len(args) == 0 || args[len(args)-1] != "noreply" {
		t.say("%s\r\n", answer)
	}
}

func (t *session) getAll(keys []string, withCAS bool) {
	if len(keys) == 0 {
		t.say("ERROR\r\n")
		return
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	for _, key := range keys {
		if !validKey(key) {
			t.say(badLine)
			return
		}
		i := t.s.fetch(key)
		if i == nil {
			continue
		}
		i.fetched, i.accessed = true, time.Now()
		t.say("VALUE %s %d %d", key, i.flags, len(i.value))
		if withCAS {
			t.say(" %d", i.cas)
		}
		t.say("\r\n%s\r\n", i.value)
	}
	t.say("END\r\n")
}

// data reads a value and its end of line; ok is false where it was no such thing, which was answered.
func (t *session) data(size string) (value []byte, ok bool, err error) {
	n, err := strconv.Atoi(size)
	if err != nil || n < 0 {
		t.say(badLine)
		return nil, false, nil
	}
	if n > memcachedItemMax {
		t.say("SERVER_ERROR object too large for cache\r\n")
		_, err := t.r.Discard(n + 2)
		return nil, false, err
	}
	b := make([]byte, n+2)
	if _, err := io.ReadFull(t.r, b); err != nil {
		return nil, false, err
	}
	if string(b[n:]) != "\r\n" {
		if b[n+1] != '\n' { // the rest of the line is no command
			if _, err := t.r.ReadString('\n'); err != nil {
				return nil, false, err
			}
		}
		t.say("CLIENT_ERROR bad data chunk\r\n")
		return nil, false, nil
	}
	return b[:n], true, nil
}

func (t *session) set(name string, args []string) error {
	want := 4
	if name == "cas" {
		want = 5
	}
	if len(args) < want || !validKey(args[0]) {
		t.say(badLine)
		return nil
	}
	flags, errF := strconv.ParseUint(args[1], 10, 32)
	exptime, errE := strconv.ParseInt(args[2], 10, 64)
	value, ok, err := t.data(args[3])
	if err != nil || !ok {
		return err
	}
	if errF != nil || errE != nil {
		t.say(badLine)
		return nil
	}
	key := args[0]
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.counts["cmd_set"]++
	old := t.s.get(key)
	switch {
	case name == "add" && old != nil, name == "replace" && old == nil:
		t.reply(args, "NOT_STORED")
		return nil
	case name == "cas" && old == nil:
		t.reply(args, "NOT_FOUND")
		return nil
	case name == "cas" && strconv.FormatUint(old.cas, 10) != args[4]:
		t.reply(args, "EXISTS")
		return nil
	}
	t.s.store(key, value, uint32(flags), expiry(exptime))
	t.reply(args, "STORED")
	return nil
}

func (t *session) remove(args []string) {
	if len(args) == 0 || !validKey(args[0]) {
		t.say(badLine)
		return
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.s.get(args[0]) == nil {
		t.s.counts["delete_misses"]++
		t.reply(args, "NOT_FOUND")
		return
	}
	t.s.counts["delete_hits"]++
	delete(t.s.items, args[0])
	t.reply(args, "DELETED")
}

func (t *session) touch(args []string) {
	if len(args) < 2 || !validKey(args[0]) {
		t.say(badLine)
		return
	}
	exptime, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		t.say("CLIENT_ERROR invalid exptime argument\r\n")
		return
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.counts["cmd_touch"]++
	i := t.s.get(args[0])
	if i == nil {
		t.s.counts["touch_misses"]++
		t.reply(args, "NOT_FOUND")
		return
	}
	t.s.counts["touch_hits"]++
	i.expires = expiry(exptime)
	t.reply(args, "TOUCHED")
}

func (t *session) stats(args []string) {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	stat := func(name string, value any) { t.say("STAT %s %v\r\n", name, value) }
	switch {
	case len(args) > 0 && args[0] == "settings":
		stat("maxbytes", memcachedMaxBytes)
		stat("maxconns", 1024)
		stat("evictions", "on")
		stat("growth_factor", "1.25")
		stat("item_size_max", memcachedItemMax)
		stat("num_threads", 4)
		stat("cas_enabled", "yes")
		stat("lru_crawler", "yes")
		stat("dump_enabled", "yes")
	case len(args) > 0:
		// reset, items, slabs and the like: nothing to tell
	default:
		bytes := 0
		for key := range s.items {
			if i := s.get(key); i != nil {
				bytes += i.size(key)
			}
		}
		now := time.Now()
		stat("pid", 1)
		stat("uptime", int64(now.Sub(s.started).Seconds()))
		stat("time", now.Unix())
		stat("version", memcachedVersion)
		stat("pointer_size", 64)
		stat("max_connections", 1024)
		stat("curr_connections", len(s.conns))
		for _, name := range []string{
			"total_connections", "cmd_get", "cmd_set", "cmd_flush", "cmd_touch", "get_hits", "get_misses", "get_expired",
			"get_flushed", "delete_misses", "delete_hits", "touch_hits", "touch_misses", "total_items", "expired_unfetched",
			"evicted_unfetched", "evictions", "reclaimed",
		} {
			stat(name, s.counts[name])
		}
		stat("limit_maxbytes", memcachedMaxBytes)
		stat("accepting_conns", 1)
		stat("threads", 4)
		stat("bytes", bytes)
		stat("curr_items", len(s.items))
	}
	t.say("END\r\n")
}

// crawl answers lru_crawler metadump; other forms need no crawler here.
func (t *session) crawl(args []string) {
	if len(args) < 2 || args[0] != "metadump" {
		t.say("OK\r\n")
		return
	}
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.items {
		i := s.get(key)
		if i == nil {
			continue
		}
		expires, fetched := int64(-1), "no"
		if !i.expires.IsZero() {
			expires = i.expires.Unix()
		}
		if i.fetched {
			fetched = "yes"
		}
		t.say("key=%s exp=%d la=%d cas=%d fetch=%s cls=1 size=%d\n",
			url.QueryEscape(key), expires, i.accessed.Unix(), i.cas, fetched, i.size(key))
	}
	t.say("END\r\n")
}
