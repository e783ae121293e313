package collector

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

var (
	groupNodes = gauge("group_nodes",
		"Nodes that are known of a group which finds its nodes by itself.", "layer", "group")
	groupExpected = gauge("group_expected_nodes",
		"Nodes that the group is expected to have, as configured.", "layer", "group")
	groupUnreached = gauge("group_unreached_addresses",
		"Addresses that somebody announced as the group's, and that have not answered yet; they are no nodes.", "layer", "group")
	clusterOK = gauge("cluster_ok",
		"Whether every node of the Redis Cluster that answered says that all is in order (1) or not, also where none answered (0); "+
			"absent where they answer and none lets us see its view.",
		"layer", "group")
	clusterViews = gauge("cluster_views",
		"Distinct answers of the Redis Cluster's nodes to which primary owns which slots and who replicates whom; above 1 is split brain "+
			"or a change under way.", "layer", "group")
	clusterContested = gauge("cluster_contested_slots",
		"Slots of the Redis Cluster that two primaries or more each claim for themselves.", "layer", "group")
	layerMasters = gauge("layer_masters",
		"Most primaries that were seen in one replication group, of a Redis Cluster claiming the same slot; above 1 is split brain.",
		"layer", "group")
)

// sendGroups gives how many nodes each group has, and how many addresses that may be some.
func sendGroups(r *consistency.Result, ch chan<- prometheus.Metric) {
	for _, g := range r.Groups {
		groupNodes.send(ch, float64(len(g.Nodes)), g.Layer, g.Name)
		groupUnreached.send(ch, float64(g.Unreached), g.Layer, g.Name)
		if g.Expected > 0 {
			groupExpected.send(ch, float64(g.Expected), g.Layer, g.Name)
		}
	}
}

// sendRanks gives whether each group has one view of itself and one primary. Views and claims are unknown where nobody
// answered; how many primaries were seen is known.
func sendRanks(r *consistency.Result, ch chan<- prometheus.Metric) {
	for _, g := range r.Groups {
		switch {
		case g.Cluster != nil:
			sendCluster(g, ch)
		case g.Replication:
			layerMasters.send(ch, float64(countPrimaries(r, g)), g.Layer, g.Name)
		}
	}
}

// countPrimaries seen in a replication group.
func countPrimaries(r *consistency.Result, g probes.NodeGroup) int {
	seen := 0
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.Layer == g.Layer && n.Group == g.Name && n.Up && n.Survey.Role == "primary" {
			seen++
		}
	}
	return seen
}

// groupPrimaries of the replication groups, as evidence. Clusters report theirs themselves.
func groupPrimaries(r *consistency.Result) []diagnosis.Primaries {
	var out []diagnosis.Primaries
	for _, g := range r.Groups {
		if g.Replication && g.Cluster == nil {
			out = append(out, diagnosis.Primaries{Layer: g.Layer, Group: g.Name, Count: countPrimaries(r, g)})
		}
	}
	return out
}

func sendCluster(g probes.NodeGroup, ch chan<- prometheus.Metric) {
	c := g.Cluster
	if !c.Refused { // what is refused to us says nothing of the Cluster
		clusterOK.send(ch, number(c.OK), g.Layer, g.Name)
	}
	layerMasters.send(ch, float64(c.Primaries), g.Layer, g.Name)
	if c.Answered > 0 {
		clusterViews.send(ch, float64(c.Views), g.Layer, g.Name)
		clusterContested.send(ch, float64(c.ContestedSlots), g.Layer, g.Name)
	}
}
