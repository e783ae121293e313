package collector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// fakeHistory answers as the test says.
type fakeHistory struct {
	err     error
	counted probes.Attempts
	known   bool
	hang    chan struct{}
}

func (f *fakeHistory) Sample(context.Context) error {
	if f.hang != nil {
		<-f.hang
	}
	return f.err
}
func (f *fakeHistory) Attempts() (probes.Attempts, bool) { return f.counted, f.known }
func (*fakeHistory) Close()                              {}

// Each history by itself: one that is not known, one that failed after it had counted, and one that does not come back.
func TestHistoryCollector(t *testing.T) {
	unknown, failed := &fakeHistory{err: errors.New("throttled")}, &fakeHistory{err: errors.New("gone"), known: true}
	hung := &fakeHistory{known: true, hang: make(chan struct{})}
	well := &fakeHistory{known: true}
	defer close(hung.hang)
	c := newHistoryCollector([]config.History{{Name: "unknown"}, {Name: "failed"}, {Name: "hung"}, {Name: "well"}},
		[]probes.History{unknown, failed, hung, well}, newHistoryCounters())
	failed.counted, well.counted = probes.Attempts{Total: 3, Failed: 1}, probes.Attempts{Total: 10, Failed: 4}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	ch := make(chan prometheus.Metric, 100)
	err := c.Update(ctx, nil, ch)
	close(ch)
	for _, want := range []string{"history unknown: throttled", "history failed: gone", "history hung: not back in time"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	var got []string
	for m := range ch {
		var d dto.Metric
		if err := m.Write(&d); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(d.Label[0].GetValue(), " ", d.GetGauge().GetValue()+d.GetCounter().GetValue()))
	}
	want := []string{"unknown 0", "failed 0", "failed 3", "failed 1", "hung 0", "hung 0", "hung 0", "well 1", "well 10", "well 4"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	var e diagnosis.Evidence
	c.AddEvidence(&e)
	if len(e.Histories) != 4 || e.Histories[3].Attempts != 10 || e.Histories[3].Failures != 4 || !e.Histories[3].Up || e.Histories[0].Window != 0 {
		t.Errorf("%+v", e.Histories)
	}
}

// The evidence is of the last minute, of less where less is known, and never grows.
func TestRecentAttempts(t *testing.T) {
	began := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	r := &lastMinute{marks: []mark{{at: began}}}
	step := 100 * time.Millisecond
	for i := 1; i <= 3000; i++ { // five minutes with ten attempts a second, of which one fails
		at := began.Add(time.Duration(i) * step)
		total, failed, window := r.add(mark{at, probes.Attempts{Total: float64(i), Failed: float64(i / 10)}})
		if want := min(time.Duration(i)*step, recent); window < want || window > want+2*recentSteps {
			t.Fatalf("after %v the window is %v", at.Sub(began), window)
		}
		if want := window.Seconds() * 10; total != want || failed < want/10-1 || failed > want/10+1 {
			t.Fatalf("%v attempts and %v failures in %v", total, failed, window)
		}
	}
	if len(r.marks) > 70 {
		t.Errorf("%d marks are kept", len(r.marks))
	}
	// After a pause what is told is of the pause.
	if total, _, window := r.add(mark{began.Add(time.Hour), probes.Attempts{Total: 4000}}); window < 50*time.Minute || total < 1000 {
		t.Errorf("%v attempts in %v", total, window)
	}
}
