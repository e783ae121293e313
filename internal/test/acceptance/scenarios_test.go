package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/internal/test/shop"
)

// betweenScrapes is what a Prometheus of these tests waits.
const betweenScrapes = time.Second

// causes as one scrape tells them, and the highest.
func (p page) causes() (scores map[string]float64, highest string) {
	scores = map[string]float64{}
	p.each("cause_score", func(l map[string]string, v float64) { scores[l["cause"]] = v })
	for _, c := range []string{"network", "queue", "config", "version", "logic"} {
		if scores[c] > scores[highest] {
			highest = c
		}
	}
	return scores, highest
}

// signs are the series that a cause may follow from, without those that are 0.
func (p page) signs() string {
	var b strings.Builder
	for l := range strings.Lines(p.ours()) {
		if !strings.HasPrefix(l, "cacheinv_canary_reads") && !strings.Contains(l, "fresh") && !strings.Contains(l, "key_consistent") && !strings.HasSuffix(l, " 0\n") {
			b.WriteString(l)
		}
	}
	return b.String()
}

// quiet: several scrapes of a healthy shop, none of which names a cause.
func (e *exporter) quiet(scrapes int) {
	e.t.Helper()
	for range scrapes {
		p := e.scrape(5 * time.Second)
		scores, _ := p.causes()
		if len(scores) != 5 {
			e.t.Fatalf("scores are %v in\n%s", scores, p.ours())
		}
		for c, score := range scores {
			if score > 0.2 {
				e.t.Fatalf("%s has %v on a healthy day, in\n%s", c, score, p.signs())
			}
		}
		time.Sleep(betweenScrapes / 10) // a scrape interval
	}
}

// found in two scrapes: the cause is the highest, and stands. It gives the second one's page.
func (e *exporter) found(cause string) page {
	e.t.Helper()
	e.scrape(5 * time.Second)
	time.Sleep(betweenScrapes) // a scrape interval
	p := e.scrape(5 * time.Second)
	if scores, highest := p.causes(); highest != cause || scores[cause] <= 0.2 {
		e.t.Errorf("the causes are %v, want %s, in\n%s", scores, cause, p.signs())
	}
	return p
}

// A healthy shop under load never shows a cause.
func TestHealthyShop(t *testing.T) {
	t.Parallel()
	s := shop.Open(t, shop.Options{Kafka: true})
	s.Trade(50)
	e := start(t, s.Config())
	e.quiet(200)
	if s.Written.Load() < 500 {
		t.Errorf("only %d writes: that is no load", s.Written.Load())
	}
}

func TestScenarioBacklog(t *testing.T) {
	t.Parallel()
	s := shop.Open(t, shop.Options{Kafka: true})
	s.Trade(100)
	e := start(t, s.Config())
	e.quiet(5)
	s.Slow.Store(int64(250 * time.Millisecond))
	for i := range 3000 {
		s.Publish(shop.Message{Key: fmt.Sprintf("product:%d:price", i), Version: 1})
	}
	p := e.found("queue")
	if depth := p.one("queue_depth", "queue", "list"); depth < 2500 {
		t.Errorf("the list's depth is %v", depth)
	}
	if depth := p.one("queue_depth", "queue", "topic"); depth < 2500 {
		t.Errorf("the topic's depth is %v", depth)
	}
}

// Invalidations and fills no longer reach one node of each layer, which go on serving what they have. The exporter reaches
// them all.
func TestScenarioNodesCutOff(t *testing.T) {
	t.Parallel()
	s := shop.Open(t, shop.Options{})
	s.Trade(100)
	e := start(t, s.Config())
	e.quiet(5)
	s.CutOff("redis-3", "memcached-2")
	// Writes must have missed them first, which takes a busy machine longer.
	servers.Eventually(t, "copies on both are stale", func() bool {
		return strings.Join(e.scrape(5*time.Second).nodes("stale"), " ") == "memcached-2 redis-3"
	})
	p := e.found("network")
	if got := strings.Join(p.nodes("stale"), " "); got != "memcached-2 redis-3" {
		t.Errorf("stale copies on %s", got)
	}
}

