package memcached

import (
	"context"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// Whatever reads from a memcached holds a bounded part of an answer that has no end.
func TestEndlessAnswers(t *testing.T) {
	env := probetest.Env()
	keys := []probes.Key{{Name: "a"}, {Name: "b"}}
	read := func(requests func(r *reading) []wire.Request) []wire.Request {
		n := &node{env: env, account: &wire.Account{}, kept: &keptServer{}}
		return requests(&reading{node: n, keys: keys, visit: func(int, probes.Raw) {}})
	}
	of := func(f func(x *wire.Exchange) error) []wire.Request { return []wire.Request{{Read: f}} }
	asked := map[string][]wire.Request{
		"mg":  read(func(r *reading) []wire.Request { return r.metaGets([]int{0, 1}) }),
		"get": read(func(r *reading) []wire.Request { return r.gets([]int{0, 1}) }),
		"stats": of(func(x *wire.Exchange) error {
			var reply statsReply
			return reply.read(x)
		}),
		"stats settings": of(func(x *wire.Exchange) error {
			_, err := readPolicy(x)
			return err
		}),
		"metadump": of(func(x *wire.Exchange) error {
			_, err := readDump(x, func(string) error { return nil })
			return err
		}),
		"mn": of((&node{}).readNoop),
	}
	for name, c := range map[string]struct {
		first string
		again func(int) string
	}{
		"no line":           {"", probetest.Again("x")},
		"a line of STAT":    {"STAT ", probetest.Again("x")},
		"statistics":        {"", probetest.Again("STAT pid 1\r\n")},
		"new statistics":    {"", probetest.Numbered("STAT name%d 1\r\n")},
		"values":            {"", probetest.Again("VALUE a 0 5\r\nhello\r\n")},
		"a value":           {"VALUE a 0 9223372036854775806\r\n", probetest.Again("x")},
		"a value of mg":     {"VA 9223372036854775806 t1 O0\r\n", probetest.Again("x")},
		"just no value":     {"VA 1048577 t1 O0\r\n", probetest.Again("x")},
		"keys":              {"", probetest.Numbered("key=%d exp=1\n")},
		"a key":             {"key=", probetest.Again("x")},
		"lines of no words": {"", probetest.Again("\r\n")},
	} {
		for command, requests := range asked {
			t.Run(command+": "+name, func(t *testing.T) {
				server := probetest.NewEndless(c.first, c.again)
				if err := wire.NewConn(server, errNotMemcached).Converse(context.Background(), requests...); err == nil {
					t.Error("no answer was whole, and there is no error")
				}
				server.HeldLittle(t, 3<<20)
				probetest.Whole(t, env.Budget)
			})
		}
	}
}
