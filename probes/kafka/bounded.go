package kafka

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// longestAnswer of a broker, in bytes. A batch of records comes whole, however large it is.
	longestAnswer = 32 << 20
	// longestListing is an answer without records, and longestOther one to a request without a layout, or to what versions there are.
	longestListing, longestOther = 8 << 20, 64 << 10
)

var errNotKafka = probes.OtherServer(errors.New(
	"the answer is not Kafka's, or announces more than it holds; is the address that of a Kafka broker, and does its port need tls or sasl?"))

// boundedConn gives the library nothing but whole answers in which each list has the elements that it announces, and no more than are
// allowed: the library takes the room for what is announced, and waits for as long as it is asked to.
type boundedConn struct {
	net.Conn
	in *bufio.Reader
	// answer that is still to be handed on, and why no more can be.
	answer []byte
	err    error

	mu   sync.Mutex // one goroutine reads while another writes; it guards what follows
	sent []sentRequest
	// head of a request that is being written, and how much of it is left behind that.
	head []byte
	left int64
}

// sentRequest is one that was not answered yet.
type sentRequest struct{ key, version int16 }

func bounded(conn net.Conn) *boundedConn { return &boundedConn{Conn: conn, in: bufio.NewReader(conn)} }

// Write implements net.Conn, and notes what is asked for.
func (c *boundedConn) Write(p []byte) (int, error) {
	c.note(p)
	return c.Conn.Write(p)
}

// note the requests in what is written: a length of 4 bytes, then the key and the version of 2 each.
func (c *boundedConn) note(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 {
		if c.left > 0 {
			n := min(c.left, int64(len(p)))
			p, c.left = p[n:], c.left-n
			continue
		}
		need := int64(4)
		if len(c.head) >= 4 {
			need += min(4, int64(binary.BigEndian.Uint32(c.head)))
		}
		n := min(need-int64(len(c.head)), int64(len(p)))
		c.head, p = append(c.head, p[:n]...), p[n:]
		c.noteHead()
	}
}

// noteHead takes a request's head once it is whole. A shorter one is no request, such as a login's own bytes.
func (c *boundedConn) noteHead() {
	if len(c.head) < 4 {
		return
	}
	size := int64(binary.BigEndian.Uint32(c.head))
	if int64(len(c.head)) < 4+min(4, size) {
		return
	}
	one := sentRequest{-1, -1}
	if size >= 4 {
		one = sentRequest{int16(binary.BigEndian.Uint16(c.head[4:])), int16(binary.BigEndian.Uint16(c.head[6:]))}
	}
	c.sent, c.head, c.left = append(c.sent, one), c.head[:0], max(size-4, 0)
}

// answered gives the request that the next answer belongs to: brokers answer in order.
func (c *boundedConn) answered() sentRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sent) == 0 {
		return sentRequest{-1, -1}
	}
	first := c.sent[0]
	c.sent = c.sent[1:]
	return first
}

// Read implements net.Conn. What broke off in the middle of an answer stays broken.
func (c *boundedConn) Read(p []byte) (int, error) {
	if len(c.answer) == 0 && c.err == nil {
		c.err = c.next()
	}
	if len(c.answer) == 0 && c.err != nil {
		return 0, c.err
	}
	n := copy(p, c.answer)
	c.answer = c.answer[n:]
	return n, nil
}

// next reads one answer.
func (c *boundedConn) next() error {
	var length [4]byte
	if _, err := io.ReadFull(c.in, length[:]); err != nil {
		return err
	}
	size := int64(int32(binary.BigEndian.Uint32(length[:])))
	if size < 0 || size > longestAnswer {
		c.answer = append(c.answer[:0], length[:]...) // the library knows some servers by this number
		return errNotKafka
	}
	asked := c.answered()
	if size > asked.longest() {
		return errNotKafka
	}
	answer := append(make([]byte, 0, min(4+size, 64<<10)), length[:]...)
	for int64(len(answer)) < 4+size { // room is taken for what has come
		if len(answer) == cap(answer) {
			grown := make([]byte, len(answer), min(int64(2*cap(answer)), 4+size))
			copy(grown, answer)
			answer = grown
		}
		n, err := c.in.Read(answer[len(answer):min(int64(cap(answer)), 4+size)])
		answer = answer[:len(answer)+n]
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	if !asked.plausible(answer[4:]) {
		return errNotKafka
	}
	c.answer = answer
	return nil
}

// longest answer to a request, in bytes.
func (r sentRequest) longest() int64 {
	_, known := layouts[r.key]
	switch {
	case r.key == int16(kmsg.Fetch):
		return longestAnswer
	case known && r.key != int16(kmsg.ApiVersions):
		return longestListing
	}
	return longestOther
}

// plausible: all that the answer announces is there. What has no layout is short. A wait that is too long is made shorter.
func (r sentRequest) plausible(answer []byte) bool {
	l, known := layouts[r.key]
	if !known {
		return true
	}
	w := walker{left: answer, version: r.version, flexible: r.version >= l.flexible}
	w.take(4) // the request's number
	versions := r.key == int16(kmsg.ApiVersions)
	if versions && len(w.left) >= 2 && int16(binary.BigEndian.Uint16(w.left)) == kerr.UnsupportedVersion.Code {
		w.version, w.flexible = 0, false // it is told in the way that every client knows
	}
	if w.flexible && !versions {
		w.tagged()
	}
	w.structure(l.fields)
	return !w.failed
}
