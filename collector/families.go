package collector

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Family describes one metric family that this exporter can give.
type Family struct {
	Name string
	// Type: gauge, counter or histogram.
	Type   string
	Labels []string
	Help   string
}

// dtoType is the type of a family of series.
func (f *Family) dtoType() *dto.MetricType {
	if f.Type == "counter" {
		return dto.MetricType_COUNTER.Enum()
	}
	return dto.MetricType_GAUGE.Enum()
}

// declared are all that were declared, in the order of their declaration.
var declared []Family

// Families are all families of this package, by name.
func Families() []Family {
	all := slices.Clone(declared)
	slices.SortFunc(all, func(a, b Family) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// typedDesc is a descriptor that knows the type of its values.
type typedDesc struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	family *Family
}

// gauge declares a family of gauges; name is without the prefix cacheinv_.
func gauge(name, help string, labels ...string) typedDesc {
	return declare(name, help, "gauge", prometheus.GaugeValue, labels)
}

// counter declares a family of counters; name is without the prefix cacheinv_.
func counter(name, help string, labels ...string) typedDesc {
	return declare(name, help, "counter", prometheus.CounterValue, labels)
}

func declare(name, help, kind string, value prometheus.ValueType, labels []string) typedDesc {
	name = "cacheinv_" + name
	family := Family{Name: name, Type: kind, Labels: labels, Help: help}
	declared = append(declared, family)
	return typedDesc{desc: prometheus.NewDesc(name, help, labels, nil), kind: value, family: &family}
}

// send gives one series of the family.
func (f typedDesc) send(ch chan<- prometheus.Metric, value float64, labels ...string) {
	ch <- f.series(value, labels...)
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// histogramOf durations in seconds, classic and native.
func histogramOf(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}
}
