package rules_test

import (
	"testing"

	"github.com/cacheinv/cacheinv_exporter/alerts"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

// The thresholds that others draw, from the rules that are in use.
func TestThresholdsOfTheRules(t *testing.T) {
	files, err := rules.Load(alerts.Files)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range files.Rules() {
		if r.Alert != "" && r.Alert != "CacheInvalWatchdog" && r.Alert != "CacheInvalExporterAbsent" && r.Alert != "CacheInvalGroupIncomplete" && r.Alert != "CacheInvalLabelsRenamed" && r.Alert != "CacheInvalSubscribersMissing" && len(rules.Comparisons(r.Expr)) == 0 {
			t.Errorf("%s compares nothing with a number", r.Alert)
		}
	}
	for _, factor := range []float64{1, 10, 15, 60} {
		scaled, err := files.Scale(factor)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range scaled {
			text, err := f.YAML()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := rules.Parse(f.Name, text); err != nil {
				t.Errorf("by %v: %v", factor, err)
			}
		}
	}
}
