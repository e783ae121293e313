package http

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// Whoever asks over HTTP holds a bounded part of an answer that has no end: what --http.max-body allows, and the room for one that grows.
func TestEndlessBodies(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, c := range map[string]struct {
		first string
		again func(int) string
	}{
		"a body":               {ok + "\r\n", probetest.Again("x")},
		"a body that is JSON":  {ok + "\r\n[", probetest.Again("[],")},
		"an announced body":    {ok + "Content-Length: 9223372036854775807\r\n\r\n", probetest.Again("x")},
		"chunks":               {ok + "Transfer-Encoding: chunked\r\n\r\n", probetest.Again("5\r\nhello\r\n")},
		"the length of a part": {ok + "Transfer-Encoding: chunked\r\n\r\n", probetest.Again("0")},
		"no gzip":              {ok + "Content-Encoding: gzip\r\n\r\n", probetest.Again("x")},
		"a line":               {"HTTP/1.1 200 ", probetest.Again("x")},
		"a header":             {ok + "X-Header: ", probetest.Again("x")},
		"headers":              {ok, probetest.Numbered("X-Header-%d: value\r\n")},
		"answers to come":      {"", probetest.Again("HTTP/1.1 100 Continue\r\n\r\n")},
		"hints":                {"", probetest.Again("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")},
		"an error's body":      {"HTTP/1.1 503 Service Unavailable\r\n\r\n", probetest.Again("x")},
		"a body nobody needs":  {"HTTP/1.1 404 Not Found\r\n\r\n", probetest.Again("x")},
	} {
		t.Run(name, func(t *testing.T) {
			server := probetest.NewEndless(c.first, c.again)
			said := make(chan struct{})
			addr := servers.Listen(t, func(conn net.Conn) {
				defer close(said) // once: what fails is not asked for again
				defer func() { _ = conn.Close() }()
				if _, err := conn.Read(make([]byte, 4<<10)); err != nil {
					return
				}
				_, _ = io.Copy(conn, onlyReader{server}) // until the exporter hangs up
			})
			env := probetest.Env()
			node, err := newNode(probes.Identity{}, nodeConfig{URL: urlTemplate(t, "http://"+addr+"/{key}")}, env)
			if err != nil {
				t.Fatal(err)
			}
			var got probes.Raw
			err = node.Read(probetest.Within(t, 30*time.Second), []probes.Key{{Name: "a"}}, func(_ int, r probes.Raw) { got = r })
			if missing := name == "a body nobody needs"; got.Present || (err == nil && got.Err == nil) != missing {
				t.Errorf("%+v, %v", got, err)
			}
			node.Close()
			<-said
			server.HeldLittle(t, 24<<20) // a body, and the larger buffer that it is copied to
			probetest.Whole(t, env.Budget)
		})
	}
}

// onlyReader leaves out what else a reader can do.
type onlyReader struct{ io.Reader }
