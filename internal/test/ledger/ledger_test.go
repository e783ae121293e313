package ledger

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// pick what a soak has, or an ordinary run.
func pick[T any](soak, ordinary T) T {
	if os.Getenv("CACHEINV_SOAK") != "" {
		return soak
	}
	return ordinary
}

// TestEachInvalidationIsAccountedFor, where some deletes are lost and where none is, through whatever happens on a usual day.
func TestEachInvalidationIsAccountedFor(t *testing.T) {
	binary, broker := servers.Build(t), servers.Kafka(t)
	var ledger sync.WaitGroup
	t.Run("lost deletes", func(t *testing.T) {
		ledger.Add(1)
		t.Cleanup(ledger.Done)
		t.Parallel() // most of it is waiting
		testLostDeletes(t, binary, broker)
	})
	t.Run("healthy", func(t *testing.T) {
		t.Parallel()
		testHealthy(t, binary, broker, ledger.Wait)
	})
}

// testLostDeletes: each delete that was lost on the way to one node is told, with its key and its node, and nothing else is.
func testLostDeletes(t *testing.T, binary string, broker *servers.KafkaServer) {
	sent, share := pick(10_000, 500), pick(0.001, 0.04)
	s := newShop(t, broker, "ledger")
	s.nodes = []*node{
		newInstance(t, "app-1", s.losing("app-1")), newInstance(t, "app-2", s.losing("app-2")),
		newRedis(t, "redis-1", s.losing("redis-1")), newRedis(t, "redis-2", s.losing("redis-2")),
		newMemcached(t, "memcached-1", s.losing("memcached-1")), newMemcached(t, "memcached-2", s.losing("memcached-2")),
	}
	s.lossy = func(e *event, n *node) bool {
		h := fnv.New64a()
		_, _ = h.Write([]byte(e.String() + " on " + n.name)) // it never fails
		if rand.New(rand.NewPCG(h.Sum64(), 0)).Float64() >= share {
			return false
		}
		// Without anything that shows how old the copy is the exporter could not know.
		scrapes, _ := s.watch.account()
		c := e.row.last(n)
		return e.row.class == versioned || c != nil && c.removedBy.IsZero() && e.evidence(n, c, e.at, scrapes)
	}
	s.watch = newWatch(t, binary, s.config())
	s.trade()
	random := rand.New(rand.NewPCG(1, 2))
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for i := range sent {
		<-tick.C
		if i == sent/2 { // what is remembered outlives it
			s.watch.reload()
		}
		r := s.next(random)
		for r == nil { // all wait for looks
			time.Sleep(10 * time.Millisecond)
			r = s.next(random)
		}
		s.change(r)
		if t.Failed() {
			return
		}
	}
	due := time.Now().Add(windows[1])
	time.Sleep(time.Until(due))
	servers.Eventually(t, "all looks are over", func() bool { return s.watch.over(due) })
	s.balance(t)
}

// series of the event checks; without a node it is that of whole events.
type series struct{ class, node, window, result string }

// bad results, and one that there must not be.
var badResults = []string{"survived", "restored", "waiting", "error"}

// balance what was told with what happened.
func (s *shop) balance(t *testing.T) {
	scrapes, all := s.watch.account()
	p := s.watch.page()
	s.mu.Lock()
	defer s.mu.Unlock()
	events, lost, bad, must, unsure := map[string]float64{}, map[string]int{}, map[series]float64{}, 0, 0
	for _, e := range s.events {
		events[e.row.class]++
		for n := range e.lost {
			lost[n.layer]++
			lost[e.row.class]++
		}
		for _, window := range windows {
			worst := len(badResults)
			for _, n := range s.nodes {
				l := look{e.row.class, e.row.key, n.name, window.String(), e.at.UnixMilli()}
				got, isTold := all[l]
				delete(all, l)
				want := e.look(n, window, scrapes)
				if fault := e.wrong(n, want, got, isTold, scrapes); fault != "" {
					t.Errorf("%s, %s after it: %s of %s", e, window, fault, n.name)
				}
				switch {
				case want.must:
					must++
				case want.may:
					unsure++
				}
				if isTold {
					bad[series{e.row.class, n.name, window.String(), got.result}]++
					worst = min(worst, slices.Index(badResults, got.result))
				}
			}
			if worst < len(badResults) {
				bad[series{e.row.class, "", window.String(), badResults[worst]}]++
			}
		}
	}
	for l, r := range all {
		t.Errorf("%+v is told to have %s, and there was no such event", l, r.result)
	}
	s.count(t, p, events, bad)
	t.Logf("%d invalidations, %v deletes lost; %d looks had to be told, %d might have been; %d scrapes", len(s.events), lost, must, unsure, len(scrapes))
	for _, of := range append([]string{"l1", "l2", "l3"}, classes...) {
		if lost[of] == 0 {
			t.Errorf("no delete of %s was lost", of)
		}
	}
	if must < 20 || unsure*10 > must {
		t.Errorf("only %d looks had to be told, and of %d nobody knows", must, unsure)
	}
}

// wrong is what is wrong with what was told of a look at a node; empty: nothing. The shop's lock is held.
func (e *event) wrong(n *node, want truth, got told, isTold bool, scrapes []scrape) string {
	switch {
	case isTold && !want.may:
		return fmt.Sprintf("%q is told, and %s,", got.result, want.why)
	case !isTold && want.must:
		return fmt.Sprintf("nothing is told, and %s,", want.why)
	case !isTold:
		return ""
	case got.result == "waiting" && e.learned(scrapes, got.scrape):
		return `"waiting" is told, and the processor had long passed it,`
	case got.result == "survived" && (!e.lost[n] || e.committed.After(scrapes[got.scrape].end)):
		return `"survived" is told, and its delete was not lost, or not yet sent,`
	case got.result != "waiting" && got.result != "survived":
		return fmt.Sprintf("%q is told, which nothing did,", got.result)
	}
	return ""
}

// count what the counters must say. The shop's lock is held.
func (s *shop) count(t *testing.T, p page, events map[string]float64, bad map[series]float64) {
	t.Helper()
	for _, class := range classes {
		for _, w := range windows {
			window := w.String()
			equal(t, p, events[class], "event_checks_total", "class", class, "window", window)
			for _, n := range s.nodes {
				equal(t, p, events[class], "event_copy_checks_total", "class", class, "window", window, "node", n.name)
			}
			for _, result := range badResults {
				equal(t, p, bad[series{class, "", window, result}], "event_checks_total", "class", class, "window", window, "result", result)
				for _, n := range s.nodes {
					equal(t, p, bad[series{class, n.name, window, result}], "event_copy_checks_total",
						"class", class, "window", window, "node", n.name, "result", result)
				}
			}
		}
	}
	equal(t, p, float64(len(s.events)), "events_seen_total", "queue", "inv")
	equal(t, p, 0, "events_skipped_total")
}

// equal demands the sum of the series with these labels.
func equal(t *testing.T, p page, want float64, family string, labels ...string) {
	t.Helper()
	if got := p.sum(family, labels...); got != want {
		t.Errorf("%s%v is %v, and %v by the ledger", family, labels, got, want)
	}
}
