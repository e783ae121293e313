package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

var layerDistinctConfigs = gauge("layer_distinct_configs",
	"Distinct values of the setting over the layer's nodes that reported theirs in this sampling; Redis is compared with Redis and "+
		"memcached with memcached, and the larger number counts.", "layer", "setting")

// noLimit is the memory limit of a node that has none, which differs from any other.
const noLimit = "none"

// settings that must agree within a layer. A node that does not report one is left out.
var settings = []struct {
	name string
	of   func(t probes.NodeTraits, s *probes.Survey) (value string, known bool)
}{
	{"eviction_policy", func(_ probes.NodeTraits, s *probes.Survey) (string, bool) {
		return s.EvictionPolicy, s.EvictionPolicy != ""
	}},
	{"memory_limit", memoryLimit},
	{"server_version", func(_ probes.NodeTraits, s *probes.Survey) (string, bool) { return s.Version, s.Version != "" }},
}

func memoryLimit(t probes.NodeTraits, s *probes.Survey) (string, bool) {
	if s.MemoryLimit.Known {
		return strconv.FormatFloat(s.MemoryLimit.Value, 'f', -1, 64), true
	}
	return noLimit, t.NoLimitUntold && s.EvictionPolicy != ""
}

// settingID is one setting of the servers of one kind in a layer.
type settingID struct{ layer, name, kind string }

func newConfigDriftSignal(Options) Opener {
	return func(*Setup) (Collector, error) { return &configDriftCollector{}, nil }
}

// configDriftCollector reports whether the nodes of a layer are configured alike.
type configDriftCollector struct {
	// values of the last sampling, and the nodes that have each.
	values map[settingID]map[string][]string
}

// Update implements Collector.
func (c *configDriftCollector) Update(_ context.Context, s *Sampling, ch chan<- prometheus.Metric) error {
	r := s.Consistency()
	c.values = map[settingID]map[string][]string{}
	var errs []error
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if !n.Traits.TellsSettings {
			continue
		}
		if n.Err != nil || !n.Up {
			errs = append(errs, fmt.Errorf("node %s: %w", n.Name, cmp.Or(n.Err, errNoAnswer)))
		}
		if n.Up {
			c.add(n)
		}
	}
	distinct := map[settingID]int{} // without kind
	for id, values := range c.values {
		id.kind = ""
		distinct[id] = max(distinct[id], len(values))
	}
	for id, n := range distinct {
		layerDistinctConfigs.send(ch, float64(n), id.layer, id.name)
	}
	return errors.Join(errs...)
}

func (c *configDriftCollector) add(n *consistency.NodeResult) {
	for _, s := range settings {
		value, known := s.of(n.Traits, &n.Survey)
		if !known {
			continue
		}
		value = probes.Shown(value) // it is quoted as evidence
		id := settingID{n.Layer, s.name, n.Kind}
		if c.values[id] == nil {
			c.values[id] = map[string][]string{}
		}
		c.values[id][value] = append(c.values[id][value], n.Name)
	}
}

// AddEvidence implements Evidencer: all settings, those of Redis and of memcached apart.
func (c *configDriftCollector) AddEvidence(e *diagnosis.Evidence) {
	ids := slices.SortedFunc(maps.Keys(c.values), func(a, b settingID) int {
		return cmp.Or(strings.Compare(a.layer, b.layer), strings.Compare(a.name, b.name), strings.Compare(a.kind, b.kind))
	})
	for _, id := range ids {
		e.Settings = append(e.Settings, diagnosis.Setting{Layer: id.layer, Name: id.name, Nodes: c.values[id]})
	}
}
