package memcached

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

var errBinary = probes.Refusal(errors.New("the server speaks memcached's binary protocol alone (-B binary, or -S for SASL), which the exporter does not; " +
	"run it with -B auto, and with --auth-file instead of -S"))

const (
	// binaryRequest and binaryResponse begin what clients and servers say in the binary protocol.
	binaryRequest, binaryResponse = 0x80, 0x81
	// binaryVersion is the command that any client may give, also before it has logged in.
	binaryVersion = 0x0b
	// binaryWait is how long a server may take to answer text before it is asked for the binary protocol, and then to answer that:
	// at most, and no more than a third of the time that there is.
	binaryWait = time.Second
	// binaryHeader is how long each request and response is at least.
	binaryHeader = 24
)

// introduceOrTell is introduce, and errBinary where the server speaks the binary protocol alone: it closes the connection over text,
// or waits for more of it. A server that is slow to answer is asked for that over a connection beside this one.
func (n *node) introduceOrTell(ctx context.Context, c *wire.Conn, reply *statsReply) error {
	if n.closes.binary && n.binaryAlone(ctx) {
		return errBinary
	}
	n.closes.binary = false
	limited, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	var binary atomic.Bool
	asking.Go(func() {
		if pause.For(limited, waitFor(limited)) && n.binaryAlone(limited) {
			binary.Store(true)
			cancel()
		}
	})
	err := n.introduce(limited, c, reply)
	cancel()
	asking.Wait()
	if !binary.Load() && (err == nil || ctx.Err() != nil || reply.complete || n.closes.stats || !wire.Dropped(err) || !n.binaryAlone(ctx)) {
		return err
	}
	n.closes.binary, n.closes.since = true, time.Now()
	return errBinary
}

// waitFor what may be the binary protocol.
func waitFor(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(binaryWait, time.Until(deadline)/3)
	}
	return binaryWait
}

// binaryAlone reports whether a server that does not answer text speaks the binary protocol. The end of line behind the command is
// for those that wait for one.
func (n *node) binaryAlone(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, waitFor(ctx))
	defer cancel()
	conn, err := n.link.Dial(ctx)
	if err != nil {
		return false
	}
	c := n.link.Conn(conn)
	defer c.Close()
	command := make([]byte, binaryHeader, binaryHeader+2)
	command[0], command[1] = binaryRequest, binaryVersion
	answered := false
	err = c.Converse(ctx, wire.Request{Commands: append(command, "\r\n"...), Read: func(x *wire.Exchange) error {
		var header [binaryHeader]byte
		_, err := io.ReadFull(x.Reader, header[:])
		answered = header[0] == binaryResponse && header[1] == binaryVersion
		return err
	}})
	return err == nil && answered
}
