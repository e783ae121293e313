package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// The library writes each failed connection to stderr by itself; here errors go to the callers alone.
func init() { logging.Disable() }

// node is one Redis or Valkey server. Keys are read over link, so that values are handed on while they arrive; the commands
// of queues go through client.
type node struct {
	id      probes.Identity
	config  nodeConfig
	url     *redis.Options
	env     *probes.Env
	link    *wire.Link
	account *wire.Account
	// cluster: the server is a node of a Cluster, whose keys are read slot by slot; views are what its nodes tell of it.
	cluster bool
	views   *clusterViews

	// cursor of SCAN. It and unsettled belong to who holds the account's lock.
	cursor string
	// unsettled is by key how many nils of MGET are not counted yet: the server counted a hit where the key is of another
	// type, and a miss where it went in between. The next survey asks for its type.
	unsettled map[string]uint64

	// Since the last Survey began: asked for keys; answered, a key was read or SCAN made a step; pinged, PING was answered.
	asked, answered, pinged atomic.Bool
	// knowsExpiry: by its version the server knows PEXPIRETIME; refusesExpiry: it refused it over the present connection.
	knowsExpiry, refusesExpiry atomic.Bool
	// secrets that were given to the server, which no error may repeat.
	secrets probes.Secrets
	// replies is what the replies to the library's present commands may bring.
	replies atomic.Pointer[allowance]

	mu     sync.Mutex // guards what follows
	client *redis.Client
	closed bool
}

func newNode(id probes.Identity, c nodeConfig, env *probes.Env) (*node, error) {
	address := c.Address
	if !strings.Contains(address, "://") {
		address = "redis://" + address
	}
	u, err := redis.ParseURL(address)
	if err != nil {
		return nil, errors.New("the address is no redis:// or rediss:// URL") // its text may hold a password
	}
	id.Address = u.Addr
	n := &node{id: id, config: c, url: u, env: env, account: wire.AccountOf(env.Kept, "redis", u.Addr), cursor: "0", unsettled: map[string]uint64{}}
	n.link = &wire.Link{
		Address: u.Addr, TLS: n.tls(), Foreign: errProtocol, Greet: n.greet, Account: n.account,
		Ping: wire.Request{Commands: appendCommand(nil, "PING"), Read: ignore}, Words: n.lastWords, Secrets: &n.secrets,
	}
	n.replies.Store(newAllowance(commandBytes, commandElements))
	return n, nil
}

func (n *node) Identity() probes.Identity { return n.id }

// Close ends the connections, and waits for what goes on over them.
func (n *node) Close() {
	n.mu.Lock()
	n.closed = true
	client := n.client
	n.client = nil
	n.mu.Unlock()
	if client != nil {
		_ = client.Close() // there is nobody left to tell
	}
	n.link.Close()
}

// credentials of a new connection: the configuration's before the address's.
func (n *node) credentials() (user, password string, err error) {
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
	n.secrets.Add(user, password)
	return user, password, nil
}

// lastWords of a server that closes a new connection.
func (n *node) lastWords(line string) (said string, opening bool) {
	if e, ok := strings.CutPrefix(line, "-"); ok {
		return n.secrets.Tell(e), true
	}
	return "", strings.HasPrefix(line, "+")
}

// openingRefused is the error of a login or SELECT that the server refused. What the first word does not say, the rest may, such as
// that there are too many clients.
func (n *node) openingRefused(what string, e errReply) error {
	switch text := e.word(); text {
	case "WRONGPASS":
		return probes.Refusal(fmt.Errorf("%s was refused (%s); check username and password_file", what, text))
	case "NOAUTH":
		return probes.Refusal(fmt.Errorf("%s was refused (%s); give it a password or password_file", what, text))
	case "NOPERM":
		return probes.Refusal(fmt.Errorf("%s was refused (%s); grant the user +%s", what, text, strings.ToLower(what)))
	}
	return probes.Refusal(fmt.Errorf("%s was refused (%s)", what, string(e)))
}

