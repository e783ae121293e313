package redis

import (
	"context"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

func FuzzRESP(f *testing.F) {
	for _, said := range []string{
		":-2\r\n:100\r\n:-1\r\n+string\r\n:5\r\n*3\r\n$-1\r\n$2\r\nhi\r\n$0\r\n\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
		":1\r\n:1\r\n:1\r\n-NOPERM x\r\n:1\r\n-LOADING\r\n*0\r\n",
		"-ERR\r\n-ERR\r\n-ERR\r\n+none\r\n:1\r\n*3\r\n$-1\r\n$-1\r\n$-1\r\n-WRONGTYPE x\r\n",
		"$21\r\nrole:master\r\nrun_id:a\r\n*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n",
		"*99999999\r\n", "$999999999999\r\n", "$-5\r\n", ":\r\n", "+\r\n", "\r\n", "*2\r\n+a\r\n*-1\r\n",
		":5\r\n:1700000000000\r\n:-1\r\n:-1\r\n+string\r\n:-2\r\n*3\r\n$2\r\nhi\r\n$-1\r\n$-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
		":5\r\n-ERR unknown command\r\n+string\r\n:6\r\n:7\r\n",
	} {
		f.Add([]byte(said))
	}
	keys := []probes.Key{{Name: "a", Identity: true}, {Name: "b"}, {Name: "h", Hash: true}, {Name: "c", Check: true}}
	f.Fuzz(func(t *testing.T, said []byte) {
		env := probetest.Env()
		env.MaxValueBytes = 64
		n, err := newNode(probes.Identity{}, nodeConfig{Address: "127.0.0.1:1"}, env)
		if err != nil {
			t.Fatal(err)
		}
		for _, tellsExpiry := range []bool{false, true} {
			v, before := probetest.NewVisits(t, len(keys)), n.account.Hits+n.account.Misses
			p := &pipeline{node: n, keys: keys, visit: v.Visit, tellsExpiry: tellsExpiry}
			v.Check(wire.NewConn(probetest.NewReplay(said), errProtocol).Converse(context.Background(), wire.Request{Commands: p.commands(), Read: p.read}))
			if counted := n.account.Hits + n.account.Misses - before; counted > 3*uint64(len(keys)) {
				t.Errorf("%d counted of %d keys", counted, len(keys))
			}
			probetest.Whole(t, env.Budget)
		}
		delivered := 0
		ask := n.surveyRequest(wire.Request{Read: func(*wire.Exchange) error { return nil }}, &probes.Scan{Count: 1}, func(probes.Survey, error) { delivered++ })
		if err := wire.NewConn(probetest.NewReplay(said), errProtocol).Converse(context.Background(), ask); err == nil && delivered != 1 {
			t.Errorf("delivered %d times", delivered)
		}
	})
}

func FuzzReply(f *testing.F) {
	f.Add([]byte("*2\r\n$1\r\na\r\n*3\r\n:1\r\n$-1\r\n-ERR x\r\n"))
	f.Add([]byte("*1048576\r\n"))
	f.Add([]byte("$0\r\n00"))
	f.Add([]byte("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*0\r\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		_ = wire.NewConn(probetest.NewReplay(said), errProtocol).Converse(context.Background(), wire.Request{Commands: nil, Read: func(x *wire.Exchange) error {
			v, err := readReply(x)
			if err != nil && v != nil {
				t.Errorf("%v beside %v", v, err)
			}
			sentinelServers([]any{"a", "1"}, v)
			return err
		}})
		_ = wire.NewConn(probetest.NewReplay(said), errProtocol).Converse(context.Background(), wire.Request{Read: func(x *wire.Exchange) error {
			shards, err := readShards(x, false)
			view, _ := parseClusterNodes(wholeView)
			view.useShards(shards)
			return err
		}})
	})
}
