package detection

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// scenario is an incident that should page once.
type scenario struct {
	// name, and what happens, for the table.
	name, what string
	// short: also outside a soak.
	short bool
	// cause that the page has to tell; "": it knows none.
	cause string
	// alert that has to be on it. Its condition is true within so many scrapes of the fault: what the design allows, and
	// how long it takes to be seen, come before.
	alert  string
	within int
	why    string // what the scrapes are for, beyond two
	// ticket instead of a page, or nothing at all.
	ticket, nothing bool
	// deaf node that the alert has to name, on a page or a ticket, within three scrapes of the looks that find it so.
	deaf string
	// open the estate.
	open func(t *testing.T, s *station) estate
}

// estate is what a scenario is played on.
type estate struct {
	// config of the exporter, or how it starts; then its fault comes by itself.
	config string
	start  func(t *testing.T) *servers.Process
	// fault that happens; it returns once it has. The exporter may be part of it.
	fault func(exporter *servers.Process)
}

// outcome of a scenario.
type outcome struct {
	scenario
	begins  time.Time // of the fault
	pages   []page
	tickets []string
	// seen and fired: scrapes from the fault until the alert was pending or fired, and until it fired.
	seen, fired int
	hold        time.Duration // the alert's own for, at this speed
	toPage      time.Duration // from the fault to the page
}

const (
	// healthyScrapes before the fault, in which nothing may page.
	healthyScrapes = 8
	// hopeless: it will not page any more; judge says so.
	hopeless = 2 * time.Minute
	// slack of evaluations: a scrape and an evaluation of the rules are not at the same moment, and one may be late.
	slack = 5
)

// afterwards is how many scrapes are waited for a second page.
func afterwards() int {
	if soak {
		return 45 // 11 minutes at the usual speed
	}
	return 25
}

// startExporter with a configuration, seen by the station as a cluster.
func (s *station) startExporter(t *testing.T, cluster string, e estate) *servers.Process {
	t.Helper()
	var p *servers.Process
	if e.start != nil {
		p = e.start(t)
	} else {
		path := filepath.Join(t.TempDir(), "cacheinv.yml")
		if err := os.WriteFile(path, []byte(e.config), 0o600); err != nil {
			t.Fatal(err)
		}
		p = servers.Exporter(t, s.binary, servers.FreeAddr(t), s.flags(path)...)
	}
	s.watch(cluster, p.Addr)
	t.Cleanup(func() { s.watch(cluster, "") })
	return p
}

// flags of an exporter whose own times that rules speak of are faster, too.
func (s *station) flags(config string) []string {
	return []string{"--config.file=" + config, "--queue.stall-window=" + scaled("60s"), "--discovery.forget-after=" + scaled("10m")}
}

// play a scenario.
func (s *station) play(t *testing.T, sc scenario) {
	e := sc.open(t, s)
	began := time.Now()
	exporter := s.startExporter(t, sc.name, e)
	if e.start == nil {
		await(t, "scrapes before the fault", func() bool { return s.scrapes(t, sc.name, began, time.Now(), false) >= healthyScrapes })
		if pages := s.pages(sc.name); len(pages) > 0 {
			t.Fatalf("before the fault it pages: %v\n%s", pages, s.evidence(t, sc.name, began))
		}
	}
	begins := time.Now()
	e.fault(exporter)
	happened := time.Now()
	if e.start != nil { // its fault came by itself, and this is when it says that it has
		begins = happened
	}
	if !sc.nothing {
		await(t, sc.alert, func() bool { return s.told(sc) || time.Since(happened) > hopeless })
	}
	told := time.Now()
	await(t, "scrapes after the page", func() bool { return s.scrapes(t, sc.name, told, time.Now(), true) >= afterwards() })

	o := &outcome{scenario: sc, begins: begins, pages: s.pages(sc.name), tickets: s.tickets(sc.name), toPage: told.Sub(begins)}
	if len(o.pages) > 0 {
		o.toPage = o.pages[0].at.Sub(begins)
	}
	s.times(t, o, happened)
	t.Logf("%s: %d pages, the first after %s; %s seen after %d scrapes, fired after %d, for %v; tickets %v; pages %v", sc.name, len(o.pages),
		o.toPage.Round(100*time.Millisecond), sc.alert, o.seen, o.fired, o.hold, o.tickets, o.pages)
	s.judge(t, o)
	if sc.deaf != "" {
		s.named(t, o)
	}
	s.mu.Lock()
	s.played = append(s.played, o)
	s.mu.Unlock()
}

