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

// mannerKept is how long a server that closed the connection over a command is not given that command again.
const mannerKept = 10 * time.Minute

var (
	errNotMemcached = errors.New("the server's answer is not memcached's text protocol")
	errLogin        = errors.New(
		"the server asks for a user name and a password (CLIENT_ERROR unauthenticated); give the node username and password_file")
)

var errNoHostPort = errors.New("the address is not host:port")

// node is one memcached, or a proxy that speaks like one. Keys are read with meta commands, which tell the TTL
// and leave no trace in the LRU.
//
// Where the server answers mn with an error, get is used for as long as the connection lasts. Where it closes the
// connection over mn or stats instead, as twemproxy does, these are left out for mannerKept; a server without stats has
// nothing to be surveyed by, and counts as up when it answers reads.
type node struct {
	id      probes.Identity
	config  nodeConfig
	env     *probes.Env
	link    *wire.Link
	account *wire.Account
	kept    *keptServer
	keys    *keyList

	// plain: the present connection is read with get. It belongs to who holds the server's account.
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
	}
	n.keys = newKeyList(n.listKeys, &n.kept.listing)
	return n, nil
}

func (n *node) Identity() probes.Identity { return n.id }

// Answered implements Answerer, for servers without stats.
func (n *node) Answered() bool { return n.answered.Load() }

// Close ends the connections, and waits for what goes on over them.
func (n *node) Close() {
	n.keys.close()
	n.link.Close()
}

// outdated: the server may have learned the commands that it closed the connection over.
func (n *node) outdated() bool {
	return (n.manner.plain || n.manner.mute) && time.Since(n.manner.since) > mannerKept
}

// greet finds out on a new connection how the server wants to be spoken to, and whether it began anew.
func (n *node) greet(ctx context.Context, w *wire.Conn) ([]wire.Request, error) {
	if n.outdated() {
		n.forgetManner()
	}
	var told stats
	err := n.introduce(ctx, w, &told)
	switch {
	case err == nil || ctx.Err() != nil || !wire.Dropped(err):
		return nil, err
	case told.complete && !n.manner.plain:
		n.manner.plain = true
	case !told.complete && !n.manner.mute:
		n.manner.plain, n.manner.mute = true, true
	default:
		return nil, err
	}
	n.manner.since = time.Now()
	return nil, wire.ErrAgain
}

func (n *node) introduce(ctx context.Context, w *wire.Conn, told *stats) error {
	var requests []wire.Request
	if !n.manner.mute {
		if err := n.login(ctx, w); err != nil {
			return err
		}
		requests = append(requests, n.statsRequest(told))
	}
	n.plain = n.manner.plain
	if !n.plain {
		requests = append(requests, wire.Request{Commands: []byte("mn\r\n"), Read: n.readNoop})
	}
	return w.Converse(ctx, requests...)
}

func (n *node) forgetManner() { n.manner.plain, n.manner.mute = false, false }

// readNoop reads mn's answer: where meta commands are known, MN, or EN as early versions had it.
func (n *node) readNoop(x *wire.Exchange) error {
	line, err := x.ReadLine()
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
		return x.Foreign
	}
	return nil
}

// login gives user name and password, if any, to a server that asks for them. To one that doesn't they would be a
// value to store, so it is asked first.
func (n *node) login(ctx context.Context, w *wire.Conn) error {
	user, password, err := n.config.Credentials.Resolve()
	if err != nil || user == "" && password == "" {
		return err
	}
	if user == "" || password == "" || strings.ContainsAny(user+password, " \r\n\x00") {
		return errors.New("memcached needs both a username and a password, without white space; give the node username and password_file")
	}
	asks := false
	err = w.Converse(ctx, wire.Request{Commands: []byte("version\r\n"), Read: func(x *wire.Exchange) error {
		line, err := x.ReadLine()
		asks = string(line) == "CLIENT_ERROR unauthenticated"
		return err
	}})
	if err != nil || !asks {
		return err
	}
	secret := user + " " + password
	return w.Converse(ctx, wire.Request{Commands: fmt.Appendf(nil, "set login 0 0 %d\r\n%s\r\n", len(secret), secret), Read: func(x *wire.Exchange) error {
		line, err := x.ReadLine()
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
func (n *node) Survey(ctx context.Context, scan *probes.Scan) (probes.Survey, error) {
	n.one.Lock()
	defer n.one.Unlock()
	start := time.Now()
	if !n.answered.Swap(false) && n.manner.mute {
		n.forgetManner() // it was no such server: it has not answered reads either
	}
	var s probes.Survey
	asks := n.genuine
	err := n.link.Do(ctx, func() []wire.Request {
		if n.manner.mute {
			s.Unasked = true
			return nil
		}
		var told stats
		stats, commands := n.statsRequest(&told), "stats\r\n"
		if asks {
			commands += "stats settings\r\n"
		}
		return []wire.Request{{Commands: []byte(commands), Read: func(x *wire.Exchange) error {
			err := stats.Read(x)
			if err == nil && asks {
				told.EvictionPolicy, err = readPolicy(x)
			}
			x.Deliver(func() { s = told.Survey })
			return err
		}}}
	})
	if err != nil {
		return probes.Survey{Took: time.Since(start)}, err
	}
	n.genuine = s.Version != "" && s.MemoryLimit.Known && s.UptimeSeconds.Known
	if scan != nil {
		s.Found, s.ScanErr = n.keys.take(ctx, scan.Match)
	}
	s.Took = time.Since(start)
	return s, nil
}
