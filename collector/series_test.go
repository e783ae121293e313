package collector

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

func exposition(t *testing.T, families []*dto.MetricFamily) string {
	t.Helper()
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// someSeries of families with and without labels, in any order.
func someSeries() (out []*series) {
	for i := range 300 {
		lag := groupLag.series(float64(i), "q", "g"+strconv.Itoa(i%3), "topic", strconv.Itoa(i))
		out = append(out, lag, &series{typedDesc: groupLagSeconds, value: 0.5, labels: lag.labels}, groupProcessed.series(3, "q", "g"+strconv.Itoa(i)))
	}
	out = append(out, reloadTime.series(12), queueUp.series(1, "broken \xff", "kafka"))
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// What is gathered is what the library's registry gives of the same series, which also checks them.
func TestGatherSeriesAsARegistry(t *testing.T) {
	all := someSeries()
	var same metrics
	for _, s := range all {
		same = append(same, s)
	}
	want := same.gather()
	got := gatherSeries(all)
	if want.err != nil || got.err != nil {
		t.Fatal(want.err, got.err)
	}
	if diff := cmp.Diff(exposition(t, want.families), exposition(t, got.families)); diff != "" {
		t.Error(diff)
	}
}

func TestGatherSeriesOnce(t *testing.T) {
	again := someSeries()
	all := append(someSeries(), again[0], again[0])
	got := gatherSeries(all)
	if got.err == nil || strings.Count(got.err.Error(), again[0].family.Name) != 2 {
		t.Errorf("two series too many are told as %v", got.err)
	}
	if diff := cmp.Diff(exposition(t, gatherSeries(again).families), exposition(t, got.families)); diff != "" {
		t.Error(diff)
	}
}

func TestLabelsOfAnotherFamily(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a series without one of its labels was made")
		}
	}()
	queueUp.send(make(chan prometheus.Metric, 1), 1, "q")
}
