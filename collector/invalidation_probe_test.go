package collector

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	bundled "github.com/cacheinv/cacheinv_exporter/internal/bundle/settings"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/roundtrip"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// updated is a collector as the registry wants it.
type updated struct {
	t *testing.T
	Collector
}

func (updated) Describe(chan<- *prometheus.Desc) {}

func (u updated) Collect(ch chan<- prometheus.Metric) { _ = u.Update(u.t.Context(), nil, ch) }

func TestInvalidationProbeCounts(t *testing.T) {
	a, b := probes.Identity{Layer: "l2", Name: "a"}, probes.Identity{Layer: "l2", Name: "b"}
	counts := newRoundTripCounters()
	c := newRoundTripCollector([]string{"p"}, counts)
	counts.Nodes("p", []probes.Identity{a, b}, true)
	counts.Nodes("old", []probes.Identity{a}, true)
	if problems, err := testutil.CollectAndLint(updated{t, c}); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	if n := testutil.CollectAndCount(updated{t, c}); n != 10 {
		t.Errorf("%d series at the start, want 10", n)
	}
	counts.Sent("p", a)
	counts.Sent("p", a)
	counts.Gone("p", a, 30*time.Millisecond)
	counts.Failed("p", a, roundtrip.Lost, 90*time.Second, nil)
	refused := probes.Refusal(errors.New("NOPERM"))
	counts.Failed("p", b, roundtrip.Setup, time.Second, refused)
	counts.Nodes("p", []probes.Identity{a, b}, true) // nothing new
	ch := make(chan prometheus.Metric, 100)
	if err := c.Update(t.Context(), nil, ch); err == nil || !strings.Contains(err.Error(), "node b") || strings.Contains(err.Error(), "node a") {
		t.Errorf("%v", err)
	}
	var e diagnosis.Evidence
	c.AddEvidence(&e)
	told := map[string]diagnosis.RoundTrip{}
	for _, p := range e.RoundTrips {
		told[p.Node] = p
	}
	want := map[string]diagnosis.RoundTrip{
		"a": {Name: "p", Layer: "l2", Node: "a", Sent: 2, Lost: 1}, "b": {Name: "p", Layer: "l2", Node: "b", Failed: 1, Refused: 1, Refusal: refused},
	}
	if d := cmp.Diff(want, told, cmpopts.EquateErrors()); d != "" {
		t.Error(d)
	}
	err := testutil.CollectAndCompare(updated{t, c}, strings.NewReader(`
# HELP cacheinv_invalidation_probe_failures_total Invalidation probes that failed: lost (the node still served the old version after the timeout), publish (the message could not be published), setup (the node could not be written, or not be asked any more).
# TYPE cacheinv_invalidation_probe_failures_total counter
cacheinv_invalidation_probe_failures_total{layer="l2",node="a",probe="p",reason="lost"} 1
cacheinv_invalidation_probe_failures_total{layer="l2",node="a",probe="p",reason="publish"} 0
cacheinv_invalidation_probe_failures_total{layer="l2",node="a",probe="p",reason="setup"} 0
cacheinv_invalidation_probe_failures_total{layer="l2",node="b",probe="p",reason="lost"} 0
cacheinv_invalidation_probe_failures_total{layer="l2",node="b",probe="p",reason="publish"} 0
cacheinv_invalidation_probe_failures_total{layer="l2",node="b",probe="p",reason="setup"} 1
# HELP cacheinv_invalidation_probes_total Invalidation probes whose message was published while the node held the old version, counted once it is known what came of them (it went, it was lost, or the node could not be asked any more); those that a reload or the exporter's end cut off are not.
# TYPE cacheinv_invalidation_probes_total counter
cacheinv_invalidation_probes_total{layer="l2",node="a",probe="p"} 2
cacheinv_invalidation_probes_total{layer="l2",node="b",probe="p"} 0
`), "cacheinv_invalidation_probe_failures_total", "cacheinv_invalidation_probes_total")
	if err != nil {
		t.Error(err)
	}
	// A lost one is twice the larger of its timeout and the top bucket.
	sum, err := gathered(t, updated{t, c})
	if err != nil || sum != 180.03 {
		t.Errorf("the sum is %v, want 180.03 (%v)", sum, err)
	}
	c.AddEvidence(&e)
	if e.RoundTrips[0].Sent+e.RoundTrips[1].Sent+e.RoundTrips[0].Failed+e.RoundTrips[1].Failed != 0 {
		t.Errorf("told twice: %v", e.RoundTrips)
	}
	if ended := e.RoundTrips[0].Refused + e.RoundTrips[1].Refused; ended != 0 {
		t.Errorf("%v refusals are told twice", ended)
	}
	counts.Failed("p", b, roundtrip.Lost, time.Second, nil)
	if counts.at("p", b).refusal != nil {
		t.Error("a refusal outlives the next probe")
	}
	counts.Nodes("p", []probes.Identity{b}, false)
	if n := testutil.CollectAndCount(updated{t, c}); n != 10 {
		t.Errorf("%d series while not all nodes are known, want 10", n)
	}
	counts.Nodes("p", []probes.Identity{b}, true)
	if n := testutil.CollectAndCount(updated{t, c}); n != 5 {
		t.Errorf("%d series of one node, want 5", n)
	}
	counts.Nodes("p", []probes.Identity{a, b}, true)
	if sum, err := gathered(t, updated{t, c}); err != nil || sum != 180.03 {
		t.Errorf("a node that came back has the sum %v (%v)", sum, err)
	}
}

// gathered is the sum of node a's durations.
func gathered(t *testing.T, c prometheus.Collector) (float64, error) {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	for _, f := range families {
		if f.GetName() == "cacheinv_invalidation_probe_duration_seconds" {
			for _, m := range f.Metric {
				if m.Label[1].GetValue() == "a" {
					return m.Histogram.GetSampleSum(), err
				}
			}
		}
	}
	return 0, err
}

// No quantile is above the top bucket: a latency that the alert could never see exceeded is no setting.
func TestLatencyIsBelowTheTopBucket(t *testing.T) {
	top := time.Duration(roundTripBuckets[len(roundTripBuckets)-1] * float64(time.Second))
	for latency, want := range map[time.Duration]bool{top - time.Millisecond: true, top: false} {
		if _, err := (bundled.Values{}).With(bundled.Latency, fmt.Sprintf("%dms", latency.Milliseconds())); (err == nil) != want {
			t.Errorf("%s: %v", latency, err)
		}
	}
}