// told: the scenario's alert has reached who should hear of it.
func (s *station) told(sc scenario) bool {
	if sc.ticket {
		return slices.Contains(s.tickets(sc.name), sc.alert)
	}
	pages := s.pages(sc.name)
	return len(pages) > 0 && slices.Contains(pages[0].alerts, sc.alert)
}

func (s *station) judge(t *testing.T, o *outcome) {
	t.Helper()
	var faults []string
	bad := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	defer func() {
		if len(faults) > 0 {
			t.Errorf("%s\n%s", strings.Join(faults, "\n"), s.evidence(t, o.name, o.begins))
		}
	}()
	switch {
	case o.nothing:
		if len(o.pages)+len(o.tickets) > 0 {
			bad("want nothing: pages %v, tickets %v", o.pages, o.tickets)
		}
		return
	case o.ticket && (len(o.pages) > 0 || !s.told(o.scenario)):
		bad("want a ticket alone: pages %v, tickets %v", o.pages, o.tickets)
	case !o.ticket && len(o.pages) != 1:
		bad("it pages %d times: %v", len(o.pages), o.pages)
	case !o.ticket && !s.told(o.scenario):
		bad("%s is not on the page: %v", o.alert, o.pages)
	case !o.ticket && o.pages[0].cause() != o.cause:
		bad("the page's cause is %q, want %q: %v", o.pages[0].cause(), o.cause, o.pages)
	}
	if o.seen > o.within {
		bad("%s is seen after %d scrapes, want %d", o.alert, o.seen, o.within)
	}
	if limit := o.within + int(o.hold/interval) + slack; o.fired > limit {
		bad("%s fires after %d scrapes, want %d", o.alert, o.fired, limit)
	}
}

// lookback is what an alert waits for in its expression, besides its for, at the usual speed.
type lookback struct {
	// series that has the value once it waits.
	series string
	value  model.SampleValue
	long   time.Duration
}

var lookbacks = map[string]lookback{
	// Harm has to last in a recorded rule, since what these alerts tell of it besides may change meanwhile.
	"CacheInvalPartitionSuspected": {"class:cacheinv_canary_harm:bool", 1, 2 * time.Minute},
	"CacheInvalVersionDrift":       {"class:cacheinv_canary_harm:bool", 1, 2 * time.Minute},
	// Each node, or exporter, for itself: one after the other may be restarted.
	"CacheInvalLayerUnreachable": {"cacheinv_node_up", 0, 2 * time.Minute},
	"CacheInvalExporterDown":     {"up", 0, time.Minute},
}

// times sets when the scenario's alert was seen and fired, and for how long it waits. Of its tiers those of the scenario's severity
// count.
func (s *station) times(t *testing.T, o *outcome, fault time.Time) {
	t.Helper()
	o.seen = s.scrapes(t, o.name, fault, time.Now(), true)
	o.fired = o.seen
	if o.nothing {
		return
	}
	severity := "page"
	if o.ticket {
		severity = "ticket"
	}
	tiers, err := s.rules.Alerts(o.alert)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range tiers {
		if r.Labels["severity"] == severity {
			o.hold = max(o.hold, r.For)
		}
	}
	alerts := fmt.Sprintf("ALERTS{cluster=%q,alertname=%q,severity=%q,alertstate=~%%q}", o.name, o.alert, severity)
	o.fired = s.scrapesUntil(t, o, fault, fmt.Sprintf(alerts, "firing"), 1)
	o.seen = s.scrapesUntil(t, o, fault, fmt.Sprintf(alerts, "pending|firing"), 1)
	if back, ok := lookbacks[o.alert]; ok {
		o.hold += back.long / factor
		o.seen = s.scrapesUntil(t, o, fault, fmt.Sprintf("%s{cluster=%q}", back.series, o.name), back.value)
	}
}

// scrapesUntil a series has a value, from the fault on.
func (s *station) scrapesUntil(t *testing.T, o *outcome, fault time.Time, selector string, value model.SampleValue) int {
	t.Helper()
	first := time.Now()
	for _, series := range s.prom.Samples(t, fmt.Sprintf("%s[%ds]", selector, int(time.Since(fault).Seconds())+1)) {
		for _, sample := range series.Values {
			if at := sample.Timestamp.Time(); sample.Value == value && at.After(fault) && at.Before(first) {
				first = at
			}
		}
	}
	return s.scrapes(t, o.name, fault, first, o.alert == "CacheInvalExporterDown")
}

