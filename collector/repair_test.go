package collector

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/cacheinv/cacheinv_exporter/internal/repair"
)

// counted gives what the collector sends, by strategy and outcome, where it is not 0; and how many series there are.
func counted(t *testing.T, c Collector) (map[string]float64, int) {
	t.Helper()
	ch := make(chan prometheus.Metric, 1000)
	if err := c.Update(t.Context(), nil, ch); err != nil {
		t.Fatal(err)
	}
	close(ch)
	out, series := map[string]float64{}, 0
	for m := range ch {
		var d dto.Metric
		if err := m.Write(&d); err != nil {
			t.Fatal(err)
		}
		series++
		if v := d.GetCounter().GetValue(); v != 0 {
			out[d.GetLabel()[1].GetValue()+" "+d.GetLabel()[0].GetValue()] = v
		}
	}
	return out, series
}

func line(strategy, outcome string) string {
	return fmt.Sprintf(`{"command":"repair","strategy":%q,"key":"k","outcome":%q}`+"\n", strategy, outcome)
}

func TestRepairsAreCounted(t *testing.T) {
	dir := t.TempDir()
	add := func(name, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	add("audit-1.jsonl", line("newest", "repaired")) // before the exporter began
	open := newRepairSignal(Options{AuditDir: dir})
	c, err := open(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name, text string
		want       map[string]float64
	}{
		{"audit-1.jsonl", "", map[string]float64{}},
		{"audit-1.jsonl", line("newest", "repaired") + line("newest", "changed"), map[string]float64{"newest repaired": 1, "newest changed": 1}},
		{"audit-2.jsonl", line("undo", "repaired") + `{"command":"repair","strategy":"del`, map[string]float64{"newest repaired": 1, "newest changed": 1, "undo repaired": 1}},
		{"audit-2.jsonl", `ete","outcome":"failed"}` + "\n", map[string]float64{"newest repaired": 1, "newest changed": 1, "undo repaired": 1, "delete failed": 1}},
		{"undo-2.jsonl", line("delete", "failed"), map[string]float64{"newest repaired": 1, "newest changed": 1, "undo repaired": 1, "delete failed": 1}},
		{
			"audit-3.jsonl", "no JSON\n" + line("magic", "failed") + line("delete", "lost") + strings.Repeat("x", 3*mostAuditLine) + "\n" +
				`{"command":"recover","strategy":"delete","outcome":"failed"}` + "\n" + line("delete", "failed"),
			map[string]float64{"newest repaired": 1, "newest changed": 1, "undo repaired": 1, "delete failed": 2},
		},
	} {
		add(step.name, step.text)
		got, series := counted(t, c)
		if fmt.Sprint(got) != fmt.Sprint(step.want) {
			t.Errorf("after %s: %v, want %v", step.name, got, step.want)
		}
		if series != len(repairStrategies)*len(repairOutcomes) {
			t.Errorf("%d series", series)
		}
	}
	// A file that goes takes nothing back, and another one of its name is read from its beginning.
	if err := os.Remove(filepath.Join(dir, "audit-3.jsonl")); err != nil {
		t.Fatal(err)
	}
	counted(t, c)
	add("audit-3.jsonl", line("majority", "repaired"))
	if got, _ := counted(t, c); got["delete failed"] != 2 || got["majority repaired"] != 1 {
		t.Errorf("a new file of a known name: %v", got)
	}
	again, err := open(nil) // a reload
	if got, _ := counted(t, again); err != nil || got["delete failed"] != 2 {
		t.Errorf("after a reload: %v (%v)", got, err)
	}
}

func TestRepairsWithoutAFolder(t *testing.T) {
	if c, err := newRepairSignal(Options{})(nil); c != nil || err != nil {
		t.Errorf("%v, %v", c, err)
	}
	c, err := newRepairSignal(Options{AuditDir: filepath.Join(t.TempDir(), "none")})(nil)
	if got, series := counted(t, c); err != nil || len(got) != 0 || series == 0 {
		t.Errorf("a folder that is not there yet: %v, %d series (%v)", got, series, err)
	}
}

// More than one sampling reads is left to the next ones, and counted once.
func TestRepairsOfALargeLog(t *testing.T) {
	dir := t.TempDir()
	open := newRepairSignal(Options{AuditDir: dir})
	one := line("origin", "repaired")
	lines := 2*mostAuditBytes/len(one) + 10
	if err := os.WriteFile(filepath.Join(dir, "audit-1.jsonl"), []byte(strings.Repeat(one, lines)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := open(nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0.0
	for range 4 {
		got, _ := counted(t, c)
		if got["origin repaired"] < seen || seen == 0 && got["origin repaired"] == float64(lines) {
			t.Errorf("%v of %d lines after %v", got["origin repaired"], lines, seen)
		}
		seen = got["origin repaired"]
	}
	if seen != float64(lines) {
		t.Errorf("%v of %d lines", seen, lines)
	}
}

// The label values are what the command writes.
func TestRepairLabels(t *testing.T) {
	if !slices.Equal(repairStrategies, repair.AuditStrategies()) || !slices.Equal(repairOutcomes, repair.Outcomes()) {
		t.Errorf("%v and %v; the command writes %v and %v", repairStrategies, repairOutcomes, repair.AuditStrategies(), repair.Outcomes())
	}
}
