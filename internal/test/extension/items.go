// Package extension shows that a backend is one folder and one line, and a signal one file and one line: both exist in this
// folder alone, and nothing else of the exporter knows them.
package extension

import (
	"context"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/collector"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
)

// docs: begin signal

// items is a signal: how many items the nodes of a layer hold, least and most. Nodes of one layer should hold as many.
var items = collector.Signal{Name: "items", New: newItems}

var itemsDesc = prometheus.NewDesc("cacheinv_layer_items", "Items on the node of the layer that holds the fewest, or the most.", []string{"layer", "which"}, nil)

func newItems(collector.Options) collector.Opener {
	return func(*collector.Setup) (collector.Collector, error) { return &itemsCollector{}, nil }
}

type itemsCollector struct{ bounds map[string]*bounds }

type bounds struct{ fewest, most float64 }

// Update implements collector.Collector.
func (c *itemsCollector) Update(_ context.Context, s *collector.Sampling, ch chan<- prometheus.Metric) error {
	c.bounds = map[string]*bounds{}
	for _, n := range s.Consistency().Nodes {
		if count := n.Survey.Items; n.Up && count.Known {
			b, ok := c.bounds[n.Layer]
			if !ok {
				b = &bounds{count.Value, count.Value}
				c.bounds[n.Layer] = b
			}
			b.fewest, b.most = min(b.fewest, count.Value), max(b.most, count.Value)
		}
	}
	for layer, b := range c.bounds {
		ch <- prometheus.MustNewConstMetric(itemsDesc, prometheus.GaugeValue, b.fewest, layer, "fewest")
		ch <- prometheus.MustNewConstMetric(itemsDesc, prometheus.GaugeValue, b.most, layer, "most")
	}
	return nil
}

// AddEvidence implements collector.Evidencer: what differs within a layer is a part of a diagnosis.
func (c *itemsCollector) AddEvidence(e *diagnosis.Evidence) {
	for layer, b := range c.bounds {
		if b.fewest != b.most {
			e.Settings = append(e.Settings, diagnosis.Setting{Layer: layer, Name: "items", Nodes: map[string][]string{
				strconv.FormatFloat(b.fewest, 'f', -1, 64): {"one node"}, strconv.FormatFloat(b.most, 'f', -1, 64): {"another"},
			}})
		}
	}
}

// docs: end signal