// named within three scrapes: the deaf node, from the scrape on that first tells of five copies that survived there, which the alert asks
// for. At the usual speed that is the first that tells of any.
func (s *station) named(t *testing.T, o *outcome) {
	t.Helper()
	first := func(selector string, least model.SampleValue) time.Time {
		at := time.Now()
		for _, series := range s.prom.Samples(t, fmt.Sprintf(selector+"[%ds]", o.name, o.deaf, int(time.Since(o.begins).Seconds())+10)) {
			for _, sample := range series.Values {
				if x := sample.Timestamp.Time(); sample.Value >= least && x.Before(at) {
					at = x
				}
			}
		}
		return at
	}
	look := first(`cacheinv_event_copy_checks_total{cluster=%q,node=%q,result="survived"}`, 5)
	alert := first(`ALERTS{alertname="`+o.alert+`",alertstate="firing",cluster=%q,node=%q}`, 1)
	n := s.scrapes(t, o.name, look.Add(-interval/2), alert, true)
	t.Logf("%s: %s names %s in scrape %d of those that tell of it", o.name, o.alert, o.deaf, n)
	if n > 3 {
		t.Errorf("%s names %s after %d scrapes, want 3\n%s", o.alert, o.deaf, n, s.evidence(t, o.name, o.begins))
	}
}

// evidence of what was seen of a cluster since some moment, for who has to find out why.
func (s *station) evidence(t *testing.T, cluster string, since time.Time) string {
	t.Helper()
	var b strings.Builder
	for _, selector := range []string{
		`ALERTS{cluster=%q,alertname!="CacheInvalWatchdog"}`, `up{cluster=%q} == 0`, `cacheinv_cause_score{cluster=%q} > 0`, `cacheinv_node_up{cluster=%q} == 0`,
		`class:cacheinv_canary_overdue_copies:sum{cluster=%q} > 0`, `class:cacheinv_canary_overdue_copies:ratio{cluster=%q} > 0`,
		`class:cacheinv_canary_harm:bool{cluster=%q} > 0`, `class:cacheinv_canary_explained:bool{cluster=%q} > 0`,
		`class_queue:cacheinv_canary_blamed:info{cluster=%q,queue!=""}`, `queue:cacheinv_queue_ill:bool{cluster=%q} > 0`,
		`cacheinv_cause_node_score{cluster=%q} > 0`, `queue:cacheinv_queue_drain_seconds:rate2m{cluster=%q} > 60`,
		`queue:cacheinv_queue_processed:rate2m{cluster=%q}`, `queue:cacheinv_queue_oldest_message_age_seconds:max{cluster=%q} > 5`,
		`layer:cacheinv_node_up:ratio{cluster=%q} < 1`,
		`cacheinv_canary_survivor_copies{cluster=%q} > 0`,
		`sum by (node, state) (cacheinv_canary_copies{cluster=%q,state=~"stale|undecided|error"}) > 0`, `queue:cacheinv_queue_depth:max{cluster=%q} > 50`,
		`queue:cacheinv_queue_enqueued:rate1m{cluster=%q} > 20`, `queue:cacheinv_queue_sampled_repeats:ratio{cluster=%q} > 0.1`,
		`cacheinv_cluster_views{cluster=%q}`, `cacheinv_cluster_ok{cluster=%q} == 0`, `cacheinv_layer_masters{cluster=%q} > 1`,
		`cacheinv_replication_lag_seconds{cluster=%q} > 0`,
	} {
		for _, series := range s.prom.Range(t, fmt.Sprintf(selector, cluster), since.Add(-5*time.Second), time.Now(), interval) {
			for _, l := range []model.LabelName{"cluster", "job", "instance"} {
				delete(series.Metric, l)
			}
			fmt.Fprintf(&b, "%v:%s\n", series.Metric, spans(series.Values, since))
		}
	}
	return b.String()
}

// spans of seconds since a moment in which there were values, with the first and the last.
func spans(values []model.SamplePair, since time.Time) string {
	var b strings.Builder
	for i := 0; i < len(values); {
		k := i
		for k+1 < len(values) && values[k+1].Timestamp.Sub(values[k].Timestamp) <= interval*3/2 {
			k++
		}
		fmt.Fprintf(&b, " %.0f-%.0fs", values[i].Timestamp.Time().Sub(since).Seconds(), values[k].Timestamp.Time().Sub(since).Seconds())
		if values[i].Value != 1 || values[k].Value != 1 {
			fmt.Fprintf(&b, " (%.4v to %.4v)", values[i].Value, values[k].Value)
		}
		i = k + 1
	}
	return b.String()
}

// beside runs f beside the test. stop is closed at the test's end, which waits for f.
func beside(t *testing.T, f func(stop <-chan struct{})) {
	t.Helper()
	stop := make(chan struct{})
	var running sync.WaitGroup
	t.Cleanup(func() {
		close(stop)
		running.Wait()
	})
	running.Go(func() { f(stop) })
}
