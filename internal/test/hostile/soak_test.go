package hostile

import (
	"math"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// soak tells whether the long variants run.
var soak = os.Getenv("CACHEINV_SOAK") != ""

// forgottenAfter so long the exporter has forgotten classes, and nodes that left (--discovery.forget-after), with room for its scrapes.
const forgottenAfter = 11 * time.Minute

// remembered of all attackers together is at most so many bytes, most of it on which nodes their keys were. A short siege does not last
// until it is all there.
const remembered = 24e6

// kept of the 10,000 servers that were asked last are at most so many bytes, for as long as the process lives.
const kept = 8e6

// pick gives what is long in a soak, and what is short elsewhere.
func pick[T any](long, short T) T {
	if soak {
		return long
	}
	return short
}

// watched is a Victim whose scrapes are compared with the one before.
type watched struct {
	*Victim
	last page
	// least heap that was seen since it was last asked for: what is there just after a collection.
	least float64
}

func watch(v *Victim) *watched { return &watched{Victim: v, least: math.Inf(1)} }

// look scrapes, and demands that nothing is wrong with the copies of these classes, and that no count went back.
func (w *watched) look(t testing.TB, classes ...string) page {
	t.Helper()
	p := parsePage(t, w.Scrape(t))
	for _, class := range append(classes, "honest") {
		p.rightAbout(t, class)
	}
	p.sane(t, w.last)
	w.last = p
	w.least = min(w.least, vitalsOf(t, p).heap)
	return p
}

// live gives the least heap since the last call.
func (w *watched) live() float64 {
	least := w.least
	w.least = math.Inf(1)
	return least
}

// alive looks until the collector has run twice more, and gives the least heap meanwhile.
func (w *watched) alive(t testing.TB, classes ...string) float64 {
	t.Helper()
	w.live()
	collections := func() uint64 { return w.last["go_gc_duration_seconds"].GetMetric()[0].GetSummary().GetSampleCount() }
	w.look(t, classes...)
	for began := collections(); collections() < began+2 && !t.Failed(); {
		w.look(t, classes...)
	}
	return w.live()
}

// reload has the victim take a configuration with these attacks.
func (w *watched) reload(t testing.TB, attacks ...Config) {
	t.Helper()
	w.configure(t, attacks...)
	loaded := func() float64 {
		return parsePage(t, w.Scrape(t)).gauge(t, "cacheinv_config_last_reload_success_timestamp_seconds")
	}
	before := loaded()
	if err := syscall.Kill(w.PID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	servers.Eventually(t, "the configuration is reloaded", func() bool { return loaded() > before })
}

// grown demands that the heap did not grow beyond some room for chance.
func grown(t testing.TB, from, to float64) {
	t.Helper()
	if to > from*1.5+(8<<20) {
		t.Errorf("%.1f MB were held at first, and %.1f MB at last", from/1e6, to/1e6)
	}
}

// What one exporter lives through for hours, and in an ordinary run for a minute.
func TestSoak(t *testing.T) {
	binary := build(t)
	t.Run("faults", func(t *testing.T) { testFaults(t, binary) })
	t.Run("siege", func(t *testing.T) { testSiege(t, binary) })
}

// Scrapes while networks fail, servers are killed and begin anew, and hostile ones come and go: each healthy node is in each scrape, no
// copy is called wrong, no count goes back, and in the end nothing is left of it.
func testFaults(t *testing.T, binary string) {
	t.Parallel()
	scrapes, end := pick(10_000, 500), time.Now().Add(pick(150*time.Minute, 45*time.Second))
	estate, frail := newEstate(t)
	var hostile []Config
	for _, a := range streams() {
		hostile = append(hostile, a.Start(t))
	}
	w := watch(Start(t, binary, 4, nil))
	w.timeout = 3 * time.Second
	w.reload(t, frail)
	first := w.alive(t, "frail", "frail_pattern")
	calm := vitalsOf(t, w.last)
	done := 0
	for ; done < scrapes && time.Now().Before(end) && !t.Failed(); done++ {
		estate.change()
		switch done % 50 {
		case 10:
			w.reload(t, frail, hostile[rand.IntN(len(hostile))])
		case 12:
			w.reload(t, frail)
		}
		w.look(t, "frail", "frail_pattern")
		if done == scrapes/4 {
			first = w.live()
		}
	}
	if soak && done < scrapes {
		t.Errorf("there was time for %d scrapes alone", done)
	}
	t.Logf("%d scrapes; %.1f MB at the peak", done, float64(w.PeakMemory(t))/1e6)
	estate.calm()
	w.reload(t, frail)
	w.rests(t, calm)
	grown(t, first, w.alive(t, "frail", "frail_pattern"))
	w.Small(t)
}

// All attacks in random order against one exporter that watches twelve honest nodes: it stays up and small, and tells all of them at
// each scrape. What it remembers of the attackers does not grow from a quarter of the siege on, when the first of them are forgotten, and
// some time after the last attack it is gone.
func testSiege(t *testing.T, binary string) {
	t.Parallel()
	const together, scrapes = 3, 2
	w := watch(Start(t, binary, 12, nil))
	w.timeout = 3 * time.Second
	quiet := w.alive(t)
	calm, first := vitalsOf(t, w.last), pick(quiet, remembered)
	var attacks []Config
	var names []string
	for _, a := range Attacks() {
		attacks, names = append(attacks, a.Start(t)), append(names, a.Name)
	}
	rounds := 0
	lasts := pick(time.Hour, 3*time.Minute)
	paced := time.NewTicker(2 * time.Second) // the machine has other tests, too
	defer paced.Stop()
	began := time.Now()
	end := began.Add(lasts)
	goesOn := func() bool { return !t.Failed() && (rounds == 0 || time.Now().Before(end)) }
	for ; goesOn(); rounds++ {
		order := rand.Perm(len(attacks))
		for len(order) > 0 && goesOn() {
			n := min(together, len(order))
			var now []Config
			var called []string
			for _, i := range order[:n] {
				now, called = append(now, attacks[i]), append(called, names[i])
			}
			order = order[n:]
			w.reload(t, now...)
			for range scrapes {
				<-paced.C
				w.look(t)
			}
			w.Small(t)
			if t.Failed() {
				t.Logf("under attack by %v", called)
			}
		}
		if held := w.live(); rounds == 0 || time.Since(began) < lasts/4 {
			first = max(first, held)
		}
	}
	t.Logf("%d attacks in %d rounds; %.1f MB at the peak", len(attacks), rounds, float64(w.PeakMemory(t))/1e6)
	w.reload(t)
	w.rests(t, calm)
	grown(t, first, w.alive(t))
	if soak {
		for forgotten := time.Now().Add(forgottenAfter); time.Now().Before(forgotten); {
			<-paced.C
			w.look(t)
		}
		grown(t, max(quiet, kept), w.alive(t))
	}
}
