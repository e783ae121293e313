package replay

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/servertest"
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
	// ticket instead of a page.
	ticket bool
	// open the estate.
	open func(t *testing.T) estate
}

// estate is what a scenario is played on.
type estate struct {
	// config of the exporter; without one, address is an exporter that runs.
	config string
	args   []string
	// start, instead of config.
	start func(t *testing.T) *servertest.Process
	// fault that happens; it returns once it has. The exporter may be part of it.
	fault func(exporter *servertest.Process)
}

// outcome of a scenario.
type outcome struct {
	scenario
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
	// afterwards is how many scrapes are waited for a second page: ten minutes and more at the usual speed.
	afterwards = 45
	// slack of evaluations: a scrape and an evaluation of the rules are not at the same moment, and one may be late.
	slack = 3
)

// startExporter with a configuration, seen by the station as a cluster.
func (s *station) startExporter(t *testing.T, cluster string, e estate) *servertest.Process {
	t.Helper()
	var p *servertest.Process
	if e.start != nil {
		p = e.start(t)
	} else {
		path := filepath.Join(t.TempDir(), "cacheinv.yml")
		if err := os.WriteFile(path, []byte(e.config), 0o600); err != nil {
			t.Fatal(err)
		}
		p = servertest.Exporter(t, s.binary, servertest.FreeAddr(t), s.flags(path, e.args...)...)
	}
	s.watch(cluster, p.Addr)
	t.Cleanup(func() { s.watch(cluster, "") })
	return p
}

// flags of an exporter whose own times that rules speak of are faster, too.
func (s *station) flags(config string, more ...string) []string {
	return append([]string{
		"--config.file=" + config, "--queue.stall-window=" + scaled("60s"), "--discovery.forget-after=" + scaled("10m"),
	}, more...)
}

// play a scenario.
func (s *station) play(t *testing.T, sc scenario) {
	e := sc.open(t)
	exporter := s.startExporter(t, sc.name, e)
	began := time.Now()
	await(t, "scrapes before the fault", func() bool { return s.scrapes(t, sc.name, began, time.Now(), false) >= healthyScrapes })
	if pages := s.pages(sc.name); len(pages) > 0 {
		t.Fatalf("before the fault it pages: %+v\n%s", pages, s.evidence(t, sc.name))
	}
	at := time.Now()
	e.fault(exporter)
	o := &outcome{scenario: sc}
	if sc.ticket {
		await(t, sc.alert, func() bool { return slices.Contains(s.tickets(sc.name), sc.alert) })
	} else {
		await(t, "a page with "+sc.alert, func() bool {
			pages := s.pages(sc.name)
			return len(pages) > 0 && (sc.alert == "" || slices.Contains(pages[0].alerts, sc.alert)) || s.hopeless(t, at)
		})
	}
	told := time.Now()
	await(t, "scrapes after the page", func() bool { return s.scrapes(t, sc.name, told, time.Now(), true) >= afterwards })

	o.pages, o.tickets = s.pages(sc.name), s.tickets(sc.name)
	if len(o.pages) > 0 {
		o.toPage = o.pages[0].at.Sub(at)
	} else {
		o.toPage = told.Sub(at)
	}
	holds, err := s.rules.Alerts(sc.alert)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range holds {
		o.hold = max(o.hold, r.For)
	}
	o.seen = s.scrapesUntil(t, sc, at, "pending|firing")
	o.fired = s.scrapesUntil(t, sc, at, "firing")
	t.Logf("%s: %d pages, first %s after %s, seen after %d scrapes, fired after %d, for %v; tickets %v; pages %+v", sc.name, len(o.pages), sc.alert,
		o.toPage.Round(100*time.Millisecond), o.seen, o.fired, o.hold, o.tickets, o.pages)
	s.judge(t, o)
	s.mu.Lock()
	s.played = append(s.played, o)
	s.mu.Unlock()
}

// hopeless: it has not paged for so long that it never will; what is wrong is told by judge.
func (s *station) hopeless(t *testing.T, since time.Time) bool {
	t.Helper()
	return time.Since(since) > 2*time.Minute
}

func (s *station) judge(t *testing.T, o *outcome) {
	t.Helper()
	bad := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s\n%s", fmt.Sprintf(format, args...), s.evidence(t, o.name))
	}
	switch {
	case o.ticket && len(o.pages) > 0:
		bad("it pages, and should not: %+v", o.pages)
	case !o.ticket && len(o.pages) != 1:
		bad("it pages %d times: %+v", len(o.pages), o.pages)
	case !o.ticket && !slices.Contains(o.pages[0].alerts, o.alert):
		bad("%s is not on the page: %+v", o.alert, o.pages)
	case !o.ticket && o.pages[0].cause() != o.cause:
		bad("the page's cause is %q, want %q: %+v", o.pages[0].cause(), o.cause, o.pages)
	}
	if o.seen > o.within {
		bad("%s is seen after %d scrapes, want %d", o.alert, o.seen, o.within)
	}
	if limit := o.within + int(o.hold/interval) + slack; o.fired > limit {
		bad("%s fires after %d scrapes, want %d", o.alert, o.fired, limit)
	}
}

// scrapesUntil the scenario's alert was in one of the states, from the fault on.
func (s *station) scrapesUntil(t *testing.T, sc scenario, fault time.Time, states string) int {
	t.Helper()
	first := time.Now()
	for _, series := range s.prom.Samples(t, fmt.Sprintf("ALERTS{cluster=%q,alertname=%q,alertstate=~%q}[%ds]",
		sc.name, sc.alert, states, int(time.Since(fault).Seconds())+1)) {
		for _, sample := range series.Values {
			if at := sample.Timestamp.Time(); at.After(fault) && at.Before(first) {
				first = at
			}
		}
	}
	return s.scrapes(t, sc.name, fault, first, true)
}

// evidence of what was seen of a cluster, for who has to find out why.
func (s *station) evidence(t *testing.T, cluster string) string {
	t.Helper()
	var b strings.Builder
	for _, query := range []string{
		`max by (alertname, alertstate, severity, cause, layer, node, queue, group, class) (ALERTS{cluster=%q})`,
		`max by (alertname, severity, layer, node, queue, group, class) (count_over_time(ALERTS{cluster=%q,alertstate="firing"}[3m]))`,
		`cacheinv_cause_score{cluster=%q}`, `max by (cause) (max_over_time(cacheinv_cause_score{cluster=%q}[3m]))`,
		`{cluster=%q,__name__=~".+:.+"} > 0`, `cacheinv_canary_copies{cluster=%q,state!="fresh"} > 0`, `cacheinv_node_up{cluster=%q} == 0`,
		`cacheinv_canary_overdue_copies{cluster=%q} > 0`, `cacheinv_canary_survivor_copies{cluster=%q} > 0`,
	} {
		query = fmt.Sprintf(query, cluster)
		fmt.Fprintf(&b, "# %s\n", query)
		for _, sample := range s.prom.Query(t, query) {
			delete(sample.Metric, "cluster")
			delete(sample.Metric, "job")
			delete(sample.Metric, "instance")
			fmt.Fprintf(&b, "%s %v\n", sample.Metric, sample.Value)
		}
	}
	return b.String()
}
