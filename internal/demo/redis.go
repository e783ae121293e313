package demo

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

const redisMaxMemory = 64 << 20

// redisServer is a miniredis that also tells what monitoring asks a Redis: INFO with its counters.
type redisServer struct {
	name    string
	mini    *miniredis.Miniredis
	started time.Time
	runID   string
	replID  string

	// server is mini's, which mini forgets when it is closed while its last commands still run; address is where it listens.
	server  *server.Server
	address netip.AddrPort

	// primary that it follows, and link to a replica that follows it: nil without.
	primary *redisServer
	link    *replicationLink

	// streamed is what XINFO of the sessions' stream tells: miniredis does not count entries, and takes all for ones that wait.
	streamed streamGroup

	hits, misses, written atomic.Int64
	queued                atomic.Int64 // elements of the queue's list

	// own is the application's connection: a command by it is complete before the next one runs.
	ownMu sync.Mutex
	own   *server.Peer

	mu      sync.Mutex
	live    map[string]bool // keys written and neither deleted nor seen to be gone
	expired int64
}

func startRedis(name string) (*redisServer, error) {
	s := &redisServer{
		name: name, mini: miniredis.NewMiniRedis(), started: time.Now(), runID: randomID(), replID: randomID(),
		own: server.NewPeer(bufio.NewWriter(io.Discard)), live: map[string]bool{},
	}
	if err := s.mini.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.mini.ClockTTL(true) // by itself its clock stands still
	s.server, s.address = s.mini.Server(), s.mini.Server().Addr().AddrPort()
	s.server.SetPreHook(s.hook)
	return s, nil
}

// randomID is 40 hexadecimal digits, as Redis names runs and replication histories.
func randomID() string {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func (s *redisServer) addr() string { return s.address.String() }
func (s *redisServer) node() string { return s.name }

func (s *redisServer) close() {
	if s.link != nil {
		s.link.close()
	}
	s.mini.Close()
}

func (s *redisServer) put(key string, body []byte, ttl time.Duration) {
	s.do("SET", key, string(body), "PX", strconv.FormatInt(ttl.Milliseconds(), 10))
}

// do runs a command that answers nothing of interest.
func (s *redisServer) do(args ...string) {
	s.ownMu.Lock()
	defer s.ownMu.Unlock()
	s.server.Dispatch(s.own, args)
	s.own.Flush()
}

func (s *redisServer) peek(key string) ([]byte, bool) {
	v, err := s.mini.Get(key)
	return []byte(v), err == nil
}

func (s *redisServer) lookup(key string) bool {
	_, ok := s.peek(key)
	s.count(ok)
	return ok
}

func (s *redisServer) push(values ...string) {
	if _, err := s.mini.Push(listQueue, values...); err == nil {
		s.queued.Add(int64(len(values)))
	}
}

func (s *redisServer) pop() bool {
	if _, err := s.mini.Lpop(listQueue); err != nil {
		return false
	}
	s.queued.Add(-1)
	return true
}

func (s *redisServer) count(hit bool) {
	if hit {
		s.hits.Add(1)
	} else {
		s.misses.Add(1)
	}
}

// lookups of a command, as Redis 7 counts them: which of its arguments are keys that it looks up to read.
func lookups(cmd string, args []string) []string {
	switch cmd {
	case "GET", "GETEX", "GETRANGE", "STRLEN", "PTTL", "TTL", "PEXPIRETIME", "EXPIRETIME", "TYPE", "DUMP",
		"HGETALL", "HGET", "HMGET", "HLEN", "LLEN", "LRANGE", "LINDEX", "XLEN", "XRANGE", "XREVRANGE", "XPENDING":
		return args[:min(1, len(args))]
	case "MGET", "EXISTS", "TOUCH":
		return args
	case "XINFO", "OBJECT":
		if len(args) > 1 {
			return args[1:2]
		}
	}
	return nil
}

// hook runs before each command; true: it has answered.
func (s *redisServer) hook(c *server.Peer, cmd string, args ...string) bool {
	if slices.Contains(replicated, cmd) {
		if s.primary != nil && c != s.own {
			c.WriteError("READONLY You can't write against a read only replica.")
			return true
		}
		s.written.Add(1)
		s.stream(cmd, args)
	}
	if inScript(c) {
		return false // the script holds the server's lock
	}
	switch cmd {
	case "INFO":
		c.WriteBulk(s.info(args))
		return true
	case "READONLY", "READWRITE":
		c.WriteOK()
		return true
	case "CLIENT":
		if len(args) > 0 && slices.Contains([]string{"NO-TOUCH", "NO-EVICT", "SETINFO"}, strings.ToUpper(args[0])) {
			c.WriteOK()
			return true
		}
	case "SET":
		if len(args) > 0 {
			s.wrote(args[0])
		}
	case "DEL", "UNLINK":
		s.deleted(args)
	case "XADD":
		s.streamed.add()
	case "XINFO":
		if len(args) == 2 && args[1] == sessionStream && s.mini.Exists(sessionStream) && s.tellStream(c, args[0]) {
			s.count(true)
			return true
		}
	}
	for _, key := range lookups(cmd, args) {
		s.count(s.mini.Exists(key))
	}
	return false
}

// inScript: the command comes from a Lua script, which miniredis marks on the peer and tells nobody.
func inScript(c *server.Peer) bool {
	v := reflect.ValueOf(c.Ctx)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return false
	}
	nested := v.Elem().FieldByName("nested")
	return nested.Kind() == reflect.Bool && nested.Bool()
}

