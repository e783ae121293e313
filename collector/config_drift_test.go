package collector

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// driftOf gives the distinct values by layer and setting.
func driftOf(t *testing.T, c *configDriftCollector, nodes ...consistency.NodeResult) (map[string]float64, error) {
	t.Helper()
	ch := make(chan prometheus.Metric, 100)
	err := c.Update(t.Context(), known(&consistency.Result{Nodes: nodes}), ch)
	close(ch)
	got := map[string]float64{}
	for m := range ch {
		var d dto.Metric
		if err := m.Write(&d); err != nil {
			t.Fatal(err)
		}
		got[d.Label[0].GetValue()+" "+d.Label[1].GetValue()] = d.Gauge.GetValue()
	}
	return got, err
}

// identityOf a node of a kind, with what such nodes can do and tell.
func identityOf(layer, name, kind string) probes.Identity {
	id := probes.Identity{Layer: layer, Name: name, Kind: kind}
	for _, b := range backends.All {
		if b.Name == kind {
			id.Traits = b.NodeTraits
		}
	}
	return id
}

func nodeOf(layer, name, kind string, s probes.Survey) consistency.NodeResult {
	return consistency.NodeResult{Identity: identityOf(layer, name, kind), Survey: s, Up: true}
}

func redisTold(policy string, limit float64, version string) probes.Survey {
	return probes.Survey{EvictionPolicy: policy, MemoryLimit: probes.Count{Value: limit, Known: limit > 0}, Version: version}
}

func TestConfigDrift(t *testing.T) {
	memcached := func(limit float64) probes.Survey {
		return probes.Survey{MemoryLimit: probes.Count{Value: limit, Known: limit > 0}, Version: "1.6.18"}
	}
	const redis = "redis"
	for name, c := range map[string]struct {
		nodes []consistency.NodeResult
		want  map[string]float64
	}{
		"alike": {
			[]consistency.NodeResult{
				nodeOf("l2", "a", redis, redisTold("allkeys-lru", 100, "7.0.15")), nodeOf("l2", "b", redis, redisTold("allkeys-lru", 100, "7.0.15")),
			},
			map[string]float64{"l2 eviction_policy": 1, "l2 memory_limit": 1, "l2 server_version": 1},
		},
		"no limit is a value": {
			[]consistency.NodeResult{
				nodeOf("l2", "a", redis, redisTold("noeviction", 0, "7.0.15")), nodeOf("l2", "b", redis, redisTold("allkeys-lru", 100, "7.2.0")),
				nodeOf("l2", "c", redis, redisTold("allkeys-lfu", 100, "7.2.0")),
			},
			map[string]float64{"l2 eviction_policy": 3, "l2 memory_limit": 2, "l2 server_version": 2},
		},
		"each layer by itself": {
			[]consistency.NodeResult{
				nodeOf("l2", "a", redis, redisTold("noeviction", 1, "7")), nodeOf("l1", "b", redis, redisTold("allkeys-lru", 2, "8")),
			},
			map[string]float64{
				"l1 eviction_policy": 1, "l1 memory_limit": 1, "l1 server_version": 1,
				"l2 eviction_policy": 1, "l2 memory_limit": 1, "l2 server_version": 1,
			},
		},
		"each kind by itself, the larger counts": {
			[]consistency.NodeResult{
				nodeOf("l2", "a", redis, redisTold("allkeys-lru", 1, "7")), nodeOf("l2", "m1", "memcached", memcached(64)),
				nodeOf("l2", "m2", "memcached", memcached(128)), nodeOf("l2", "m3", "memcached", memcached(256)),
			},
			map[string]float64{"l2 eviction_policy": 1, "l2 memory_limit": 3, "l2 server_version": 1},
		},
		"who tells nothing is left out": {
			[]consistency.NodeResult{
				nodeOf("l1", "app", "http", probes.Survey{Unasked: true}), nodeOf("l2", "a", redis, probes.Survey{Version: "7"}),
				nodeOf("l3", "proxy", "memcached", probes.Survey{Unasked: true}),
			},
			map[string]float64{"l2 server_version": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := driftOf(t, &configDriftCollector{}, c.nodes...)
			if d := cmp.Diff(c.want, got); d != "" || err != nil {
				t.Errorf("%v, want (-), got (+):\n%s", err, d)
			}
		})
	}
}

// A node that does not answer tells nothing, fails the collector, and takes none of its last answers along.
func TestConfigDriftOfANodeThatDoesNotAnswer(t *testing.T) {
	c := &configDriftCollector{}
	a, b := nodeOf("l2", "a", "redis", redisTold("noeviction", 0, "7")), nodeOf("l2", "b", "redis", redisTold("allkeys-lru", 0, "7"))
	got, err := driftOf(t, c, a, b)
	if got["l2 eviction_policy"] != 2 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	var e diagnosis.Evidence
	c.AddEvidence(&e)
	want := []diagnosis.Setting{
		{Layer: "l2", Name: "eviction_policy", Nodes: map[string][]string{"noeviction": {"a"}, "allkeys-lru": {"b"}}},
		{Layer: "l2", Name: "memory_limit", Nodes: map[string][]string{"none": {"a", "b"}}},
		{Layer: "l2", Name: "server_version", Nodes: map[string][]string{"7": {"a", "b"}}},
	}
	if d := cmp.Diff(want, e.Settings); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	gone := errors.New("gone")
	b.Up, b.Survey, b.Err = false, probes.Survey{}, gone
	if got, err = driftOf(t, c, a, b); got["l2 eviction_policy"] != 1 || !errors.Is(err, gone) {
		t.Errorf("%v, %v", got, err)
	}
	a.Up = false
	if got, err = driftOf(t, c, a, b); len(got) != 0 || err == nil {
		t.Errorf("%v, %v", got, err)
	}
}

// What a server tells of itself is evidence as it is a label: cut, and still distinct.
func TestLongSettings(t *testing.T) {
	c := configDriftCollector{values: map[settingID]map[string][]string{}}
	for _, end := range []string{"a", "b"} {
		n := &consistency.NodeResult{}
		n.Survey.Version = strings.Repeat("7", 1<<20) + end
		c.add(n)
	}
	var e diagnosis.Evidence
	c.AddEvidence(&e)
	if len(e.Settings) != 1 || len(e.Settings[0].Nodes) != 2 {
		t.Fatalf("%d settings", len(e.Settings))
	}
	for value := range e.Settings[0].Nodes {
		if len(value) > probes.LongestShown {
			t.Errorf("a value of %d bytes", len(value))
		}
	}
}
