package memcached

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// closesKept is how long a server that closed the connection over a command is not sent that command again.
const closesKept = 10 * time.Minute

var (
	errNotMemcached = probes.OtherServer(errors.New(
		"the server's answer is not memcached's text protocol; is its address that of a memcached, and does its port need tls, or none?"))
	errLogin = probes.Refusal(errors.New(
		"the server asks for a user name and a password (CLIENT_ERROR unauthenticated); give the node username and password_file"))
	// errOtherAnswer is of one command alone. Where replies do not belong to their commands any more the next ones show it.
	errOtherAnswer = probes.Refusal(errors.New("the server's answer is not one to the command; is it a memcached?"))
	errNoHostPort  = errors.New("the address is not host:port")
)

// node is one memcached, or a proxy that speaks like one. Keys are read with meta commands, whose answers have the TTL and
// which leave no trace in the LRU.
//
// Where the server answers mn with an error, get is used for as long as the connection lasts. Where it closes the
// connection over mn or stats instead, as twemproxy does, these are left out for closesKept; a server without stats cannot be
// surveyed, and counts as up when it answers reads.
type node struct {
	id      probes.Identity
	config  nodeConfig
	env     *probes.Env
	link    *wire.Link
	account *wire.Account
	kept    *keptServer
	keys    *keyList

	// withGet: keys are read with get over the present connection. It belongs to who holds the account's lock.
	withGet bool
	// closes says over which commands the server closes the connection, and since when that is known. It belongs to the
	// goroutine that surveys and reads.
	closes struct {
		meta, stats bool
		// binary: it speaks the binary protocol alone.
		binary bool
		since  time.Time
	}
	answered atomic.Bool // a read since the last Survey
	// oneServer: by its last Survey there is one server behind the address, so that its CAS ids can be compared with each other. It
	// belongs to the goroutine that surveys and reads.
	oneServer bool
	// ownStats: the last Survey's stats were a memcached's own, which can be asked for its settings, too; a proxy may close
	// the connection over that. It belongs to who holds asking.
	ownStats bool

	// asking is held by a survey and by the methods of probes.Writable and probes.Editable, which come from several goroutines.
	asking sync.Mutex
	// secrets that were given to the server, which no error may repeat.
	secrets probes.Secrets
	// library is what changes the server's keys at a command's behest.
	library libraryClient
}

func newNode(id probes.Identity, c nodeConfig, env *probes.Env) (*node, error) {
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return nil, errNoHostPort
	}
	n := &node{id: id, config: c, env: env, account: wire.AccountOf(env.Kept, "memcached", c.Address)}
	n.kept = probes.KeptOf(env.Kept, "memcached server", c.Address, func() *keptServer { return &keptServer{} })
	n.link = &wire.Link{
		Address: c.Address, TLS: c.TLS, Foreign: errNotMemcached, Greet: n.greet, Outdated: n.outdated, Account: n.account,
		Ping: wire.Request{Commands: []byte("version\r\n"), Read: func(x *wire.Exchange) error {
			if _, err := x.ReadLine(); err != nil && !wire.Dropped(err) {
				return err
			}
			return nil // a server that closes is alive, too
		}},
		Words: n.lastWords, Secrets: &n.secrets,
	}
	n.keys = newKeyList(n.listKeys, &n.kept.listing)
	return n, nil
}

func (n *node) Identity() probes.Identity { return n.id }

// Answered implements probes.Answerer: a server without stats is up when it answers reads.
func (n *node) Answered() bool { return n.answered.Load() }

// Close ends the connections, and waits for what goes on over them.
func (n *node) Close() {
	n.keys.close()
	n.library.close()
	n.link.Close()
}

// outdated reports whether the server is to be tried with the commands again that it closed the connection over.
func (n *node) outdated() bool {
	return (n.closes.meta || n.closes.stats) && time.Since(n.closes.since) > closesKept
}

// greet logs in on a new connection, and finds out which commands the server knows and whether it began anew.
func (n *node) greet(ctx context.Context, c *wire.Conn) ([]wire.Request, error) {
	if n.outdated() {
		n.forgetCloses()
	}
	var reply statsReply
	err := n.introduceOrTell(ctx, c, &reply)
	switch {
	case err == nil || ctx.Err() != nil || !wire.Dropped(err):
		return nil, err
	case reply.complete && !n.closes.meta:
		n.closes.meta = true
	case !reply.complete && !n.closes.stats:
		n.closes.meta, n.closes.stats = true, true
	default:
		return nil, err
	}
	n.closes.since = time.Now()
	return nil, wire.ErrAgain
}

// introduce sends what a new connection begins with; reply gets the statistics, where they are asked.
func (n *node) introduce(ctx context.Context, c *wire.Conn, reply *statsReply) error {
	var requests []wire.Request
	if !n.closes.stats {
		if err := n.login(ctx, c); err != nil {
			return err
		}
		requests = append(requests, n.statsRequest(reply))
	}
	n.withGet = n.closes.meta
	if !n.withGet {
		requests = append(requests, wire.Request{Commands: []byte("mn\r\n"), Read: n.readNoop})
	}
	return c.Converse(ctx, requests...)
}

