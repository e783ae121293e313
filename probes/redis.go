package probes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// batch is how many keys go into one pipeline.
const batch = 1000

// The library writes each failed connection to stderr by itself; here errors go to the callers alone.
func init() { logging.Disable() }

// redisNode is one Redis or Valkey server. Keys are read over a connection of our own, so that values are handed on
// while they arrive; queues use a go-redis client beside it.
type redisNode struct {
	id     Identity
	config config.Redis
	url    *redis.Options
	opt    Options
	link   *link
	server *server
	// cluster: the server is a node of a Cluster, whose keys are read slot by slot.
	cluster bool

	// cursor of SCAN, and doubts: nils of MGET by key of which it is open whether the server counted a hit (another
	// type) or a miss (gone in between). Both belong to who holds the server's lane.
	cursor string
	doubts map[string]uint64

	mu     sync.Mutex
	client *redis.Client
	closed bool
}

func newRedisNode(id Identity, c config.Redis, opt Options) (*redisNode, error) {
	address := c.Address
	if !strings.Contains(address, "://") {
		address = "redis://" + address
	}
	u, err := redis.ParseURL(address)
	if err != nil {
		return nil, errors.New("the address is no redis:// or rediss:// URL") // its text may hold a password
	}
	n := &redisNode{id: id, config: c, url: u, opt: opt, server: opt.Servers.at("redis", u.Addr), cursor: "0", doubts: map[string]uint64{}}
	n.link = &link{
		address: u.Addr, secure: n.secure, foreign: errProtocol, greet: n.greet, server: n.server,
		ping: request{appendCommand(nil, "PING"), ignore},
	}
	return n, nil
}

func (n *redisNode) Identity() Identity { return n.id }

// Close ends the connections, and waits for what goes on over them.
func (n *redisNode) Close() {
	n.mu.Lock()
	n.closed = true
	client := n.client
	n.client = nil
	n.mu.Unlock()
	if client != nil {
		_ = client.Close() // nothing is left to be told
	}
	n.link.close()
}

// credentials of a new connection: the configuration's before the address's.
func (n *redisNode) credentials() (user, password string, err error) {
	user, password, err = n.config.Credentials.Resolve()
	if err != nil {
		return "", "", err
	}
	if user == "" {
		user = n.url.Username
	}
	if password == "" {
		password = n.url.Password
	}
	return user, password, nil
}

// secure gives the TLS settings: the configuration's before those of a rediss:// address.
func (n *redisNode) secure() (*tls.Config, error) {
	settings, err := n.config.TLS.Build()
	if settings == nil && err == nil && n.url.TLSConfig != nil {
		settings = n.url.TLSConfig.Clone()
	}
	return settings, err
}

// greet gives what a new connection says before all else.
func (n *redisNode) greet(context.Context, *wire) ([]request, error) {
	user, password, err := n.credentials()
	if err != nil {
		return nil, err
	}
	must := func(what string) func(*exchange) error {
		return func(x *exchange) error {
			_, err := x.text()
			var said errReply
			if errors.As(err, &said) { // the first word alone: a proxy may repeat the arguments
				return fmt.Errorf("%s was refused (%s)", what, said.word())
			}
			return err
		}
	}
	var out []request
	if password != "" {
		args := []string{"AUTH", password}
		if user != "" {
			args = []string{"AUTH", user, password}
		}
		out = append(out, request{appendCommand(nil, args...), must("AUTH")})
	}
	if n.url.DB != 0 {
		out = append(out, request{appendCommand(nil, "SELECT", strconv.Itoa(n.url.DB)), must("SELECT")})
	}
	if n.cluster { // a replica sends readers to its primary without it
		out = append(out, request{appendCommand(nil, "READONLY"), ignore})
	}
	return append(out,
		request{appendCommand(nil, "CLIENT", "SETNAME", "cacheinv_exporter"), ignore},
		request{appendCommand(nil, "CLIENT", "NO-TOUCH", "ON"), ignore}), nil // Redis 7.2; older ones refuse
}

// Survey asks for INFO and, where asked, one step of SCAN, in one round trip.
func (n *redisNode) Survey(ctx context.Context, scan *Scan) (Survey, error) {
	return n.surveyWith(ctx, request{read: func(*exchange) error { return nil }}, scan)
}