// tls gives the settings of the block tls or, without one, those of a rediss:// address; nil for plain connections.
func (n *node) tls() *form.TLS {
	if n.config.TLS == nil && n.url.TLSConfig != nil {
		return &form.TLS{ServerName: n.url.TLSConfig.ServerName, InsecureSkipVerify: n.url.TLSConfig.InsecureSkipVerify}
	}
	return n.config.TLS
}

// greet gives the commands that a new connection begins with.
func (n *node) greet(context.Context, *wire.Conn) ([]wire.Request, error) {
	user, password, err := n.credentials()
	if err != nil {
		return nil, err
	}
	n.refusesExpiry.Store(false)
	must := func(what string) func(*wire.Exchange) error {
		return func(x *wire.Exchange) error {
			_, err := readText(x)
			var said errReply
			if errors.As(err, &said) {
				return n.openingRefused(what, said)
			}
			return err
		}
	}
	var out []wire.Request
	if password != "" {
		args := []string{"AUTH", password}
		if user != "" {
			args = []string{"AUTH", user, password}
		}
		out = append(out, wire.Request{Commands: appendCommand(nil, args...), Read: must("AUTH")})
	}
	if n.url.DB != 0 {
		out = append(out, wire.Request{Commands: appendCommand(nil, "SELECT", strconv.Itoa(n.url.DB)), Read: must("SELECT")})
	}
	if n.cluster { // a replica sends readers to its primary without it
		out = append(out, wire.Request{Commands: appendCommand(nil, "READONLY"), Read: ignore})
	}
	return append(out,
		wire.Request{Commands: appendCommand(nil, "CLIENT", "SETNAME", "cacheinv_exporter"), Read: ignore},
		wire.Request{Commands: appendCommand(nil, "CLIENT", "NO-TOUCH", "ON"), Read: ignore}), nil // Redis 7.2; older ones refuse
}

// Survey asks for INFO and, where asked, one step of SCAN, in one round trip.
func (n *node) Survey(ctx context.Context, scan *probes.Scan) (probes.Survey, error) {
	return n.surveyWith(ctx, wire.Request{Read: func(*wire.Exchange) error { return nil }}, scan)
}

