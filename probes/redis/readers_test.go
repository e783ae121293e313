package redis

import (
	"context"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// FuzzReaders: each reader of what comes over a connection, beside those of keys (FuzzRESP), ends with it, and tells nothing that can't be.
func FuzzReaders(f *testing.F) {
	for _, said := range []string{
		"*2\r\n$3\r\ninv\r\n:3\r\n", "*2\r\n$3\r\ninv\r\n:-3\r\n", "*2\r\n$1\r\nx\r\n:3\r\n",
		"$5\r\nhello\r\n", "$5\r\nother\r\n", "$-1\r\n", "-WRONGTYPE x\r\n", "-NOPERM x\r\n",
		"*3\r\n$7\r\nmessage\r\n$3\r\ninv\r\n$2\r\nhi\r\n*4\r\n$8\r\npmessage\r\n$3\r\ninv\r\n$3\r\ninv\r\n$-1\r\n", "*2\r\n$4\r\npong\r\n$1\r\n7\r\n+PONG\r\n",
		"*3\r\n$11\r\nunsubscribe\r\n$3\r\ninv\r\n:0\r\n", "*3\r\n$9\r\nsubscribe\r\n$3\r\ninv\r\n:1\r\n", "*9\r\n*1\r\n:1\r\n",
		"*2\r\n*2\r\n$15\r\n1700000000000-0\r\n*2\r\n$3\r\nkey\r\n$1\r\na\r\n*2\r\n$3\r\n5-x\r\n*-1\r\n", "*2\r\n*1\r\n:1\r\n$-1\r\n",
	} {
		f.Add([]byte(said))
	}
	reader, err := message.NewReader(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		env := probetest.Env()
		env.MaxValueBytes = 64
		n, err := newNode(probes.Identity{}, nodeConfig{Address: "127.0.0.1:1"}, env)
		if err != nil {
			t.Fatal(err)
		}
		converse := func(r wire.Request) error {
			return wire.NewConn(probetest.NewReplay(said), errProtocol).Converse(context.Background(), r)
		}
		_ = converse(wire.Request{Read: func(x *wire.Exchange) error {
			count, err := (&channelQueue{channel: "inv"}).readSubscribers(x)
			if count < 0 || err != nil && count != 0 {
				t.Errorf("%d subscribers, %v", count, err)
			}
			return err
		}})
		_ = converse(wire.Request{Read: func(x *wire.Exchange) error {
			seen, refused, err := n.readSeen(x, []byte("hello"))
			if refused != nil && seen != probes.NotTold {
				t.Errorf("%v though %v, %v", seen, refused, err)
			}
			return err
		}})
		s, l := newSubscription("inv", false, 64), &line{pongs: make(chan string, 1)}
		read := 0
		_ = converse(wire.Request{Read: func(x *wire.Exchange) error {
			for ; ; read++ {
				if err := s.next(x, l); err != nil {
					return err
				}
			}
		}})
		if s.count > uint64(read)+1 || s.got.seen != int(s.count) {
			t.Errorf("%d messages, %d of them seen, in %d pushes", s.count, s.got.seen, read)
		}
		_ = converse(wire.Request{Read: func(x *wire.Exchange) error {
			reply, err := readReply(x)
			entries, _ := reply.([]any)
			if got := (&streamQueue{messages: reader}).read(entries); len(got) > len(entries) {
				t.Errorf("%d messages of %d entries", len(got), len(entries))
			}
			return err
		}})
		probetest.Whole(t, env.Budget)
	})
}