// wrote remembers a key, and counts its last copy as expired where that has gone by itself.
func (s *redisServer) wrote(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live[key] && !s.mini.Exists(key) {
		s.expired++
	}
	s.live[key] = true
}

func (s *redisServer) deleted(keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		delete(s.live, k)
	}
}

// sweep counts the keys that have expired.
func (s *redisServer) sweep() (expired int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.live {
		if !s.mini.Exists(k) {
			s.expired++
			delete(s.live, k)
		}
	}
	return s.expired
}

// info answers INFO with the sections that were asked for, all of them where none was.
func (s *redisServer) info(args []string) string {
	expired := s.sweep()
	keys := len(s.mini.DB(0).Keys())
	memory := 1<<20 + int64(keys)*250 + s.queued.Load()*90
	uptime := int64(time.Since(s.started).Seconds())
	space := ""
	if keys > 0 {
		space = fmt.Sprintf("db0:keys=%d,expires=%d,avg_ttl=0\r\n", keys, keys)
	}
	sections := []struct{ name, text string }{
		{"Server", fmt.Sprintf("redis_version:7.2.4\r\nredis_mode:standalone\r\nos:demo\r\narch_bits:64\r\nrun_id:%s\r\ntcp_port:%d\r\n"+
			"server_time_usec:%d\r\nuptime_in_seconds:%d\r\nuptime_in_days:%d\r\nhz:10\r\n",
			s.runID, s.address.Port(), time.Now().UnixMicro(), uptime, uptime/86400)},
		{"Clients", fmt.Sprintf("connected_clients:%d\r\nmaxclients:10000\r\nblocked_clients:0\r\n", s.server.ClientsLen())},
		{"Memory", fmt.Sprintf("used_memory:%d\r\nused_memory_rss:%d\r\nused_memory_peak:%d\r\nmaxmemory:%d\r\n"+
			"maxmemory_policy:allkeys-lru\r\nmem_fragmentation_ratio:1.00\r\n", memory, memory, memory, int64(redisMaxMemory))},
		{"Persistence", "loading:0\r\nasync_loading:0\r\nrdb_last_bgsave_status:ok\r\naof_enabled:0\r\n"},
		{"Stats", fmt.Sprintf("total_connections_received:%d\r\ntotal_commands_processed:%d\r\nrejected_connections:0\r\n"+
			"sync_full:0\r\nsync_partial_ok:0\r\nsync_partial_err:0\r\nexpired_keys:%d\r\nevicted_keys:0\r\n"+
			"keyspace_hits:%d\r\nkeyspace_misses:%d\r\n",
			s.server.TotalConnections(), s.server.TotalCommands(), expired, s.hits.Load(), s.misses.Load())},
		{"Replication", s.replicationInfo()},
		{"Cluster", "cluster_enabled:0\r\n"},
		{"Keyspace", space},
	}
	var b strings.Builder
	for _, section := range sections {
		wanted := len(args) == 0 || slices.ContainsFunc(args, func(a string) bool {
			return strings.EqualFold(a, section.name) || slices.Contains([]string{"all", "everything", "default"}, strings.ToLower(a))
		})
		if wanted {
			fmt.Fprintf(&b, "# %s\r\n%s\r\n", section.name, section.text)
		}
	}
	return b.String()
}