// surveyWith asks for something else in the same round trip, behind INFO.
func (n *redisNode) surveyWith(ctx context.Context, also request, scan *Scan) (Survey, error) {
	start := time.Now()
	var s Survey
	var refused error
	err := n.link.exchange(ctx, func() []request {
		return []request{n.surveyRequest(also, scan, func(got Survey, err error) { s, refused = got, err })}
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return Survey{Took: time.Since(start)}, err
	}
	s.Took = time.Since(start)
	return s, nil
}

// surveyRequest is for who holds the lane.
func (n *redisNode) surveyRequest(also request, scan *Scan, deliver func(Survey, error)) request {
	// What Read left open is settled first; nearly always there is nothing.
	open := n.doubtful()
	var commands []byte
	info := func(x *exchange) (Survey, error) {
		for _, key := range open {
			if _, err := n.readType(x, key); err != nil {
				return Survey{}, err
			}
		}
		var s Survey
		text, err := x.text()
		if err != nil {
			return Survey{}, err
		}
		parseInfo(text, &s)
		s.OwnHits, s.OwnMisses = n.server.own(s.RunID, &s)
		return s, nil
	}
	for _, key := range open {
		commands = appendCommand(commands, "TYPE", key)
	}
	commands = append(appendCommand(commands, "INFO"), also.commands...)
	if scan != nil {
		args := []string{"SCAN", n.cursor, "COUNT", strconv.Itoa(scan.Count)}
		if scan.Match != "" {
			args = append(args, "MATCH", scan.Match)
		}
		commands = appendCommand(commands, args...)
	}
	return request{commands, func(x *exchange) error {
		s, err := info(x)
		var refused errReply
		if err != nil && !errors.As(err, &refused) {
			return err
		}
		if err := also.read(x); err != nil {
			return err
		}
		cursor := ""
		if scan != nil {
			cursor, s.Found, s.ScanErr, err = readScan(x)
			if err != nil {
				return err
			}
		}
		x.deliver(func() {
			if cursor != "" {
				n.cursor = cursor
			}
			if refused != "" {
				deliver(Survey{}, infoRefused(refused))
				return
			}
			deliver(s, nil)
		})
		if refused.word() == "NOAUTH" {
			return infoRefused(refused) // a new connection may have a password
		}
		return nil
	}}
}

// doubtful gives the keys whose lookups wait for their type, at most one batch.
func (n *redisNode) doubtful() []string {
	out := make([]string, 0, min(len(n.doubts), batch))
	for key := range n.doubts {
		if len(out) == batch {
			break
		}
		out = append(out, key)
	}
	return out
}

// readType reads TYPE's answer ("" if refused), counts it, and settles which lookups of the key had been hits.
func (n *redisNode) readType(x *exchange, key string) (string, error) {
	kind, err := x.text()
	var refused errReply
	if errors.As(err, &refused) {
		kind, err = "", nil
	}
	if err != nil {
		return "", err
	}
	moved := refused.word() == "MOVED" || refused.word() == "ASK"
	switch kind {
	case "":
	case "none":
		n.server.misses++
	default:
		n.server.hits++
	}
	times := n.doubts[key]
	delete(n.doubts, key)
	if kind == "none" || kind == "string" || moved { // a key that went to another node was no longer there
		n.server.misses += times
	} else {
		n.server.hits += times
	}
	return kind, nil
}

func infoRefused(said errReply) error {
	switch said.word() {
	case "NOAUTH":
		return errors.New("INFO was refused (NOAUTH); give the node a password or password_file")
	case "NOPERM":
		return errors.New("INFO was refused (NOPERM); grant its user +info +mget +pttl +type +hgetall +scan and the keys' patterns")
	}
	return fmt.Errorf("INFO was refused: %w", said)
}

// readScan reads SCAN's reply. refused is the server's, and the connection is in order.
func readScan(x *exchange) (cursor string, found []string, refused, err error) {
	kind, size, said, err := x.header()
	switch {
	case err != nil:
		return "", nil, nil, err
	case kind == '-':
		if e := errReply(said); e.word() == "NOPERM" {
			refused = errors.New("SCAN was refused (NOPERM); grant the node's user +scan")
		} else {
			refused = fmt.Errorf("SCAN was refused: %w", e)
		}
		return "0", nil, refused, nil
	case kind != '*' || size != 2:
		return "", nil, nil, errProtocol
	}
	if cursor, err = x.text(); err != nil {
		return "", nil, nil, err
	}
	if kind, size, _, err = x.header(); err != nil || kind != '*' {
		return "", nil, nil, errors.Join(errProtocol, err)
	}
	for range size {
		key, err := x.text()
		if err != nil {
			return "", nil, nil, err
		}
		found = append(found, key)
	}
	return cursor, found, nil, nil
}

// parseInfo reads INFO's text.
func parseInfo(text string, s *Survey) {
	var rep Replication
	var host, port string
	var primaryOffset, replicaOffset Count
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if !ok {
			continue
		}
		switch name {
		case "redis_version":
			if s.Version == "" {
				s.Version = value
			}
		case "valkey_version":
			s.Version = value
		case "run_id":
			s.RunID = value
		case "role":
			s.Role = map[string]string{"master": "primary", "slave": "replica"}[value]
		case "maxmemory_policy":
			s.EvictionPolicy = value
		case "keyspace_hits":
			s.Hits = count(value)
		case "keyspace_misses":
			s.Misses = count(value)
		case "evicted_keys":
			s.Evicted = count(value)
		case "expired_keys":
			s.Expired = count(value)
		case "used_memory":
			s.MemoryUsed = count(value)
		case "maxmemory":
			if s.MemoryLimit = count(value); s.MemoryLimit.Value == 0 {
				s.MemoryLimit = Count{} // no limit
			}
		case "uptime_in_seconds":
			s.UptimeSeconds = count(value)
		case "loading":
			s.Loading = value == "1"
		case "master_replid":
			rep.ReplID = value
		case "master_replid2":
			if strings.Trim(value, "0") != "" {
				rep.ReplID2 = value
			}
		case "master_host":
			host = value
		case "master_port":
			port = value
		case "master_link_status":
			rep.LinkUp = value == "up"
		case "master_repl_offset":
			primaryOffset = count(value)
		case "slave_repl_offset":
			replicaOffset = count(value)
		default:
			switch {
			case strings.HasPrefix(name, "slave") && strings.HasPrefix(value, "ip="):
				if r, ok := parseReplica(value); ok {
					rep.Replicas = append(rep.Replicas, r)
				}
			case strings.HasPrefix(name, "db") && strings.HasPrefix(value, "keys="):
				keys, _, _ := strings.Cut(strings.TrimPrefix(value, "keys="), ",")
				s.Items.Value += count(keys).Value
			}
		}
	}
	s.Items.Known = strings.Contains(text, "# Keyspace") // an empty server lists no database
	if s.Role == "" {
		return
	}
	if host != "" {
		rep.Primary = net.JoinHostPort(host, port)
	}
	rep.Offset = int64(primaryOffset.Value)
	if s.Role == "replica" && replicaOffset.Known {
		rep.Offset = int64(replicaOffset.Value)
	}
	s.Replication = &rep
}

