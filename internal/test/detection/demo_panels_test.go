package detection

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/demo"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/grafana"
)

// notInTheDemo are parts of queries that have no data over the healthy demo, besides those that never have here, and why. Another
// query of the same panel has data.
var notInTheDemo = map[string]string{
	"cacheinv_cluster_views":                                 "the demo has no Redis Cluster",
	"cacheinv_canary_time_to_consistency_seconds:p99_rate1h": "nothing there was ever stale",
}

// excused queries may have no data over the demo.
func excused(q grafana.Query) bool {
	for _, reasons := range []map[string]string{neverHere, notInTheDemo} {
		for part := range reasons {
			if strings.Contains(q.Expr, part) {
				return true
			}
		}
	}
	return false
}

// TestNoPanelIsEmptyOverTheDemo asks the queries of all panels while the healthy demo runs, until each has had data once; and no panel
// has excuses alone.
func TestNoPanelIsEmptyOverTheDemo(t *testing.T) {
	s := openStation(t)
	s.watch("demo", demonstrated(demo.Healthy)(t, s).start(t).Addr)
	type one struct {
		where string
		query grafana.Query
	}
	var empty []one
	asked := 0
	for name, d := range loadDashboards(t) {
		panels := map[int]bool{}
		for _, q := range d.Queries(map[string]string{"__rate_interval": "1m", "cluster": "demo"}) {
			if q.Panel == 0 {
				continue // a variable, or marks of incidents, of which there is none
			}
			panels[q.Panel] = panels[q.Panel] || !excused(q)
			if !excused(q) {
				empty, asked = append(empty, one{name + ": " + q.Where, q}), asked+1
			}
		}
		for id, shown := range panels {
			if !shown {
				t.Errorf("%s: panel %d shows nothing over the demo", name, id)
			}
		}
	}
	if asked < 80 {
		t.Errorf("only %d queries", asked)
	}
	defer func() {
		for _, q := range empty {
			t.Logf("no data: %s\n%s", q.where, q.query.Expr)
		}
	}()
	paced := time.NewTicker(2 * interval) // there is nothing new between two scrapes, and many queries to ask
	defer paced.Stop()
	await(t, "data in every panel", func() bool {
		<-paced.C
		empty = slices.DeleteFunc(empty, func(q one) bool { return s.hasData(t, q.query) })
		return len(empty) == 0
	})
}

// hasData: Prometheus answers the query now with a number.
func (s *station) hasData(t *testing.T, q grafana.Query) bool {
	t.Helper()
	expr, err := fast(q)
	if err != nil {
		t.Fatalf("%s: %v", q.Where, err)
	}
	for _, sample := range s.prom.Query(t, expr) {
		if !math.IsNaN(float64(sample.Value)) {
			return true
		}
	}
	return false
}
