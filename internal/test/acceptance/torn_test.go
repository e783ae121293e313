package acceptance

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

const (
	tornKeys  = 100
	writeEach = 100 * time.Millisecond
	// slowWrite is how long a write may take from the first node to the last; beyond it the re-read's delay proves nothing.
	slowWrite = 10 * time.Millisecond
)

// writers write each key by a goroutine of its own, node after node, always content that was never used before.
type writers struct {
	nodes []*servers.RedisServer
	gap   time.Duration
	// acknowledged: a write is over when the node's replica has it, too. On a busy machine that may lag for longer than the
	// re-read's delay.
	acknowledged bool
	// reach is how many of the nodes they reach.
	reach   atomic.Int64
	written [tornKeys]atomic.Int64
	// under way since, in Unix nanoseconds; 0: none.
	under  [tornKeys]atomic.Int64
	writes atomic.Int64

	mu   sync.Mutex
	slow []span
}

type span struct{ from, to time.Time }

func tornKey(i int) string { return fmt.Sprintf("torn:%d", i) }

// startWriters runs them until the test ends.
func startWriters(t *testing.T, gap time.Duration, acknowledged bool, nodes ...*servers.RedisServer) *writers {
	t.Helper()
	w := &writers{nodes: nodes, gap: gap, acknowledged: acknowledged}
	w.reach.Store(int64(len(nodes)))
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range tornKeys {
		// Connections of their own, and nothing but what a write needs: the writers share two cores with what they test.
		var conns []net.Conn
		for _, n := range nodes {
			c, err := net.Dial("tcp", n.Addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			conns = append(conns, c)
		}
		w.write(conns, i)
		running.Go(func() {
			// Spread over the interval, as independent writers are.
			next := time.NewTimer(time.Duration(i) * writeEach / tornKeys)
			defer next.Stop()
			for {
				select {
				case <-next.C:
					next.Reset(writeEach)
					w.write(conns, i)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return w
}

func (w *writers) write(conns []net.Conn, i int) {
	n := w.written[i].Load() + 1
	key, value := tornKey(i), fmt.Sprintf(`{"v":%d,"text":"content %d of key %d"}`, n, n, i)
	command := fmt.Appendf(nil, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(value), value)
	var ok [5]byte
	began := time.Now()
	w.under[i].Store(began.UnixNano())
	for m, c := range conns[:w.reach.Load()] {
		if m > 0 && w.gap > 0 {
			time.Sleep(w.gap)
		}
		if _, err := c.Write(command); err != nil {
			return // the test ends
		}
		if _, err := io.ReadFull(c, ok[:]); err != nil || string(ok[:]) != "+OK\r\n" {
			return
		}
		if w.acknowledged && !waitForReplica(c) {
			return
		}
	}
	ended := time.Now()
	w.written[i].Store(n)
	w.writes.Add(1)
	if ended.Sub(began) > slowWrite {
		w.mu.Lock()
		w.slow = append(w.slow, span{began, ended})
		w.mu.Unlock()
	}
	w.under[i].Store(0)
}

// waitForReplica waits until one replica has what was written over the connection, or for 100 ms; false: the test ends.
func waitForReplica(c net.Conn) bool {
	if _, err := io.WriteString(c, "*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$3\r\n100\r\n"); err != nil {
		return false
	}
	var replicas [4]byte // :0 or :1
	_, err := io.ReadFull(c, replicas[:])
	return err == nil
}

// slowIn reports whether a slow write overlapped a sampling; those that have not ended by now are waited for.
func (w *writers) slowIn(from, to time.Time) bool {
	for i := range w.under {
		for at := w.under[i].Load(); at > 0 && at < to.UnixNano() && w.under[i].Load() == at; {
			time.Sleep(100 * time.Microsecond)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.slow {
		if s.from.Before(to) && s.to.After(from) {
			return true
		}
	}
	if len(w.slow) > 1000 {
		w.slow = w.slow[500:]
	}
	return false
}

// tornConfig reads the same keys by two classes: one with versions, one without.
func tornConfig(nodes string) string {
	var keys []string
	for i := range tornKeys {
		keys = append(keys, tornKey(i))
	}
	list := strings.Join(keys, ", ")
	return "layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n" + nodes +
		"canaries:\n  - {class: versioned, keys: [" + list + "], layers: [l2], version: {json: \"$.v\"}}\n" +
		"  - {class: plain, keys: [" + list + "], layers: [l2], ignore: [\"$.v\"]}\n"
}

// TestTornReads: copies that are being written are never called stale or undecided.
func TestTornReads(t *testing.T) {
	for _, tt := range []struct {
		name  string
		nodes int
		gap   time.Duration
		pair  bool // a primary with its replica
	}{
		{"pair", 2, 0, false},
		{"pair with 3 ms", 2, 3 * time.Millisecond, false},
		{"trio", 3, 0, false},
		{"trio with 3 ms", 3, 3 * time.Millisecond, false},
		{"primary and replica", 2, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var nodes []*servers.RedisServer
			var addresses []string
			for range tt.nodes {
				r := servers.Redis(t)
				nodes, addresses = append(nodes, r), append(addresses, r.Addr)
			}
			cfg := tornConfig(redisNodes(addresses...))
			written := nodes
			if tt.pair {
				nodes[1].Follow(t, nodes[0])
				written = nodes[:1]
				cfg = tornConfig(fmt.Sprintf("      - {name: pair, redis: {replication: [\"%s\"]}}\n", nodes[0].Addr))
			}
			w := startWriters(t, tt.gap, tt.pair, written...)
			if tt.pair { // a new replica is sent nothing until it has acknowledged, which it does once a second
				servers.Eventually(t, "the replica has every key", func() bool { return nodes[1].DBSize(t.Context()).Val() == tornKeys })
			}
			e := start(t, cfg)
			e.tornReads(w, counts(10_000))
			if tt.nodes == 3 {
				e.cutOff(w)
			}
		})
	}
}

// unsettled are the series of copies that are there in a state which no writing may bring about. Parsing the whole page
// would take longer than the sampling. A single primary's copies may be unverified.
func unsettled(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "cacheinv_canary_copies{") || strings.HasSuffix(line, " 0\n") {
			continue
		}
		if !strings.Contains(line, `state="fresh"`) && !strings.Contains(line, `state="unverified"`) {
			out = append(out, line)
		}
	}
	return out
}

func (e *exporter) tornReads(w *writers, samplings int) {
	e.t.Helper()
	left, wrong, before := 0, 0, w.writes.Load()
	began := time.Now()
	for range samplings {
		from := time.Now()
		text := e.get(10 * time.Second)
		if w.slowIn(from, time.Now()) {
			left++
			continue
		}
		if lines := unsettled(text); len(lines) > 0 {
			if wrong++; wrong < 4 {
				e.t.Errorf("after %v:\n%s", time.Since(began), strings.Join(lines, ""))
			}
		}
	}
	if p := e.scrape(10 * time.Second); p.sum("canary_copies") != float64(2*tornKeys*len(w.nodes)) && !strings.Contains(e.t.Name(), "replica") {
		e.t.Errorf("not every copy was read:\n%s", p.ours())
	}
	e.t.Logf("%d samplings in %v, %d of them with a write over %v (not judged), %d wrong; %d writes",
		samplings, time.Since(began).Round(time.Second), left, slowWrite, wrong, w.writes.Load()-before)
	if left == samplings {
		e.t.Errorf("no sampling could be judged")
	}
}

// cutOff lets the writers lose the last node, which still answers: with versions, each copy there that was overwritten
// elsewhere is stale at the second sampling at the latest.
func (e *exporter) cutOff(w *writers) {
	e.t.Helper()
	last := len(w.nodes) - 1
	w.reach.Store(int64(last))
	var at [tornKeys]int64
	for i := range at {
		at[i] = w.written[i].Load()
	}
	servers.Eventually(e.t, "every key is overwritten elsewhere", func() bool {
		for i := range at {
			if w.written[i].Load() < at[i]+2 { // the first may have begun before
				return false
			}
		}
		return true
	})
	e.scrape(10 * time.Second)
	p := e.scrape(10 * time.Second)
	node := fmt.Sprintf("redis-%d", last+1)
	p.want(tornKeys, "canary_copies", "class", "versioned", "node", node, "state", "stale")
	p.want(tornKeys, "canary_convicted_copies", "class", "versioned", "node", node, "reference", "version")
	for i := range last {
		p.want(0, "canary_copies", "class", "versioned", "node", fmt.Sprintf("redis-%d", i+1), "state", "stale")
	}
}
