// Package group is what groups of servers have in common that find their servers by themselves: Members says which servers
// there are and which addresses are one, a Topology how a kind of group finds and asks them, and DNS is the group of what
// stands behind a DNS name.
package group

import (
	"cmp"
	"slices"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// MemberIdentity names the member GROUP/HOST:PORT.
func MemberIdentity(group probes.Identity, address string) probes.Identity {
	id := group
	id.Name, id.Group = group.Name+"/"+address, group.Name
	return id
}

// Describe gives the group of these nodes. expected is the configured number of nodes; 0: not configured.
func Describe(id probes.Identity, expected int, nodes []probes.Node) probes.NodeGroup {
	out := probes.NodeGroup{Layer: id.Layer, Name: id.Name, Expected: expected}
	for _, n := range nodes {
		out.Nodes = append(out.Nodes, n.Identity().Name)
	}
	return out
}

// SortNodes by name.
func SortNodes(nodes []probes.Node) {
	slices.SortFunc(nodes, func(a, b probes.Node) int { return cmp.Compare(a.Identity().Name, b.Identity().Name) })
}
