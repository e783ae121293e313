package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/glob"
	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

const (
	// keptMessages and keptBytes of a channel's messages are kept from one sampling to the next; of more the newest are.
	keptMessages, keptBytes = 10_000, 1 << 20
	// keptOverhead of a message is what it needs besides its bytes.
	keptOverhead = 64
	// subscribeLongest is how long a server may take to accept a subscription.
	subscribeLongest = 10 * time.Second
	// leastBackoff and mostBackoff are the waits between two attempts to subscribe.
	leastBackoff, mostBackoff = 100 * time.Millisecond, 10 * time.Second
)

var (
	errUnsubscribed  = errors.New("the server ended our subscription, as it does when the channel's slot has moved")
	errNotYetStands  = errors.New("our subscription was not accepted yet")
	errNothingPassed = errors.New("the server answers others, and nothing comes over our subscription any more")
)

// heard is one message of a channel.
type heard struct {
	at    time.Time
	count uint64 // of those that had arrived with it
	text  []byte
}

// hearing is what came over a subscription since it was taken last.
type hearing struct {
	messages []heard
	bytes    int
	// seen messages, also those that were not kept.
	seen int
	// broken: the subscription did not stand all the time, so that messages may have been missed.
	broken bool
}

// line is a connection over which a subscription stands.
type line struct {
	conn net.Conn
	// counted: PUBSUB NUMSUB counts our subscription.
	counted bool
	// pongs are answers to PING; ended is closed with the connection.
	pongs chan string
	ended chan struct{}
}

// subscription keeps us subscribed to a channel on one server, over a connection of its own, and keeps what arrives until it is
// taken. Where the connection breaks it is opened anew.
type subscription struct {
	channel string
	sharded bool
	// longest message that is kept, in bytes.
	longest int64

	moving sync.Mutex // guards what follows, up to mu
	// at is the server, and stop ends the subscription there. closed: for good.
	at     *node
	stop   func()
	closed bool

	mu sync.Mutex // guards what follows
	// line over which it stands; nil: it does not, and err says why.
	line *line
	err  error
	// changed is closed when line or err change.
	changed chan struct{}
	// began: it stood before.
	began bool
	// count of the messages that ever arrived.
	count uint64
	got   hearing
	pings int
}

func newSubscription(channel string, sharded bool, longest int64) *subscription {
	return &subscription{channel: channel, sharded: sharded, longest: min(longest, keptBytes), err: errNotYetStands, changed: make(chan struct{})}
}

// server on which it is to stand; nil: none was chosen yet.
func (s *subscription) server() *node {
	s.moving.Lock()
	defer s.moving.Unlock()
	return s.at
}

// moveTo has it stand on a server, and on no other.
func (s *subscription) moveTo(n *node) {
	s.moving.Lock()
	defer s.moving.Unlock()
	if s.at == n || s.closed {
		return
	}
	s.leave()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s.at, s.stop = n, func() {
		cancel()
		<-done
	}
	go func() {
		defer close(done)
		s.run(ctx, n)
	}()
}

// leave the server.
func (s *subscription) leave() {
	if s.stop != nil {
		s.stop()
		s.at, s.stop = nil, nil
		s.fell(errNotYetStands)
	}
}

// close ends it for good.
func (s *subscription) close() {
	s.moving.Lock()
	defer s.moving.Unlock()
	s.leave()
	s.closed = true
	s.fell(probes.ErrClosed)
}

// run subscribes again and again, until ctx ends.
func (s *subscription) run(ctx context.Context, n *node) {
	for wait := leastBackoff; ; wait = min(2*wait, mostBackoff) {
		err := probes.Guarded(func() error { return s.listen(ctx, n) })
		if s.fell(err) {
			wait = leastBackoff
		}
		if !pause.For(ctx, wait) {
			return
		}
	}
}

// fell notes that the subscription does not stand, and why. It reports whether it stood until now.
func (s *subscription) fell(err error) (stood bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stood = s.line != nil; stood {
		close(s.line.ended)
		s.line = nil
	}
	s.err = err
	s.got.broken = s.got.broken || s.began
	close(s.changed)
	s.changed = make(chan struct{})
	return stood
}

// stands notes that messages come over l.
func (s *subscription) stands(l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line, s.err, s.began = l, nil, true
	close(s.changed)
	s.changed = make(chan struct{})
}

// listen subscribes on a server, and reads until the connection ends.
func (s *subscription) listen(ctx context.Context, n *node) error {
	opening, cancel := context.WithTimeout(ctx, subscribeLongest)
	defer cancel()
	conn, err := n.link.Dial(opening)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // what is read over it ends then
	c := n.link.Conn(conn)
	defer c.Close()
	greeting, err := n.greet(opening, c)
	if err != nil {
		return err
	}
	if err := c.Converse(opening, greeting...); err != nil {
		return err
	}
	l := &line{conn: conn, counted: true, pongs: make(chan string, 1), ended: make(chan struct{})}
	if err := s.subscribe(opening, c, l); err != nil {
		return err
	}
	x := wire.NewExchange(c)
	s.stands(l)
	for {
		if err := s.next(x, l); err != nil {
			return err
		}
	}
}

