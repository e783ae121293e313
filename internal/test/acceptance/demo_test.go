package acceptance

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/demo"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

var begins = regexp.MustCompile(`scenario=\S+ fault=begins nodes=(\S*)`)

// demoFault runs a scenario until its fault begins, and gives the nodes that the log names.
func demoFault(t *testing.T, scenario string) (*program, []string) {
	t.Helper()
	p := run(t, "demo", "--scenario="+scenario, "--scrape.min-interval=0s")
	var nodes string
	servers.Eventually(t, "the fault begins", func() bool {
		m := begins.FindStringSubmatch(p.out.String())
		if m != nil {
			nodes = strings.Trim(m[1], `"`)
		}
		return m != nil
	})
	return p, strings.Split(nodes, ",")
}

// later is a page of a moment from now, for what takes the demo a while: it shares the machine with those who wait.
func (p *program) later() page {
	time.Sleep(betweenScrapes / 2)
	return p.scrape()
}

// TestDemoPartition: the first scrape after the log line shows stale copies on the cut-off nodes, and nowhere else.
func TestDemoPartition(t *testing.T) {
	t.Parallel()
	p, nodes := demoFault(t, demo.Partition)
	page := p.scrape()
	slices.Sort(nodes)
	if got := page.nodes("stale"); !slices.Equal(got, nodes) || len(nodes) != 2 {
		t.Errorf("stale on %v, cut off are %v", got, nodes)
	}
}

// TestDemoHealthy: nothing is stale or undecided, over many scrapes.
func TestDemoHealthy(t *testing.T) {
	t.Parallel()
	p := run(t, "demo", "--scrape.min-interval=0s")
	for range 200 {
		page := p.scrape()
		if stale, undecided := page.nodes("stale"), page.nodes("undecided"); len(stale)+len(undecided) > 0 {
			t.Fatalf("stale on %v, undecided on %v", stale, undecided)
		}
		if fresh := page.nodes("fresh"); len(fresh) != 14 {
			t.Fatalf("fresh copies on %v alone", fresh)
		}
		for _, family := range []string{"node_up", "queue_up", "app_up", "collector_success", "config_last_reload_successful"} {
			page.each(family, func(labels map[string]string, v float64) {
				if v != 1 {
					t.Errorf("%s%v is %v", family, labels, v)
				}
			})
		}
	}
	promtool(t, p.get("/metrics"))
}

// TestDemoQueueBacklog: the depth passes 5,000 within 30 s of the start, and lag with it.
func TestDemoQueueBacklog(t *testing.T) {
	t.Parallel()
	p, _ := demoFault(t, demo.QueueBacklog)
	servers.Eventually(t, "a depth of 5,000", func() bool {
		page := p.scrape()
		return page.one("queue_depth", "kind", "kafka") > 5000 && page.sum("consumer_group_lag") > 5000
	})
	// Two queues that back up would be two pages.
	if page := p.scrape(); page.one("queue_depth", "kind", "redis_list") > 100 || page.one("queue_depth", "kind", "redis_stream") > 100 {
		t.Error("other queues are deep, too")
	}
}

// TestDemoVersionDrift shows in the versions, and in copies on the drifted instance alone.
func TestDemoVersionDrift(t *testing.T) {
	t.Parallel()
	p, nodes := demoFault(t, demo.VersionDrift)
	page := p.scrape()
	page.want(2, "app_distinct_versions")
	if got := page.nodes("stale"); !slices.Equal(got, nodes) {
		t.Errorf("stale on %v, drifted is %v", got, nodes)
	}
}

// TestDemoStaleSet: values come back on Redis and memcached after a first look had found their invalidation in effect, and the logic is why.
func TestDemoStaleSet(t *testing.T) {
	t.Parallel()
	p := run(t, "demo", "--scenario="+demo.StaleSet, "--scrape.min-interval=0s")
	servers.Eventually(t, "invalidations are looked at", func() bool {
		return p.later().sum("event_checks_total", "class", "user_profile", "window", "10s", "result", "current") > 20
	})
	servers.Eventually(t, "the fault begins", func() bool { return begins.MatchString(p.out.String()) })
	servers.Eventually(t, "values that came back", func() bool {
		page, came := p.later(), []string{"class", "user_profile", "window", "45s", "result", "restored", "layer"}
		return page.sum("event_copy_checks_total", append(came, "l2")...) > 0 && page.sum("event_copy_checks_total", append(came, "l3")...) > 0
	})
	for _, n := range p.scrape().nodes("stale") {
		if strings.HasPrefix(n, "app-") {
			t.Errorf("stale on %s, which is filled from the database", n)
		}
	}
	servers.Eventually(t, "the logic is the cause", func() bool {
		scores, highest := p.later().causes()
		return highest == "logic" && scores["logic"] > 0.2
	})
}

// TestDemoDeafInstance: the channel's subscriber is missed at the next scrape, and what the instance does not hear survives there alone.
func TestDemoDeafInstance(t *testing.T) {
	t.Parallel()
	p, nodes := demoFault(t, demo.DeafInstance)
	page := p.scrape()
	page.want(2, "queue_subscribers")
	page.want(3, "queue_expected_subscribers")
	if got := page.nodes("stale"); !slices.Equal(got, nodes) {
		t.Errorf("stale on %v, deaf is %v", got, nodes)
	}
	servers.Eventually(t, "what survives there", func() bool {
		return p.later().sum("event_copy_checks_total", "node", nodes[0], "window", "10s", "result", "survived") > 10
	})
	servers.Eventually(t, "the network is the cause", func() bool {
		scores, highest := p.later().causes()
		return highest == "network" && scores["network"] > 0.2
	})
	p.scrape().each("event_copy_checks_total", func(l map[string]string, v float64) {
		if v > 0 && l["node"] != nodes[0] && l["result"] != "current" && l["result"] != "gone" {
			t.Errorf("%v: %v", l, v)
		}
	})
}

// TestDemoInvalidationLoop: messages go round, and no copy is wrong.
func TestDemoInvalidationLoop(t *testing.T) {
	t.Parallel()
	p, _ := demoFault(t, demo.InvalidationLoop)
	before := p.scrape().one("queue_enqueued_total", "kind", "kafka")
	servers.Eventually(t, "the loop turns", func() bool {
		page := p.scrape()
		if stale := page.nodes("stale"); len(stale) > 0 {
			t.Fatalf("stale on %v", stale)
		}
		return page.one("queue_enqueued_total", "kind", "kafka") > before+1000
	})
}

// TestDemoSideBySide: several run at once, and Ctrl-C ends each cleanly.
func TestDemoSideBySide(t *testing.T) {
	t.Parallel()
	for i := range 2 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			p := run(t, "demo")
			began := time.Now()
			if err := p.end(interrupt); err != nil {
				t.Errorf("Ctrl-C: %v after %v; it says:\n%s", err, time.Since(began), p.out)
			}
		})
	}
}
