package collector

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// series of a gauge or a counter. Most of a scrape's thousands are these, and most of what the library's constant metrics and registry
// cost is label pairs, checks of what was checked when the family was declared, and a channel.
type series struct {
	typedDesc
	value  float64
	labels []*dto.LabelPair
}

// series of the family with the values of its labels.
func (f typedDesc) series(value float64, labels ...string) *series {
	return &series{typedDesc: f, value: value, labels: f.label(labels...)}
}

// label pairs of a series, which series of other families with the same labels can share.
func (f typedDesc) label(values ...string) []*dto.LabelPair {
	if len(values) != len(f.family.Labels) {
		panic(fmt.Sprintf("%d values for the labels of %s", len(values), f.family.Name))
	}
	cloned := false
	for i, v := range values {
		shown := probes.Shown(v) // what a server says of itself may be any bytes
		if shown == v {
			continue
		}
		if !cloned {
			values, cloned = slices.Clone(values), true
		}
		values[i] = shown
	}
	return prometheus.MakeLabelPairs(f.desc, values)
}

// sendWith gives one series with label pairs that other series have too.
func (f typedDesc) sendWith(ch chan<- prometheus.Metric, value float64, labels []*dto.LabelPair) {
	ch <- &series{typedDesc: f, value: value, labels: labels}
}

// further gives shared label pairs and one more, whose name comes behind all of theirs.
func further(shared []*dto.LabelPair, one *dto.LabelPair) []*dto.LabelPair {
	return slices.Concat(shared, []*dto.LabelPair{one})
}

// constantPairs are the label pairs of a name with each of the values from 0 to below n, by value.
func constantPairs[T interface {
	~uint8
	String() string
}](name string, n T) (pairs []*dto.LabelPair) {
	for v := range n {
		value := v.String()
		pairs = append(pairs, &dto.LabelPair{Name: &name, Value: &value})
	}
	return pairs
}

// Desc implements prometheus.Metric.
func (s *series) Desc() *prometheus.Desc { return s.desc }

// Write implements prometheus.Metric. What is written refers to the series, which is never changed.
func (s *series) Write(out *dto.Metric) error {
	out.Label = s.labels
	if s.kind == prometheus.CounterValue {
		out.Counter = &dto.Counter{Value: &s.value}
	} else {
		out.Gauge = &dto.Gauge{Value: &s.value}
	}
	return nil
}

// unusable says why a series that was sampled can't be given; empty: it can. No family of ours has values below 0.
func (s *series) unusable() string {
	switch {
	case math.IsNaN(s.value):
		return "is no number"
	case s.value < 0:
		return "is negative"
	case math.IsInf(s.value, 1):
		return "is infinite"
	}
	return ""
}

// unusableNamed are the most series that an error names.
const unusableNamed = 10

// usable gives the metrics that can be given, and an error for the others, whose numbers some server told.
func usable(all []prometheus.Metric) ([]prometheus.Metric, error) {
	unusable := func(m prometheus.Metric) bool {
		s, ok := m.(*series)
		return ok && s.unusable() != ""
	}
	if !slices.ContainsFunc(all, unusable) {
		return all, nil
	}
	var kept []prometheus.Metric
	var errs []error
	for _, m := range all {
		if !unusable(m) {
			kept = append(kept, m)
			continue
		}
		if s := m.(*series); len(errs) < unusableNamed {
			errs = append(errs, fmt.Errorf("%s%s %s, and is left out", s.family.Name, labelText(s.labels), s.unusable()))
		}
	}
	if more := len(all) - len(kept) - len(errs); more > 0 {
		errs = append(errs, fmt.Errorf("%d more series can't be given", more))
	}
	return kept, errors.Join(errs...)
}

// labelText as Prometheus writes them.
func labelText(labels []*dto.LabelPair) string {
	parts := make([]string, len(labels))
	for i, l := range labels {
		parts[i] = fmt.Sprintf("%s=%q", l.GetName(), l.GetValue())
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// compare series of one family by the values of their labels.
func (s *series) compare(o *series) int {
	for i, l := range s.labels {
		if c := strings.Compare(*l.Value, *o.labels[i].Value); c != 0 {
			return c
		}
	}
	return 0
}

// gathering is families, and what was wrong with some of their series.
type gathering struct {
	families []*dto.MetricFamily
	err      error
}

// gatherFrom a registry.
func gatherFrom(from prometheus.Gatherer) (g gathering) {
	g.families, g.err = from.Gather()
	return g
}

// with other families, by name. None is in both, which prometheus.Gatherers would check series by series.
func (g gathering) with(other gathering) gathering {
	all := slices.Concat(g.families, other.families)
	slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return gathering{all, errors.Join(g.err, other.err)}
}

// gatherSeries puts series into the order of their families and labels. One that is there twice is a fault of ours: Prometheus would
// refuse it, so it is given once.
func gatherSeries(all []*series) (g gathering) {
	slices.SortFunc(all, func(a, b *series) int {
		if a.desc == b.desc {
			return a.compare(b)
		}
		return cmp.Compare(a.family.Name, b.family.Name)
	})
	written := make([]dto.Metric, len(all))
	for i, s := range all {
		switch {
		case i == 0 || all[i-1].desc != s.desc:
			g.families = append(g.families, &dto.MetricFamily{Name: &s.family.Name, Help: &s.family.Help, Type: s.family.dtoType()})
		case all[i-1].compare(s) == 0:
			g.err = errors.Join(g.err, fmt.Errorf("%s%v was collected twice", s.family.Name, s.labels))
			continue
		}
		_ = s.Write(&written[i]) // it has no fault
		f := g.families[len(g.families)-1]
		f.Metric = append(f.Metric, &written[i])
	}
	return g
}

// metrics that are no series: histograms.
type metrics []prometheus.Metric

// Describe implements prometheus.Collector: which there are depends on the configuration.
func (metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	for _, one := range m {
		ch <- one
	}
}

func (m metrics) gather() gathering {
	if len(m) == 0 {
		return gathering{}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m)
	return gatherFrom(registry)
}
