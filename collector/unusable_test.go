package collector

import (
	"math"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// A number that can be none costs its own series, and is told; names of any bytes stay distinct series.
func TestUnusableSeries(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1} {
		all := []prometheus.Metric{queueUp.series(1, "a", "kafka"), queueDepth.series(bad, "b", "kafka"), queueUp.series(0, "c", "kafka")}
		kept, err := usable(all)
		if len(kept) != 2 || kept[0] != all[0] || kept[1] != all[2] || err == nil || !strings.Contains(err.Error(), `cacheinv_queue_depth{kind="kafka",queue="b"}`) {
			t.Errorf("%v: %v, %v", bad, kept, err)
		}
	}
	var many []prometheus.Metric
	for range 1000 {
		many = append(many, queueDepth.series(-1, "b", "kafka"))
	}
	if kept, err := usable(many); len(kept) > 0 || strings.Count(err.Error(), "\n") != unusableNamed || !strings.Contains(err.Error(), "990 more") {
		t.Errorf("%v, %v", kept, err)
	}
	long := strings.Repeat("g", 900<<10)
	names := []string{"g\xff", "g\xfe", "g\uFFFD", `g\xff`, long, long + "2"}
	var groups []*series
	for _, name := range names {
		groups = append(groups, groupMembers.series(1, "q", name))
	}
	got := gatherSeries(groups)
	if got.err != nil || len(got.families[0].Metric) != len(names) {
		t.Errorf("%d series of %d, %v", len(got.families[0].Metric), len(names), got.err)
	}
	if text := exposition(t, got.families); len(text) > 4<<10 {
		t.Errorf("%d bytes are served", len(text))
	}
}
