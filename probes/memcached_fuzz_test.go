package probes

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// replay is a connection on which a server says all it has to say and hangs up.
type replay struct {
	net.Conn // nothing else is called
	bytes.Reader
}

func newReplay(said []byte) *replay {
	r := &replay{}
	r.Reset(said)
	return r
}

func (r *replay) Read(p []byte) (int, error)    { return r.Reader.Read(p) }
func (*replay) Write(p []byte) (int, error)     { return len(p), nil }
func (*replay) Close() error                    { return nil }
func (*replay) SetDeadline(time.Time) error     { return nil }
func (*replay) SetReadDeadline(time.Time) error { return nil }

// visited counts visits, and checks what holds for whatever a server says.
type visited struct {
	t     *testing.T
	times []int
}

func (v *visited) visit(i int, r Raw) {
	v.times[i]++
	if r.Err != nil && (r.Present || r.Value != nil || r.HasTTL || r.NoExpiry) || r.HasTTL && (r.NoExpiry || r.TTL < 0) || len(r.Value) > 64 {
		v.t.Errorf("%+v", r)
	}
}

// check that each key was visited once, but for those left out; at most once where the replies ended in an error.
func (v *visited) check(err error, out ...int) {
	for _, i := range out {
		v.times[i]++
	}
	for i, n := range v.times {
		if n > 1 || n == 0 && err == nil {
			v.t.Errorf("key %d was visited %d times: %v", i, n, err)
		}
	}
}

func FuzzMemcachedReplies(f *testing.F) {
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
	keys := []Key{{Name: "a"}, {Name: "b"}, {Name: "a"}, {Name: "c"}}
	all := []int{0, 1, 2, 3}
	f.Fuzz(func(t *testing.T, said []byte) {
		opt := testOptions()
		opt.MaxValueBytes = 64
		for _, plain := range []bool{false, true} {
			n := &memcachedNode{opt: opt, server: &server{}}
			v := &visited{t, make([]int, len(keys))}
			r := &memcachedRead{node: n, keys: keys, visit: v.visit}
			requests := r.metaGets(all)
			if plain {
				requests = r.gets(all)
			}
			err := newWire(newReplay(said), errNotMemcached).converse(context.Background(), requests...)
			v.check(err, r.refused...)
			if counted := n.server.hits + n.server.misses; counted > uint64(len(keys)) {
				t.Errorf("%d counted of %d", counted, len(keys))
			}
			whole(t, opt.Budget)
		}
		n := &memcachedNode{opt: opt, server: &server{}}
		var told memcachedStats
		err := newWire(newReplay(said), errNotMemcached).converse(context.Background(), n.statsRequest(&told))
		if err != nil && told.complete || told.Expired.Known && told.Expired.Value < 0 {
			t.Errorf("%+v, %v", told, err)
		}
		_ = newWire(newReplay(said), errNotMemcached).converse(context.Background(), request{nil, func(x *exchange) error {
			refused, err := readDump(x, func(key string) {
				if cannotHold(Key{Name: key}) != nil {
					t.Errorf("%q was listed", key)
				}
			})
			if refused != "" && err != nil {
				t.Errorf("%q and %v", refused, err)
			}
			return err
		}})
	})
}

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
		v := &visited{t, make([]int, len(keys))}
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
