package collector

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

var (
	nodeUp = gauge("node_up",
		"Whether the cache node answered in this sampling (1) or not (0).", "layer", "node", "kind")
	nodeRefused = gauge("node_refused",
		"Whether the cache node answered and refused what it was asked, such as a wrong password, so that node_up is 0 though it can be "+
			"reached (1) or not (0).", "layer", "node", "kind")
	nodeLeft = gauge("node_left",
		"Whether the source of the node's group (a DNS name, a topology) no longer has the node, or calls it down, and it is only asked "+
			"for a while yet (1) or not (0).", "layer", "node", "kind")
	nodeDuration = gauge("node_scrape_duration_seconds",
		"Time that asking the node and reading its keys needed, in seconds.", "layer", "node", "kind")
	nodeInfo = gauge("node_info",
		"What the node said of itself, as labels; always 1.", "layer", "node", "kind", "group", "version", "role", "eviction_policy")
	nodeOwnReads = counter("node_own_reads_total",
		"Reads of this exporter that are part of the node's hits and misses of the same sampling; subtract them.",
		"layer", "node", "result")
	nodeFills = counter("node_fills_total",
		"Reads of this exporter that an edge answered from its origin, so that the read itself filled the cache.", "layer", "node")
)

// nodeCounts are what servers count themselves; absent where a server does not.
var nodeCounts = []struct {
	typedDesc
	of func(*probes.Survey) probes.Count
}{
	{
		counter("node_hits_total", "Hits as the node counts them, before the reads of this sampling.", "layer", "node"),
		func(s *probes.Survey) probes.Count { return s.Hits },
	},
	{
		counter("node_misses_total", "Misses as the node counts them, before the reads of this sampling.", "layer", "node"),
		func(s *probes.Survey) probes.Count { return s.Misses },
	},
	{
		counter("node_evicted_total", "Items that the node evicted for lack of memory.", "layer", "node"),
		func(s *probes.Survey) probes.Count { return s.Evicted },
	},
	{
		counter("node_expired_total", "Items that the node dropped because their TTL had ended.", "layer", "node"),
		func(s *probes.Survey) probes.Count { return s.Expired },
	},
	{
		gauge("node_items", "Items that the node holds.", "layer", "node"),
		func(s *probes.Survey) probes.Count { return s.Items },
	},
	{
		gauge("node_memory_used_bytes", "Memory that the node uses for its items, in bytes.", "layer", "node"),
		func(s *probes.Survey) probes.Count { return s.MemoryUsed },
	},
	{
		gauge("node_memory_limit_bytes", "Memory that the node may use for its items, in bytes.", "layer", "node"),
		func(s *probes.Survey) probes.Count { return s.MemoryLimit },
	},
	{
		gauge("node_uptime_seconds", "Time since the node's process began, in seconds.", "layer", "node"),
		func(s *probes.Survey) probes.Count { return s.UptimeSeconds },
	},
}

func newNodeSignal(Options) Opener {
	return func(*Setup) (Collector, error) { return nodeCollector{}, nil }
}

// nodeCollector reports how the cache nodes are.
type nodeCollector struct{}

// Update implements Collector.
func (nodeCollector) Update(_ context.Context, s *Sampling, ch chan<- prometheus.Metric) error {
	r := s.Consistency()
	var errs []error
	for _, g := range r.Groups {
		if g.Err != nil {
			errs = append(errs, fmt.Errorf("group %s: %w", g.Name, g.Err))
		}
	}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		labels := nodeUp.label(n.Layer, n.Name, n.Kind)
		nodeUp.sendWith(ch, number(n.Up), labels)
		nodeRefused.sendWith(ch, number(n.Refuses()), labels)
		nodeDuration.sendWith(ch, n.Took.Seconds(), labels)
		if n.Group != "" {
			nodeLeft.sendWith(ch, number(n.Survey.Left || n.Survey.CalledDown), labels)
		}
		switch {
		case n.Err != nil:
			errs = append(errs, fmt.Errorf("node %s: %w", n.Name, n.Err))
		case !n.Up:
			errs = append(errs, fmt.Errorf("node %s did not answer", n.Name))
		}
		if len(n.Survey.Odd) > 0 {
			errs = append(errs, fmt.Errorf("node %s: it tells numbers that can be no counts, which are left out: %s", n.Name, strings.Join(n.Survey.Odd, ", ")))
		}
		if n.Up {
			sendNode(n, ch)
		}
	}
	sendGroups(r, ch)
	return errors.Join(errs...)
}

// sendNode gives what a node that answered said of itself.
func sendNode(n *consistency.NodeResult, ch chan<- prometheus.Metric) {
	s := &n.Survey
	nodeInfo.send(ch, 1, n.Layer, n.Name, n.Kind, n.Group, s.Version, s.Role, s.EvictionPolicy)
	labels := nodeCounts[0].label(n.Layer, n.Name)
	for _, c := range nodeCounts {
		if v := c.of(s); v.Known {
			c.sendWith(ch, v.Value, labels)
		}
	}
	if s.Hits.Known || s.Misses.Known {
		nodeOwnReads.send(ch, float64(s.OwnHits), n.Layer, n.Name, "hit")
		nodeOwnReads.send(ch, float64(s.OwnMisses), n.Layer, n.Name, "miss")
	}
	if n.Traits.Fills {
		nodeFills.send(ch, float64(s.Fills), n.Layer, n.Name)
	}
}
