package hostile

import (
	"math"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// page is what one scrape said.
type page map[string]*dto.MetricFamily

func parsePage(t testing.TB, text string) page {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, tail(text))
	}
	return families
}

// each calls do for every series of a family.
func (p page) each(family string, do func(labels map[string]string, m *dto.Metric)) {
	for _, m := range p[family].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		do(labels, m)
	}
}

// gauge without labels.
func (p page) gauge(t testing.TB, family string) float64 {
	t.Helper()
	m := p[family].GetMetric()
	if len(m) != 1 {
		t.Fatalf("%d series of %s", len(m), family)
	}
	return m[0].GetGauge().GetValue()
}

// wrong are the families that say that something is wrong with copies.
var wrong = []string{
	"cacheinv_canary_divergent_keys", "cacheinv_canary_stale_copies", "cacheinv_canary_overdue_copies", "cacheinv_canary_survivor_copies",
	"cacheinv_canary_stray_copies", "cacheinv_canary_immortal_copies", "cacheinv_canary_version_conflict_keys",
}

// rightAbout demands that nothing is wrong with the copies of a class: a node may fail to tell of its own, and that is all.
func (p page) rightAbout(t testing.TB, class string) {
	t.Helper()
	p.each("cacheinv_canary_copies", func(labels map[string]string, m *dto.Metric) {
		state := labels["state"]
		if labels["class"] == class && (state == "stale" || state == "undecided") && m.GetGauge().GetValue() != 0 {
			t.Errorf("%v copies of %s are %s on %s", m.GetGauge().GetValue(), class, state, labels["node"])
		}
	})
	for _, family := range wrong {
		p.each(family, func(labels map[string]string, m *dto.Metric) {
			if labels["class"] == class && m.GetGauge().GetValue() != 0 {
				t.Errorf("%s%v is %v", family, labels, m.GetGauge().GetValue())
			}
		})
	}
}

// sane demands that each sample is a number, and that no count goes back. What a server counts is its own: it may begin anew.
func (p page) sane(t testing.TB, before page) {
	t.Helper()
	counted := before.counts()
	for series, now := range p.counts() {
		if was, ok := counted[series]; ok && now < was || now < 0 {
			t.Errorf("%s went from %v to %v", series, was, now)
		}
	}
	for name, f := range p {
		if strings.HasPrefix(name, "cacheinv_layer_") {
			continue // the configuration's: +Inf is without a limit
		}
		for _, m := range f.GetMetric() {
			if v := m.GetGauge().GetValue(); strings.HasPrefix(name, "cacheinv_") && (math.IsNaN(v) || math.IsInf(v, 0)) {
				t.Errorf("%s %v is %v", name, m.GetLabel(), v)
			}
		}
	}
}

// counts are the values of all counters and histograms, by series, without those that a node counts which is no honest one.
func (p page) counts() map[string]float64 {
	out := map[string]float64{}
	for name, f := range p {
		p.each(name, func(labels map[string]string, m *dto.Metric) {
			if strings.HasPrefix(name, "cacheinv_node_") && !strings.HasPrefix(labels["node"], "honest-") {
				return
			}
			series := name + labelSet(labels).String()
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				out[series] = m.GetCounter().GetValue()
			case dto.MetricType_HISTOGRAM:
				out[series] = float64(m.GetHistogram().GetSampleCount())
			}
		})
	}
	return out
}

func labelSet(labels map[string]string) model.LabelSet {
	out := model.LabelSet{}
	for name, value := range labels {
		out[model.LabelName(name)] = model.LabelValue(value)
	}
	return out
}
