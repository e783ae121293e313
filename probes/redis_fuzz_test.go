package probes

import (
	"context"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

func FuzzRESP(f *testing.F) {
	for _, said := range []string{
		":-2\r\n:100\r\n:-1\r\n+string\r\n:5\r\n*3\r\n$-1\r\n$2\r\nhi\r\n$0\r\n\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
		":1\r\n:1\r\n:1\r\n-NOPERM x\r\n:1\r\n-LOADING\r\n*0\r\n",
		"-ERR\r\n-ERR\r\n-ERR\r\n+none\r\n:1\r\n*3\r\n$-1\r\n$-1\r\n$-1\r\n-WRONGTYPE x\r\n",
		"$21\r\nrole:master\r\nrun_id:a\r\n*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n",
		"*99999999\r\n", "$999999999999\r\n", "$-5\r\n", ":\r\n", "+\r\n", "\r\n", "*2\r\n+a\r\n*-1\r\n",
	} {
		f.Add([]byte(said))
	}
	keys := []Key{{Name: "a"}, {Name: "b"}, {Name: "h", Hash: true}, {Name: "c", Check: true}}
	f.Fuzz(func(t *testing.T, said []byte) {
		opt := testOptions()
		opt.MaxValueBytes = 64
		n, err := newRedisNode(Identity{}, config.Redis{Address: "127.0.0.1:1"}, opt)
		if err != nil {
			t.Fatal(err)
		}
		v := newVisited(t, len(keys))
		p := &pipeline{node: n, keys: keys, visit: v.visit}
		v.check(newWire(newReplay(said), errProtocol).converse(context.Background(), request{p.commands(), p.read}))
		if counted := n.server.hits + n.server.misses; counted > 3*uint64(len(keys)) {
			t.Errorf("%d counted of %d keys", counted, len(keys))
		}
		whole(t, opt.Budget)
		delivered := 0
		ask := n.surveyRequest(request{read: func(*exchange) error { return nil }}, &Scan{Count: 1}, func(Survey, error) { delivered++ })
		if err := newWire(newReplay(said), errProtocol).converse(context.Background(), ask); err == nil && delivered != 1 {
			t.Errorf("delivered %d times", delivered)
		}
	})
}
