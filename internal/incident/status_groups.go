package incident

import (
	"maps"
	"slices"

	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// GroupView is a group of nodes, and how its nodes see each other. What nobody reported is nil.
type GroupView struct {
	Layer string `json:"layer"`
	Group string `json:"group"`
	// Kind: cluster, replication, or pool (its nodes know nothing of each other).
	Kind string `json:"kind"`
	// Nodes that are known, and how many of them answered in this sampling.
	Nodes         int  `json:"nodes"`
	NodesUp       int  `json:"nodes_up"`
	ExpectedNodes *int `json:"expected_nodes"`
	// Primaries is the most that were seen at once; of a Cluster: that claim one slot. Above 1 is split brain.
	Primaries *int `json:"primaries"`
	// ClusterOK: every node that answered says so. Views are their distinct answers to which primary owns which slots.
	ClusterOK      *bool `json:"cluster_ok"`
	Views          *int  `json:"views"`
	ContestedSlots *int  `json:"contested_slots"`
	// Error says why the nodes are not known, or no longer surely known.
	Error *string `json:"error"`
}

// AppStatus is an application whose instances report the version that they run.
type AppStatus struct {
	Application string `json:"application"`
	// DistinctVersions among the instances that reported one; nil: none did.
	DistinctVersions *int             `json:"distinct_versions"`
	Instances        []InstanceStatus `json:"instances"`
}

// InstanceStatus is one instance, and its version; nil: it reported none.
type InstanceStatus struct {
	Instance string  `json:"instance"`
	Version  *string `json:"version"`
}

func newGroupViews(e *diagnosis.Evidence) []GroupView {
	out := []GroupView{}
	up := map[string]bool{}
	for i := range e.Result.Nodes {
		up[e.Result.Nodes[i].Name] = e.Result.Nodes[i].Up
	}
	primaries := map[string]int{}
	for _, p := range e.Primaries {
		primaries[p.Group] = p.Count
	}
	for i := range e.Result.Groups {
		g := newGroupView(&e.Result.Groups[i])
		for _, name := range e.Result.Groups[i].Nodes {
			if up[name] {
				g.NodesUp++
			}
		}
		if seen, ok := primaries[g.Group]; ok {
			g.Primaries = &seen
		}
		out = append(out, g)
	}
	return out
}

func newGroupView(g *probes.NodeGroup) GroupView {
	out := GroupView{Layer: g.Layer, Group: g.Name, Kind: "pool", Nodes: len(g.Nodes), ExpectedNodes: orNil(g.Expected)}
	if g.Err != nil {
		out.Error = shown(g.Err.Error())
	}
	switch c := g.Cluster; {
	case c != nil:
		out.Kind = "cluster"
		if c.Answered > 0 {
			out.Primaries, out.ClusterOK, out.Views, out.ContestedSlots = &c.Primaries, &c.OK, &c.Views, &c.ContestedSlots
		}
	case g.Replication:
		out.Kind = "replication"
	}
	return out
}

func newAppStatuses(e *diagnosis.Evidence) []AppStatus {
	out := []AppStatus{}
	for _, a := range e.Apps {
		app := AppStatus{Application: a.Name, Instances: []InstanceStatus{}}
		distinct := map[string]bool{}
		for _, name := range slices.Sorted(maps.Keys(a.Versions)) {
			version := a.Versions[name]
			distinct[version] = true
			app.Instances = append(app.Instances, InstanceStatus{Instance: name, Version: &version})
		}
		for _, name := range slices.Sorted(slices.Values(a.Down)) {
			app.Instances = append(app.Instances, InstanceStatus{Instance: name})
		}
		if len(distinct) > 0 {
			app.DistinctVersions = new(len(distinct))
		}
		out = append(out, app)
	}
	return out
}
