package collector

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// weather is a signal that exists in this test alone. It counts its samplings over all configurations.
type weather struct{ samplings *float64 }

func newWeatherSignal(Options) Opener {
	samplings := new(float64)
	return func(*Setup) (Collector, error) { return weather{samplings}, nil }
}

func (w weather) Update(_ context.Context, s *Sampling, ch chan<- prometheus.Metric) error {
	*w.samplings++
	desc := prometheus.NewDesc("cacheinv_weather_samplings_total", "Samplings since start.", []string{"nodes"}, nil)
	ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, *w.samplings, strings.Repeat("x", len(s.Consistency().Nodes)))
	return nil
}

func (weather) AddEvidence(e *diagnosis.Evidence) {
	e.Apps = append(e.Apps, diagnosis.App{Name: "weather", Versions: map[string]string{"a": "rain", "b": "sun"}})
}

const unreachable = `
layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: redis-1, redis: {address: "redis://127.0.0.1:1/0"}}
canaries:
  - {class: user, keys: ["user:1"], layers: [l2]}
`

// A signal is one line of a table: its metrics, its flag, what it adds to the diagnosis and that it is unknown follow.
func TestSignalOfOneLine(t *testing.T) {
	off := map[string]*bool{"weather": new(bool)}
	for name, tt := range map[string]struct {
		enabled          map[string]*bool
		configured       bool
		metrics, unknown string
	}{
		"on":             {nil, true, `cacheinv_weather_samplings_total{nodes="x"} 2`, ""},
		"off":            {off, true, "", "its collector is off"},
		"not configured": {nil, false, `cacheinv_weather_samplings_total{nodes="x"} 2`, diagnosis.NotConfigured},
	} {
		t.Run(name, func(t *testing.T) {
			e := New(Options{
				Signals: append(slices.Clone(Signals), Signal{
					Name: "weather", Configured: func(*config.Config) bool { return tt.configured }, New: newWeatherSignal,
				}),
				Enabled: tt.enabled,
				Env:     &probes.Env{MaxValueBytes: 1 << 20, MaxBody: 1 << 20, Budget: probes.NewBudget(), Kept: probes.NewKept(), Log: slog.New(slog.DiscardHandler)},
			})
			t.Cleanup(e.Close)
			body := ""
			for range 2 { // what it remembers survives a change of the configuration
				cfg, err := config.Parse("test.yml", []byte(unreachable), backends.All)
				if err == nil {
					err = e.Load(cfg)
				}
				if err != nil {
					t.Fatal(err)
				}
				body = scrape(t, e, "5")
			}
			if got := strings.Contains(body, `cacheinv_collector_success{collector="weather"} 1`); got != (tt.metrics != "") || !strings.Contains(body, tt.metrics) {
				t.Errorf("no %s in\n%s", tt.metrics, ours(body))
			}
			r := e.Report(t.Context(), 5*time.Second)
			scores := map[diagnosis.Cause]float64{}
			for _, s := range r.Diagnosis.Scores {
				scores[s.Cause] = s.Score
			}
			if found := scores[diagnosis.Version] > 0; found != (tt.metrics != "") {
				t.Errorf("scores are %v", scores)
			}
			why := ""
			for _, u := range r.Evidence.Unknown {
				if u.Part == "weather" {
					why = u.Why
				}
			}
			if why != tt.unknown {
				t.Errorf("unknown is %q, want %q", why, tt.unknown)
			}
		})
	}
}

func TestSignalsHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Signals {
		if seen[s.Name] || s.Name == "" {
			t.Errorf("%q stands twice, or has no name", s.Name)
		}
		seen[s.Name] = true
	}
}