// A node that is cut off holds up the processor, so that the queue is not drained: both are told, the network first.
func TestScenarioCutOffWithBacklog(t *testing.T) {
	t.Parallel()
	s := shop.Open(t, shop.Options{})
	s.Trade(100)
	e := start(t, s.Config())
	e.quiet(5)
	s.Doors["redis-3"].Mute(true)
	s.L2[2].Freeze(t)
	t.Cleanup(func() { s.L2[2].Thaw(t) })
	for i := range 3000 { // while it waits for the timeouts
		s.Publish(shop.Message{Key: fmt.Sprintf("product:%d:price", i), Version: 1})
	}
	scores, _ := e.found("network").causes()
	if scores["queue"] <= 0.2 {
		t.Errorf("the queue has %v", scores["queue"])
	}
}

func TestScenarioLoop(t *testing.T) {
	t.Parallel()
	s := shop.Open(t, shop.Options{Kafka: true})
	s.Trade(20) // nothing that loops leaves the queue: what is written meanwhile must not make a backlog on a slow machine
	e := start(t, s.Config())
	e.quiet(5)
	s.Looping.Store(true)
	from := s.Succeeded.Load()
	servers.Eventually(t, "the loop turns", func() bool { return s.Succeeded.Load() > from+1000 })
	p := e.found("logic")
	if repeats := p.one("queue_sampled_repeats", "queue", "list"); repeats == 0 {
		t.Log("the list is empty by the time it is looked at") // the topic keeps what went through
	}
	if repeats := p.one("queue_sampled_repeats", "queue", "topic"); repeats < 100 {
		t.Errorf("%v repeats in the topic", repeats)
	}
	for _, line := range strings.Split(p.ours(), "\n") {
		if strings.HasPrefix(line, "cacheinv_queue_sampled") && strings.Contains(line, "user:") {
			t.Errorf("a key is a label: %s", line)
		}
	}
}

// A bulk import of distinct keys is no loop.
func TestScenarioImportIsNoLoop(t *testing.T) {
	t.Parallel()
	s := shop.Open(t, shop.Options{Kafka: true})
	s.Trade(100)
	e := start(t, s.Config())
	e.quiet(5)
	for i := range 900 {
		s.Publish(shop.Message{Key: fmt.Sprintf("product:%d:price", i), Version: 1})
	}
	for range 2 {
		p := e.scrape(5 * time.Second)
		if scores, _ := p.causes(); scores["logic"] > 0.2 {
			t.Errorf("an import is told as a loop: %v in\n%s", scores, p.signs())
		}
		time.Sleep(betweenScrapes) // a scrape interval
	}
}

func TestScenarioVersionDrift(t *testing.T) {
	s := shop.Open(t, shop.Options{})
	s.Trade(100)
	e := start(t, s.Config())
	e.quiet(5)
	s.Deploy(2, "2.2.9")
	e.found("version").want(2, "app_distinct_versions", "app", "web")
}

func TestScenarioFailedInvalidations(t *testing.T) {
	t.Parallel()
	s := shop.Open(t, shop.Options{})
	s.Trade(100)
	e := start(t, s.Config())
	e.quiet(5)
	s.Failing.Store(22)
	from := s.Failed.Load()
	servers.Eventually(t, "invalidations fail", func() bool { return s.Failed.Load() > from+20 })
	p := e.found("logic")
	if p.one("invalidation_failures_total") < 20 {
		t.Errorf("%v failures", p.one("invalidation_failures_total"))
	}
}

func TestScenarioConfigDrift(t *testing.T) {
	s := shop.Open(t, shop.Options{})
	s.Trade(100)
	e := start(t, s.Config())
	e.quiet(5)
	s.L2[1].Must(t, "config", "set", "maxmemory-policy", "allkeys-lru")
	e.found("config").want(2, "layer_distinct_configs", "layer", "l2", "setting", "eviction_policy")
}
