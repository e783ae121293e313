package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// testHealthy: a day on which no delete is lost has nothing that survived, and nothing that came back, though keys are hot, caches evict,
// each kind of server begins anew, and the processor stands still. While it does, events wait, and at no other time. The broker, which others
// use too, begins anew once these let it.
func testHealthy(t *testing.T, binary string, broker *servers.KafkaServer, letBroker func()) {
	long, still := pick(time.Hour, 3*time.Minute), pick(90*time.Second, 20*time.Second)
	s := newShop(t, broker, "healthy")
	s.padding = strings.Repeat("x", 1000) // as large as what crowds the caches
	none := func(string) bool { return false }
	s.nodes = []*node{
		newInstance(t, "app-1", none), newInstance(t, "app-2", none),
		newRedis(t, "redis-1", none, "--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru"), newRedis(t, "redis-2", none),
		newMemcached(t, "memcached-1", none, "-m", "2"), newMemcached(t, "memcached-2", none),
	}
	began := time.Now()
	s.watch = newWatch(t, binary, s.config())
	s.trade()
	for _, n := range s.nodes {
		if n.name == "redis-1" || n.name == "memcached-1" {
			s.every(50*time.Millisecond, func() { s.crowd(n) })
		}
	}
	random := rand.New(rand.NewPCG(3, 4))
	s.every(time.Second/rate, func() {
		if !s.closed.Load() {
			s.change(s.popular(random))
		}
	})
	until := func(part float64, what string, do func()) {
		time.Sleep(time.Until(began.Add(time.Duration(part * float64(long)))))
		if s.convicted(t); t.Failed() {
			t.FailNow()
		}
		t.Logf("%s: %s", time.Since(began).Round(time.Second), what)
		do()
	}
	standStill := func() {
		s.stands.Store(true)
		time.Sleep(still)
		s.stands.Store(false)
	}
	until(0.15, "the processor stands still", standStill)
	for i, n := range []int{2, 4, 0} {
		until(0.4+0.1*float64(i), s.nodes[n].name+" begins anew", s.nodes[n].restart)
	}
	until(0.7, "the broker begins anew", func() {
		letBroker()
		broker.Restart(t)
	})
	until(0.85, "the processor stands still again", standStill)
	until(1, "the day is over", func() { s.closed.Store(true) })

	due := time.Now().Add(windows[1])
	time.Sleep(time.Until(due))
	servers.Eventually(t, "all looks are over", func() bool { return s.watch.over(due) })
	s.convicted(t)
	p := s.watch.page()
	for _, class := range classes {
		for _, result := range []string{"survived", "restored"} {
			equal(t, p, 0, "event_copy_checks_total", "class", class, "result", result)
		}
		for _, result := range []string{"waiting", "gone", map[string]string{versioned: "current", plain: "rewritten"}[class]} {
			if p.sum("event_copy_checks_total", "class", class, "result", result) == 0 {
				t.Errorf("it was no such day: of the class %s nothing was %s", class, result)
			}
		}
	}
	for _, n := range []string{"redis-1", "memcached-1"} {
		if p.sum("node_evicted_total", "node", n) == 0 {
			t.Errorf("it was no such day: %s evicted nothing", n)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	equal(t, p, float64(len(s.events)), "events_seen_total", "queue", "inv")
	equal(t, p, 0, "events_skipped_total")
	scrapes, _ := s.watch.account()
	results := map[string]float64{}
	for _, r := range []string{"error", "gone", "current", "waiting", "rewritten", "superseded", "unknown"} {
		results[r] = p.sum("event_copy_checks_total", "result", r)
	}
	t.Logf("%d invalidations, %d scrapes, results %v", len(s.events), len(scrapes), results)
}

// popular row: some are much more so than others.
func (s *shop) popular(r *rand.Rand) *row {
	each := len(s.rows) / len(classes)
	return s.rows[r.IntN(len(classes))*each+min(int(r.ExpFloat64()*4), each-1)]
}

// convicted: whether any look was told to have found something bad but an event that waited while the processor stood.
func (s *shop) convicted(t *testing.T) {
	t.Helper()
	scrapes, all := s.watch.account()
	s.mu.Lock()
	defer s.mu.Unlock()
	by := map[string]*event{}
	for _, e := range s.events {
		by[fmt.Sprint(e.row.key, e.at.UnixMilli())] = e
	}
	for l, got := range all {
		e := by[fmt.Sprint(l.key, l.at)]
		switch {
		case e == nil:
			t.Errorf("%+v is told to have %s, and there was no such event", l, got.result)
		case got.result != "waiting":
			t.Errorf("%s, %s after it: %s is told to have %s", e, l.window, l.node, got.result)
		case e.learned(scrapes, got.scrape):
			t.Errorf("%s, %s after it: %s is told to wait, and the processor had long passed it", e, l.window, l.node)
		}
	}
	// The latest alone are told one by one, and all are counted.
	for i := 1; i < len(scrapes); i++ {
		if scrapes[i].waiting > scrapes[i-1].waiting && !s.mayWait(scrapes, i) {
			t.Errorf("%v more looks of scrape %d are counted as waiting, and the processor had long passed all events", scrapes[i].waiting-scrapes[i-1].waiting, i)
		}
	}
}

// mayWait: some event that is looked at in a scrape was not long enough passed. The shop's lock is held.
func (s *shop) mayWait(scrapes []scrape, i int) bool {
	return slices.ContainsFunc(s.events, func(e *event) bool {
		return slices.ContainsFunc(windows, func(w time.Duration) bool {
			due := e.at.Add(w)
			return due.After(scrapes[i-1].start) && due.Before(scrapes[i].end) && !e.learned(scrapes, i)
		})
	})
}

// crowd a node with copies of others, so that it evicts.
func (s *shop) crowd(n *node) {
	value := `{"padding":"` + s.padding + `"}`
	for range 10 {
		if n.put(s.ctx, fmt.Sprintf("session:%d", rand.IntN(1_000_000)), value) != nil {
			return // the node is away
		}
	}
}
