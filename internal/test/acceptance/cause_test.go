package acceptance

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/demo"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// causes of a page: the highest, and its score.
func (p page) cause() (highest string, score float64) {
	for _, c := range []string{"network", "queue", "config", "version", "logic"} {
		if v := p.one("cause_score", "cause", c); v > score {
			highest, score = c, v
		}
	}
	return highest, score
}

// TestCauseOfTheDemo: each scenario's cause is highest within two scrapes after its fault begins, and /api/v1/status says so.
func TestCauseOfTheDemo(t *testing.T) {
	t.Parallel()
	for scenario, cause := range map[string]string{
		demo.Partition: "network", demo.QueueBacklog: "queue", demo.VersionDrift: "version", demo.InvalidationLoop: "logic",
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			journal := &journal{}
			d, err := demo.Start(t.Context(), scenario, slog.New(slog.NewTextHandler(journal, nil)))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(d.Close)
			e := start(t, string(d.Config()))
			e.scrape(10 * time.Second)
			servers.Eventually(t, "the fault begins", func() bool { return strings.Contains(journal.String(), "fault=begins") })
			e.scrape(10 * time.Second)
			// Rates and growth need a second between the scrapes, as they have in life.
			time.Sleep(time.Second)
			page := e.scrape(10 * time.Second)
			if got, score := page.cause(); got != cause || score <= 0.2 {
				t.Errorf("highest is %q at %v, want %s:\n%s", got, score, cause, page.ours())
			}
			servers.Eventually(t, "the verdict is "+cause, func() bool {
				r := e.Report(t.Context(), 10*time.Second)
				return r != nil && r.Diagnosis.Verdict == cause
			})
		})
	}
}

// TestNoCauseOnAHealthySystem: under the demo's load no cause exceeds 0.2.
func TestNoCauseOnAHealthySystem(t *testing.T) {
	t.Parallel()
	d, err := demo.Start(t.Context(), demo.Healthy, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	e := start(t, string(d.Config()))
	for range max(counts(200), 50) {
		if cause, score := e.scrape(10 * time.Second).cause(); score > 0.2 {
			t.Fatalf("%s at %v:\n%s", cause, score, strings.Join(e.Report(t.Context(), 10*time.Second).Diagnosis.Steps[6].Evidence, "\n"))
		}
	}
}
