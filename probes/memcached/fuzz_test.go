package memcached

import (
	"context"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

func FuzzReplies(f *testing.F) {
	for _, said := range []string{
		"VA 2 t100 c7 O0\r\nhi\r\nEN O1\r\nVA 0 t-1 c1 O2\r\n\r\nEN O3\r\n",
		"VA 2 O0 X W c5\r\nhi\r\nEN\r\nEN\r\nEN\r\nHD\r\n", "EN\r\nEN\r\nEN\r\nEN\r\n",
		"ERROR\r\nERROR\r\nERROR\r\nERROR\r\n", "SERVER_ERROR out of memory\r\nCLIENT_ERROR bad\r\nEN\r\nVA 65 t1\r\n",
		"VA 9999999999 t1\r\nx", "VALUE a 0 2\r\nhi\r\nVALUE b 0 0 5\r\n\r\nEND\r\n", "END\r\n",
		"STAT pid 1\r\nSTAT uptime 5\r\nSTAT time 9\r\nSTAT get_hits 4\r\nSTAT get_misses 1\r\nEND\r\n",
		"key=a exp=-1\nkey=b%20 exp=1\nEND\r\n", "BUSY\r\n", "BADCLASS x\r\n", "\r\n", "\n", "MN\r\n",
	} {
		f.Add([]byte(said))
	}
	keys := []probes.Key{{Name: "a"}, {Name: "b"}, {Name: "a"}, {Name: "c"}}
	all := []int{0, 1, 2, 3}
	f.Fuzz(func(t *testing.T, said []byte) {
		env := probetest.Env()
		env.MaxValueBytes = 64
		for _, plain := range []bool{false, true} {
			n := &node{env: env, account: &wire.Account{}, kept: &keptServer{}}
			v := probetest.NewVisits(t, len(keys))
			r := &reading{node: n, keys: keys, visit: v.Visit}
			requests := r.metaGets(all)
			if plain {
				requests = r.gets(all)
			}
			err := wire.NewConn(probetest.NewReplay(said), errNotMemcached).Converse(context.Background(), requests...)
			v.Check(err, r.refused...)
			if counted := n.account.Hits + n.account.Misses; counted > uint64(len(keys)) {
				t.Errorf("%d counted of %d", counted, len(keys))
			}
			probetest.Whole(t, env.Budget)
		}
		n := &node{env: env, account: &wire.Account{}, kept: &keptServer{}}
		var reply statsReply
		err := wire.NewConn(probetest.NewReplay(said), errNotMemcached).Converse(context.Background(), n.statsRequest(&reply))
		if err != nil && reply.complete || reply.Expired.Known && reply.Expired.Value < 0 {
			t.Errorf("%+v, %v", reply, err)
		}
		_ = wire.NewConn(probetest.NewReplay(said), errNotMemcached).Converse(context.Background(), wire.Request{Commands: nil, Read: func(x *wire.Exchange) error {
			refused, err := readDump(x, func(key string) error {
				if cannotHold(probes.Key{Name: key}) != nil {
					t.Errorf("%q was listed", key)
				}
				return nil
			})
			if refused != "" && err != nil {
				t.Errorf("%q and %v", refused, err)
			}
			return err
		}})
		for _, read := range []func(*wire.Exchange, probes.Key, func(probes.Stored, error)) error{n.readStored, n.readPlain} {
			given := 0
			err := wire.NewConn(probetest.NewReplay(said), errNotMemcached).Converse(context.Background(), wire.Request{Read: func(x *wire.Exchange) error {
				return read(x, keys[0], func(s probes.Stored, err error) {
					if given++; err != nil && (s.Present || s.Value != nil) || len(s.Value) > 64 {
						t.Errorf("%+v, %v", s, err)
					}
				})
			}})
			if given > 1 || given == 0 && err == nil {
				t.Errorf("the item was given %d times: %v", given, err)
			}
		}
		_ = wire.NewConn(probetest.NewReplay(said), errNotMemcached).Converse(context.Background(), wire.Request{Read: n.readNoop})
		probetest.Whole(t, env.Budget)
	})
}

func FuzzSettings(f *testing.F) {
	for _, said := range []string{
		"STAT evictions on\r\nSTAT lru_segmented yes\r\nEND\r\n", "STAT evictions off\r\nEND\r\n", "STAT evictions \r\nSTAT\r\nSTAT \r\nEND\r\n", "ERROR\r\n",
		"CLIENT_ERROR unauthenticated\r\n", "SERVER_ERROR out of memory\r\n", "STAT evictions on\r\n", "STAT evictions on\nEND\r\n", "END", "\r\n",
	} {
		f.Add([]byte(said))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		_ = wire.NewConn(probetest.NewReplay(said), errNotMemcached).Converse(context.Background(), wire.Request{Commands: nil, Read: func(x *wire.Exchange) error {
			policy, err := readPolicy(x)
			if known := policy == "noeviction" || policy == "lru" || policy == "segmented-lru"; !known && policy != "" || policy != "" && err != nil {
				t.Errorf("%q, %v", policy, err)
			}
			return err
		}})
	})
}
