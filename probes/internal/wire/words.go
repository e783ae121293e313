package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// longestWords of a server that are told.
const longestWords = 200

// Words tells what a line says of why a server closes a connection; empty: nothing. opening: nothing but such lines and the
// answers to a login came so far; what comes later may be a value. What it tells repeats no secret.
type Words func(line string) (said string, opening bool)

// talker keeps what a server says first on a connection: where it closes that, it may be why.
type talker struct {
	net.Conn
	words Words

	mu sync.Mutex // one goroutine reads while another writes; it guards what follows
	// opened: more came than what a connection begins with.
	opened bool
	// part of a line came so far, and said is what the last whole one says.
	part []byte
	said string
}

// rawTalker lets the library look whether a connection that is idle was closed.
type rawTalker struct {
	*talker
	syscall.Conn
}

// withWords has the errors of a connection that the server closes hold the words that it said last.
func withWords(conn net.Conn, words Words) net.Conn {
	if words == nil {
		return conn
	}
	t := &talker{Conn: conn, words: words}
	if raw, ok := conn.(syscall.Conn); ok {
		return rawTalker{t, raw}
	}
	return t
}

// Read implements net.Conn.
func (t *talker) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.listen(p[:n])
	return n, t.explain(err)
}

// listen to what a connection begins with.
func (t *talker) listen(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(b) > 0 && !t.opened {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		t.part = append(t.part, line[:min(len(line), 2*longestWords-min(len(t.part), 2*longestWords))]...)
		b = rest
		if !whole {
			return
		}
		said, opening := t.words(string(bytes.TrimRight(t.part, "\r")))
		t.said, t.opened, t.part = said, !opening, t.part[:0]
	}
}

// Write implements net.Conn.
func (t *talker) Write(p []byte) (int, error) {
	n, err := t.Conn.Write(p)
	return n, t.explain(err)
}

// explain adds the last words to the error of a connection that the server closed.
func (t *talker) explain(err error) error {
	var op *net.OpError
	closed := errors.Is(err, io.EOF) || errors.As(err, &op) && !op.Timeout()
	if !closed || errors.Is(err, net.ErrClosed) {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.said == "" || t.opened {
		return err
	}
	return probes.Refusal(fmt.Errorf("the server closed the connection after it had said: %s", t.said))
}
