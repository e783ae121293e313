package detection

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// oddEstate is what one exporter watches: odd servers, each in a layer with healthy ones, and odd queues.
type oddEstate struct {
	layers, queues, classes []string
	// later is what happens once the exporter has been scraped.
	later []func()
	// last is what must still be so at the end.
	last []func(t *testing.T)
}

// copyOf every key here, which is the same everywhere.
const copyOf = `{"version":1}`

// layer with nodes, as the configuration has them, and a class of its own: its keys are read from all of them. more is of the class.
func (e *oddEstate) layer(name string, keys []string, more string, nodes ...string) {
	e.layers = append(e.layers, fmt.Sprintf("  - name: %s\n    ttl: 1h\n    max_staleness: 5s\n    nodes:\n      - %s\n", name, strings.Join(nodes, "\n      - ")))
	e.classes = append(e.classes, fmt.Sprintf("  - {class: %s, layers: [%[1]s], version: {json: $.version}, keys: [%s]%s}\n",
		name, listOf(keys), more))
}

// listOf words, as YAML.
func listOf(words []string) string { return `"` + strings.Join(words, `", "`) + `"` }

// queue with its block of the configuration.
func (e *oddEstate) queue(name, block string) {
	e.queues = append(e.queues, fmt.Sprintf("  - {name: %s, %s}\n", name, block))
}

func (e *oddEstate) config() string {
	return "layers:\n" + strings.Join(e.layers, "") + "queues:\n" + strings.Join(e.queues, "") + "canaries:\n" + strings.Join(e.classes, "")
}

// good is a Redis in which nothing is odd, with copies of the keys.
func good(t *testing.T, keys []string, args ...string) *servers.RedisServer {
	t.Helper()
	r := servers.Redis(t, args...)
	hold(t, r, keys)
	return r
}

func hold(t *testing.T, r *servers.RedisServer, keys []string) {
	t.Helper()
	for _, k := range keys {
		r.Must(t, "set", k, copyOf, "ex", 3600)
	}
}

// node of the configuration at an address; more is of its block.
func node(name, address string, more ...string) string {
	return fmt.Sprintf("{name: %s, redis: {address: %q%s}}", name, address, strings.Join(more, ""))
}

// goods are n good Redis as nodes of a layer, named after it.
func goods(t *testing.T, layer string, n int, keys []string) (nodes []string) {
	t.Helper()
	for i := range n {
		nodes = append(nodes, node(fmt.Sprintf("%s-%d", layer, i+1), good(t, keys).Addr))
	}
	return nodes
}

// keysOf a layer.
func keysOf(layer string) (keys []string) {
	for i := range 6 {
		keys = append(keys, fmt.Sprintf("%s:%d", layer, i))
	}
	return keys
}

// scripted is a server that speaks RESP, holds a copy of every key it is asked for, and says of itself what it is told to say.
type scripted struct {
	mu   sync.Mutex
	addr string
	// info answers INFO, with \n for the ends of lines.
	info func() string
	// says answers a command before anything else does; empty: it does not.
	says func(command []string) string
	// ttl is what PTTL answers.
	ttl string
}

// host and port at which it is reached.
func (s *scripted) host() string { h, _, _ := strings.Cut(s.addr, ":"); return h }
func (s *scripted) port() string { _, p, _ := strings.Cut(s.addr, ":"); return p }

// start to listen; what it says may be set until it is asked.
func (s *scripted) start(t *testing.T) *scripted {
	t.Helper()
	s.addr = servers.RedisSaying(t, func(command []string) string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.answer(command)
	})
	return s
}

func (s *scripted) answer(command []string) string {
	if s.says != nil {
		if said := s.says(command); said != "" {
			return said
		}
	}
	switch command[0] {
	case "INFO":
		return servers.BulkText(strings.ReplaceAll(s.info(), "\n", "\r\n"))
	case "PTTL":
		if s.ttl != "" {
			return s.ttl
		}
		return ":3000000\r\n"
	case "MGET":
		return fmt.Sprintf("*%d\r\n", len(command)-1) + strings.Repeat(servers.BulkText(copyOf), len(command)-1)
	case "TYPE":
		return "+string\r\n"
	case "SCAN":
		return "*2\r\n" + servers.BulkText("0") + "*0\r\n"
	case "HELLO":
		return "-ERR unknown command 'HELLO'\r\n"
	}
	return ""
}

// rising gives the offsets of a stream to which something is written all the time.
func rising() func() int64 {
	began := time.Now()
	return func() int64 { return 1000 + time.Since(began).Milliseconds() }
}

// each does something every 40 ms until the test's end, as traffic does. What fails ends it, and fails the test.
func each(t *testing.T, what string, do func(ctx context.Context, n int) error) {
	t.Helper()
	every(t, 40*time.Millisecond, what, do)
}

func every(t *testing.T, pause time.Duration, what string, do func(ctx context.Context, n int) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for n := 0; ; n++ {
			if err := do(ctx, n); err != nil {
				if ctx.Err() == nil {
					t.Errorf("%s: %v", what, err)
				}
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}