// surveyWith asks for something else in the same round trip, behind INFO.
func (n *node) surveyWith(ctx context.Context, also wire.Request, scan *probes.Scan) (probes.Survey, error) {
	start := time.Now()
	n.asked.Store(false)
	n.answered.Store(false)
	n.pinged.Store(false)
	var s probes.Survey
	var refused error
	err := n.link.Do(ctx, func() []wire.Request {
		return []wire.Request{n.surveyRequest(also, scan, func(got probes.Survey, err error) { s, refused = got, err })}
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return probes.Survey{Took: time.Since(start), Unasked: s.Unasked, Refused: s.Refused}, err
	}
	s.Took = time.Since(start)
	return s, nil
}

// surveyRequest is for who holds the account's lock. deliver is called with what the server answered, or why it refused.
func (n *node) surveyRequest(also wire.Request, scan *probes.Scan, deliver func(probes.Survey, error)) wire.Request {
	// What Read left unsettled comes first; nearly always there is nothing.
	open := n.unsettledKeys()
	var commands []byte
	for _, key := range open {
		commands = appendCommand(commands, "TYPE", key)
	}
	commands = append(appendCommand(commands, "INFO"), also.Commands...)
	if scan != nil {
		args := []string{"SCAN", n.cursor, "COUNT", strconv.Itoa(scan.Count)}
		if scan.Match != "" {
			args = append(args, "MATCH", scan.Match)
		}
		commands = appendCommand(commands, args...)
	}
	return wire.Request{Commands: commands, Read: func(x *wire.Exchange) error {
		s, err := n.readInfo(x, open)
		var refused errReply
		if err != nil && !errors.As(err, &refused) {
			return err
		}
		if err := also.Read(x); err != nil {
			return err
		}
		cursor := ""
		if scan != nil {
			cursor, s.ScanErr, err = readScan(x, scan)
			if err != nil {
				return err
			}
		}
		x.Deliver(func() {
			if cursor != "" {
				n.cursor = cursor
			}
			if refused != "" {
				s.Refused = infoRefused(refused)
				s.Unasked = refused.word() != "NOAUTH"
				n.answered.Store(n.answered.Load() || scan != nil && s.ScanErr == nil)
			}
			deliver(s, lasting(refused, s.Refused))
		})
		switch refused.word() {
		case "":
		case "NOAUTH":
			return infoRefused(refused) // a new connection may have a password
		default:
			x.More = &wire.Request{Commands: appendCommand(nil, "PING"), Read: n.readPing}
		}
		return nil
	}}
}

// lasting gives why INFO was refused, unless that is how it stays: by a proxy, or to a user of few rights.
func lasting(refused errReply, err error) error {
	if slices.Contains([]string{"NOAUTH", "BUSY", "LOADING", "MASTERDOWN", "DENIED"}, refused.word()) {
		return err
	}
	return nil
}

// readPing reads PING's answer.
func (n *node) readPing(x *wire.Exchange) error {
	_, err := readTextUpTo(x, longestWord)
	var refused errReply
	if errors.As(err, &refused) {
		return nil
	}
	if err == nil {
		n.pinged.Store(true)
	}
	return err
}

// Answered implements probes.Answerer: a server that refuses INFO is up when its keys can be read; without keys, when it answers
// PING.
func (n *node) Answered() bool { return n.answered.Load() || n.pinged.Load() && !n.asked.Load() }

// readInfo reads the types of unsettled keys, then INFO, beside which our own reads are counted.
func (n *node) readInfo(x *wire.Exchange, unsettled []string) (probes.Survey, error) {
	for _, key := range unsettled {
		if _, err := n.readType(x, key); err != nil {
			return probes.Survey{}, err
		}
	}
	text, err := readInfoText(x)
	if err != nil {
		return probes.Survey{}, err
	}
	var s probes.Survey
	parseInfo(text, &s)
	n.knowsExpiry.Store(hasExpiry(s.Version))
	s.Version, s.EvictionPolicy = n.secrets.Hide(s.Version), n.secrets.Hide(s.EvictionPolicy) // they are labels
	s.Peer = x.Peer()
	s.OwnHits, s.OwnMisses = n.account.Own(s.RunID, &s)
	return s, nil
}

// hasExpiry: a server of this version knows PEXPIRETIME, which came with Redis 7.0. Valkey's versions began later.
func hasExpiry(version string) bool {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	return err == nil && n >= 7
}

// tellsExpiry: the server is asked for PEXPIRETIME.
func (n *node) tellsExpiry() bool { return n.knowsExpiry.Load() && !n.refusesExpiry.Load() }

// unsettledKeys gives the keys whose lookups wait for their type, at most one batch.
func (n *node) unsettledKeys() []string {
	out := make([]string, 0, min(len(n.unsettled), probes.BatchKeys))
	for key := range n.unsettled {
		if len(out) == probes.BatchKeys {
			break
		}
		out = append(out, key)
	}
	return out
}

// readType reads TYPE's answer ("" if refused), counts it, and settles which lookups of the key had been hits.
func (n *node) readType(x *wire.Exchange, key string) (string, error) {
	kind, err := readTextUpTo(x, longestWord)
	var refused errReply
	if errors.As(err, &refused) {
		kind, err = "", nil
	}
	if err != nil {
		return "", err
	}
	kind = strings.Clone(kind[:min(len(kind), longestWord)]) // a status is as long as its line
	moved := refused.word() == "MOVED" || refused.word() == "ASK"
	switch kind {
	case "":
	case "none":
		n.account.Misses++
	default:
		n.account.Hits++
	}
	times := n.unsettled[key]
	delete(n.unsettled, key)
	if kind == "none" || kind == "string" || moved { // a key that went to another node was no longer there
		n.account.Misses += times
	} else {
		n.account.Hits += times
	}
	return kind, nil
}
