package redis

import (
	"context"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// Whatever reads from a Redis holds a bounded part of a reply that has no end.
func TestEndlessReplies(t *testing.T) {
	env := probetest.Env()
	n, err := newNode(probes.Identity{}, nodeConfig{Address: "127.0.0.1:1"}, env)
	if err != nil {
		t.Fatal(err)
	}
	of := func(f func(x *wire.Exchange) error) wire.Request { return wire.Request{Read: f} }
	read := func(keys ...probes.Key) wire.Request {
		p := &pipeline{node: n, keys: keys, visit: func(int, probes.Raw) {}}
		return wire.Request{Commands: p.commands(), Read: p.read}
	}
	asked := map[string]wire.Request{
		"strings": read(probes.Key{Name: "a"}, probes.Key{Name: "b", Check: true}),
		"hash":    read(probes.Key{Name: "h", Hash: true}),
		"survey": n.surveyRequest(wire.Request{Read: func(*wire.Exchange) error { return nil }}, &probes.Scan{Count: 1}, func(probes.Survey, error) {
		}),
		"text": of(func(x *wire.Exchange) error {
			_, err := readText(x)
			return err
		}),
		"any reply": of(func(x *wire.Exchange) error {
			_, err := readReply(x)
			return err
		}),
		"view": of(func(x *wire.Exchange) error {
			_, _, err := n.readView(x)
			return err
		}),
		"seen": of(func(x *wire.Exchange) error {
			_, _, err := n.readSeen(x, []byte("hello"))
			return err
		}),
	}
	piece := probetest.Again
	const endless = "*2147483647\r\n"
	for name, c := range map[string]struct {
		first string
		again func(int) string
	}{
		"no line":             {"", piece("x")},
		"an error":            {"-ERR ", piece("x")},
		"a status":            {"+", piece("x")},
		"a number":            {":", piece("1")},
		"a text":              {"$9223372036854775806\r\n", piece("x")},
		"a text of 8 MiB":     {"$8388608\r\n", piece("x")},
		"an array":            {endless, piece(":1000000000000\r\n")},
		"an array of texts":   {endless, piece("$20\r\nxxxxxxxxxxxxxxxxxxxx\r\n")},
		"large texts":         {endless, piece("$65530\r\n" + string(make([]byte, 65530)) + "\r\n")},
		"arrays":              {"", piece("*1\r\n")},
		"arrays of arrays":    {endless, piece("*2\r\n:1000000000000\r\n:1000000000000\r\n")},
		"TTLs, a hash":        {":1\r\n" + endless, probetest.Numbered("$20\r\n%020d\r\n")},
		"INFO, a text":        {"$3\r\na:b\r\n$9223372036854775806\r\n", piece("x")},
		"INFO, keys":          {"$3\r\na:b\r\n*2\r\n$1\r\n0\r\n" + endless, probetest.Numbered("$20\r\n%020d\r\n")},
		"TTLs, values":        {":1\r\n+string\r\n:1\r\n" + endless, piece("$20\r\nxxxxxxxxxxxxxxxxxxxx\r\n")},
		"TTLs, a large value": {":1\r\n+string\r\n:1\r\n*2\r\n$9223372036854775806\r\n", piece("x")},
		"empty lines":         {"", piece("\r\n")},
	} {
		for command, request := range asked {
			t.Run(command+": "+name, func(t *testing.T) {
				server := probetest.NewEndless(c.first, c.again)
				_ = wire.NewConn(server, errProtocol).Converse(context.Background(), request) // some of it is a whole reply
				server.HeldLittle(t, 24<<20)
				probetest.Whole(t, env.Budget)
			})
		}
	}
}