func count(s string) Count {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return Count{}
	}
	return Count{Value: f, Known: true}
}

// parseReplica reads a line of INFO. What listens on no port only copies the stream, as a backup by redis-cli --rdb does:
// that is no node, and false.
func parseReplica(value string) (Replica, bool) {
	var r Replica
	var ip, port string
	for part := range strings.SplitSeq(value, ",") {
		name, v, _ := strings.Cut(part, "=")
		switch name {
		case "ip":
			ip = v
		case "port":
			port = v
		case "state":
			r.Online = v == "online"
		case "offset":
			r.Offset = int64(count(v).Value)
		}
	}
	r.Address = net.JoinHostPort(ip, port)
	return r, port != "" && port != "0"
}

// RedisServer runs commands of queues on a node of the fleet.
type RedisServer interface {
	// Do runs use with a client; the hits and misses that its commands moved on the server are counted as our own.
	// When ctx ends first, Do returns an error while use goes on, so that what the server owes is still counted: use
	// must not write what Do's caller reads after an error.
	Do(ctx context.Context, use func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error)) error
}

// Do implements RedisServer.
func (n *redisNode) Do(ctx context.Context, use func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error)) error {
	turn, err := n.server.enter(ctx, n.link.answers)
	if err != nil {
		return err
	}
	client, err := n.goRedis()
	if err != nil {
		n.server.leave(turn)
		return err
	}
	longest := owedLongest
	if d, ok := ctx.Deadline(); ok {
		longest += time.Until(d)
	}
	owed, cancel := context.WithTimeout(context.WithoutCancel(ctx), longest)
	done := make(chan error, 1)
	go func() {
		defer cancel()
		hits, misses, err := use(owed, client)
		n.server.hits += hits
		n.server.misses += misses
		n.server.leave(turn)
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		n.server.abandon(turn, func() { n.dropClient(client) }, func() int64 { return 0 })
		return noAnswer(ctx)
	}
}

func (n *redisNode) dropClient(c *redis.Client) {
	n.mu.Lock()
	if n.client == c {
		n.client = nil
	}
	n.mu.Unlock()
	_ = c.Close() // nothing is left to be told
}

func (n *redisNode) goRedis() (*redis.Client, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, errClosed
	}
	if n.client == nil {
		n.client = redis.NewClient(&redis.Options{
			Addr: n.url.Addr, DB: n.url.DB, Protocol: 2, DisableIdentity: true,
			MaxRetries: -1, DialerRetries: 1, PoolSize: 2, ReadTimeout: -1, WriteTimeout: -1, ContextTimeoutEnabled: true,
			Dialer:                     func(ctx context.Context, _, _ string) (net.Conn, error) { return n.link.dial(ctx) },
			CredentialsProviderContext: func(context.Context) (string, string, error) { return n.credentials() },
		})
	}
	return n.client, nil
}