// forgetCloses has the next new connection try all commands again.
func (n *node) forgetCloses() { n.closes.meta, n.closes.stats, n.closes.binary = false, false, false }

// readNoop reads mn's answer: where meta commands are known, MN, or EN as early versions had it.
func (n *node) readNoop(x *wire.Exchange) error {
	line, err := x.ReadLine()
	if err != nil {
		return err
	}
	switch verb(line) {
	case "MN", "EN":
	case "ERROR", "CLIENT_ERROR":
		n.withGet = true
	case "SERVER_ERROR":
		return saidError(x, line)
	default:
		return x.Foreign
	}
	return nil
}

// login gives user name and password, if any, to a server that asks for them. To one that doesn't they would be a
// value to store, so it is asked first.
func (n *node) login(ctx context.Context, c *wire.Conn) error {
	user, password, err := n.config.Credentials.Resolve()
	if err != nil || user == "" && password == "" {
		return err
	}
	if user == "" || password == "" || strings.ContainsAny(user+password, " \r\n\x00") {
		return errors.New("memcached needs both a username and a password, without white space; give the node username and password_file")
	}
	n.secrets.Add(user, password)
	asks := false
	err = c.Converse(ctx, wire.Request{Commands: []byte("version\r\n"), Read: func(x *wire.Exchange) error {
		line, err := x.ReadLine()
		asks = string(line) == "CLIENT_ERROR unauthenticated"
		if word := verb(line); err == nil && (word == "ERROR" || word == "SERVER_ERROR") && len(line) > len(word) { // such as ERROR Too many open connections
			return saidError(x, line)
		}
		return err
	}})
	if err != nil || !asks {
		return err
	}
	secret := user + " " + password
	return c.Converse(ctx, wire.Request{Commands: fmt.Appendf(nil, "set login 0 0 %d\r\n%s\r\n", len(secret), secret), Read: func(x *wire.Exchange) error {
		line, err := x.ReadLine()
		if err == nil && string(line) != "STORED" { // not the server's words: a proxy may repeat the secret
			err = probes.Refusal(fmt.Errorf("username and password were refused (%s); check the node's username and password_file", verb(line)))
		}
		return err
	}})
}

// verb is a line's first word.
func verb(line []byte) string {
	word, _, _ := bytes.Cut(line, []byte{' '})
	return string(word)
}

// saidError is the error of a server that says that it can't do what it was asked.
func saidError(x *wire.Exchange, line []byte) error {
	if !isError(line) { // it may be a value
		return errOtherAnswer
	}
	return probes.Refusal(fmt.Errorf("the server said: %s", x.Secrets.Tell(string(line))))
}

// lastWords of a server that closes a new connection. A word alone, as a proxy says of a command that it does not know, is no reason.
func (n *node) lastWords(line string) (said string, opening bool) {
	word, more, _ := strings.Cut(line, " ")
	if !isError([]byte(line)) {
		return "", word == "VERSION" || line == "STORED"
	}
	if more == "" || line == "CLIENT_ERROR unauthenticated" {
		return "", true
	}
	return n.secrets.Tell(line), true
}

// Survey asks for stats, and has the server's keys listed where that is asked and due.
func (n *node) Survey(ctx context.Context, scan *probes.Scan) (probes.Survey, error) {
	n.asking.Lock()
	defer n.asking.Unlock()
	start := time.Now()
	if !n.answered.Swap(false) && n.closes.stats {
		n.forgetCloses() // it was no such server: it has not answered reads either
	}
	var s probes.Survey
	settings, proxy := n.ownStats, false
	err := n.link.Do(ctx, func() []wire.Request {
		if n.closes.stats {
			s.Unasked = true
			return nil
		}
		var reply statsReply
		request, commands := n.statsRequest(&reply), "stats\r\n"
		if settings {
			commands += "stats settings\r\n"
		}
		return []wire.Request{{Commands: []byte(commands), Read: func(x *wire.Exchange) error {
			err := request.Read(x)
			if err == nil && settings {
				reply.EvictionPolicy, err = readPolicy(x)
			}
			x.Deliver(func() { s, proxy = reply.Survey, reply.proxy })
			return err
		}}}
	})
	if err != nil {
		n.oneServer = false
		return probes.Survey{Took: time.Since(start)}, err
	}
	n.ownStats = s.Version != "" && s.MemoryLimit.Known && s.UptimeSeconds.Known
	n.oneServer = n.ownStats && !proxy
	if scan != nil {
		s.ScanErr = n.keys.list(ctx, scan)
	}
	s.Took = time.Since(start)
	return s, nil
}
