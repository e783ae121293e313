package detection

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/internal/test/shop"
)

var healthySoak = flag.Duration("healthy", time.Hour, "how long a healthy day lasts in a soak")

// healthyFor is how long a healthy day lasts; what happens in it happens at parts of it.
func healthyFor() time.Duration {
	if soak {
		return *healthySoak
	}
	return time.Minute
}

// TestHealthy: a shop with 1,000 changes a second, whose caches evict, whose application is deployed again and again, with one
// restart of a node and one of the exporter. Nothing pages.
func TestHealthy(t *testing.T) {
	t.Parallel() // most of it is waiting
	s := openStation(t)
	small := []string{"--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru"}
	sh := shop.Open(t, shop.Options{Kafka: true, Keys: 1000, Batch: true, Redis: small, Memcached: []string{"-m", "8"}})
	sh.Trade(1000)
	sh.Crowd(200)
	path := filepath.Join(t.TempDir(), "cacheinv.yml")
	if err := os.WriteFile(path, []byte(sh.Config()), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := servers.FreeAddr(t)
	exporter := servers.Exporter(t, s.binary, addr, s.flags(path)...)
	s.watch("healthy", addr)

	began := time.Now()
	at := func(part float64) func() bool {
		return func() bool { return time.Since(began) > time.Duration(part*float64(healthyFor())) }
	}
	var deploying sync.WaitGroup
	over := make(chan struct{})
	deploying.Go(func() { deploys(sh, over) })
	until := func(what string, ok func() bool) {
		for !ok() { // as long as the day is
			time.Sleep(interval)
			if pages := s.pages(""); len(pages) > 0 {
				close(over)
				deploying.Wait()
				t.Fatalf("before %s it pages: %v\n%s", what, pages, s.evidence(t, "healthy", time.Now().Add(-3*time.Minute)))
			}
		}
		t.Logf("%s: %s", time.Since(began).Round(time.Second), what)
	}
	until("a node is restarted", at(0.3))
	sh.Restart(1)
	until("the exporter is restarted", at(0.6))
	exporter.Stop()
	servers.Exporter(t, s.binary, addr, s.flags(path)...)
	until("the day is over", at(1))
	close(over)
	deploying.Wait()

	lasted := time.Since(began)
	rate := float64(sh.Written.Load()) / lasted.Seconds()
	if rate < 500 {
		t.Errorf("only %.0f changes a second: that is no load", rate)
	}
	for _, query := range []string{
		`sum(max_over_time(cacheinv_node_evicted_total{layer="l2"}[1h])) > 0`,
		`sum(max_over_time(cacheinv_node_evicted_total{layer="l3"}[1h])) > 0`,
		`max(max_over_time(cacheinv_app_distinct_versions[1h])) == 2`,
		`sum(max_over_time(cacheinv_canary_copies{state="fresh"}[1h])) > 0`,
		`resets(cacheinv_node_uptime_seconds{node="redis-2"}[1h]) >= 1`,
		`changes(process_start_time_seconds{cluster="healthy"}[1h]) == 1`,
	} {
		if len(s.prom.Query(t, query)) == 0 {
			t.Errorf("it was no such day: %s is nothing", query)
		}
	}
	scrapes := s.scrapes(t, "healthy", began, time.Now(), false)
	if scrapes < int(healthyFor()/interval)/2 {
		t.Errorf("only %d scrapes", scrapes)
	}
	tickets := s.tickets("healthy")
	var fired []string
	for _, series := range s.prom.Query(t, `count by (alertname) (count_over_time(ALERTS{alertstate="firing",severity!="none"}[1h]))`) {
		fired = append(fired, string(series.Metric["alertname"]))
	}
	slices.Sort(fired)
	t.Logf("%v with %.0f changes and %.2f scrapes a second; tickets: %v; alerts that fired: %v", lasted.Round(time.Second), rate,
		float64(scrapes)/lasted.Seconds(), tickets, fired)
	writeDetection(t, "healthy", fmt.Sprintf(`%s (%s at a scrape each 15 s) of %.0f changes a second, with caches that evict, a rolling deployment every half
minute, one restart of a Redis and one of the exporter: %.2f scrapes a second, no page.

| alerts that fired | tickets |
|---|---|
| %s | %s |
`, lasted.Round(time.Second), lasted.Round(time.Second)*factor, rate, float64(scrapes)/lasted.Seconds(), names(fired), names(tickets)))
}

// deploys a release after the other until over, instance by instance.
func deploys(sh *shop.Shop, over <-chan struct{}) {
	const step, between = 3 * time.Second, 20 * time.Second // 45 s and 5 min at the usual speed
	pause := func(d time.Duration) bool {
		select {
		case <-over:
			return false
		case <-time.After(d):
			return true
		}
	}
	releases := []string{"2.3.2", "2.4.0", "2.4.1", shop.Release}
	for n := 0; ; n++ {
		if !pause(between) {
			return
		}
		for i := range 3 {
			if !pause(step) {
				return
			}
			sh.Deploy(i, releases[n%len(releases)])
		}
	}
}