// subscribe over a new connection. A subscription by pattern is in no count of subscribers, so that other exporters don't take it
// for an application's, either; its pattern is the channel's name. Where the ACL lets the user subscribe to channels by a pattern
// alone, that is refused; and sharded channels have no patterns.
func (s *subscription) subscribe(ctx context.Context, c *wire.Conn, l *line) error {
	attempts := []string{"PSUBSCRIBE", "SUBSCRIBE"}
	if s.sharded {
		attempts = []string{"SSUBSCRIBE"}
	}
	for i, command := range attempts {
		name := s.channel
		if l.counted = command != "PSUBSCRIBE"; !l.counted {
			name = glob.Quote(name)
		}
		var refused errReply
		err := c.Converse(ctx, wire.Request{Commands: appendCommand(nil, command, name), Read: func(x *wire.Exchange) error {
			_, err := readReply(x)
			if errors.As(err, &refused) {
				return nil
			}
			return err
		}})
		switch {
		case err != nil:
			return err
		case refused == "":
			return nil
		case refused.word() != "NOPERM" || i == len(attempts)-1:
			return channelRefused(command, s.channel, refused)
		}
	}
	return nil
}

// channelRefused says what to do about a command that failed.
func channelRefused(command, channel string, err error) error {
	var said errReply
	if errors.As(err, &said) && said.word() == "NOPERM" {
		return probes.Refusal(fmt.Errorf("%s was refused (NOPERM); grant the node's user +%s and &%s",
			command, strings.ToLower(strings.ReplaceAll(command, " ", "|")), channel))
	}
	return queueRefused(command, channel, "channel", err)
}

// next reads one thing that came over the connection: a message, an answer to PING, or what does not matter.
func (s *subscription) next(x *wire.Exchange, l *line) error {
	kind, n, text, err := readHeader(x)
	switch {
	case err != nil:
		return err
	case kind == '+':
		l.answered(string(text))
		return nil
	case kind != '*' || n < 2 || n > 4:
		return skip(x, kind, n)
	}
	what, err := readShort(x)
	if err != nil {
		return err
	}
	for n--; n > 1; n-- { // the pattern and the channel
		if err := ignore(x); err != nil {
			return err
		}
	}
	switch what {
	case "message", "pmessage", "smessage":
		return s.message(x)
	case "pong":
		word, err := readShort(x)
		l.answered(word)
		return err
	case "unsubscribe", "punsubscribe", "sunsubscribe":
		return errUnsubscribed
	}
	return ignore(x)
}

// readShort reads a short text; empty where it is none.
func readShort(x *wire.Exchange) (string, error) {
	word, err := readTextUpTo(x, longestWord)
	var said errReply
	if errors.As(err, &said) {
		return "", nil
	}
	return word, err
}

// message reads the text of one, and keeps it if there is room.
func (s *subscription) message(x *wire.Exchange) error {
	kind, n, _, err := readHeader(x)
	if err != nil {
		return err
	}
	if kind != '$' || n < 0 || n > s.longest {
		err = skip(x, kind, n)
		s.keep(nil)
		return err
	}
	text, err := x.ReadBulk(make([]byte, 0, min(n, 4<<10)), n)
	if err != nil {
		return err
	}
	s.keep(text)
	return nil
}

// keep a message; nil: it can't be, and only counts. The oldest make room for it.
func (s *subscription) keep(text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	s.got.seen++
	if text == nil {
		return
	}
	s.got.messages = append(s.got.messages, heard{at: time.Now(), count: s.count, text: text})
	for s.got.bytes += cap(text) + keptOverhead; s.got.bytes > keptBytes || len(s.got.messages) > keptMessages; {
		s.got.bytes -= cap(s.got.messages[0].text) + keptOverhead
		s.got.messages[0] = heard{}
		s.got.messages = s.got.messages[1:]
	}
}

// answered hands the answer to a PING on; one that nobody waits for any more makes room for it.
func (l *line) answered(word string) {
	select {
	case <-l.pongs:
	default:
	}
	l.pongs <- word
}

// wait until the subscription stands; its error says why it does not.
func (s *subscription) wait(ctx context.Context) error {
	for {
		s.mu.Lock()
		stands, err, changed := s.line != nil, s.err, s.changed
		s.mu.Unlock()
		switch {
		case stands:
			return nil
		case !errors.Is(err, errNotYetStands):
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return probes.NoAnswer(ctx)
		}
	}
}

// confirm that the subscription still stands: what the server passed on before is here then. It gives whether PUBSUB NUMSUB counted it. A
// server that has answered others meanwhile, and not this, has forgotten the connection, or nothing comes over it any more.
func (s *subscription) confirm(ctx context.Context) (counted bool, err error) {
	s.mu.Lock()
	l := s.line
	if err = s.err; l == nil {
		s.mu.Unlock()
		return false, err
	}
	s.pings++
	word := strconv.Itoa(s.pings)
	s.mu.Unlock()
	defer context.AfterFunc(ctx, func() { _ = l.conn.SetWriteDeadline(time.Now()) })() // fails only on a closed connection
	if _, err := l.conn.Write(appendCommand(nil, "PING", word)); err != nil {
		_ = l.conn.Close() // it may be closed already
	}
	for {
		select {
		case got := <-l.pongs:
			if got == word || got == "PONG" {
				return l.counted, nil
			}
		case <-l.ended:
			s.mu.Lock()
			defer s.mu.Unlock()
			return false, s.err
		case <-ctx.Done():
			_ = l.conn.Close() // listen notes it
			return false, errNothingPassed
		}
	}
}

// take what came since the last time, and the count of all that ever came.
func (s *subscription) take() (hearing, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = hearing{broken: s.line == nil && s.began}
	return got, s.count
}
