package probes

import (
	"context"
	"sync"
)

// Members is what one configured node stands for: a server, or a group that finds its servers by itself. Survey is called
// by one goroutine at a time; the other methods may be called beside it.
type Members interface {
	// Survey asks every member in parallel. visit runs in a goroutine of the member's own as soon as its survey ended, and
	// may go on to Read it. Members that are found meanwhile are asked in the same call. It returns when all visits did,
	// soon after ctx ends.
	Survey(ctx context.Context, scanFor func(Identity) *Scan, visit func(n Node, s Survey, err error))
	// Nodes known now.
	Nodes() []Node
	// Group as known now; false for a server that is configured by itself.
	Group() (NodeGroup, bool)
	// Close ends all connections, and what is under way.
	Close()
}

// NodeGroup is a configured group as known now.
type NodeGroup struct {
	Layer, Name string
	// Nodes known, by name.
	Nodes []string
	// Unreached are addresses that somebody announced and that never answered; they are no nodes.
	Unreached int
	// Expected is min_nodes; 0: not configured.
	Expected int
	// Err says why the nodes are not known, or no longer surely known; nil: they are.
	Err error
	// Replication: the nodes are one primary and its replicas.
	Replication bool
	// Cluster is nil where the group is no Redis Cluster.
	Cluster *Cluster
}

// Cluster is what the nodes of a Redis Cluster reported of it in the last survey.
type Cluster struct {
	// Answered is how many nodes did; where it is 0, the rest is not known.
	Answered int
	// Refused: none did, and one that can be reached refused to tell.
	Refused bool
	// OK: each of them says cluster_state:ok.
	OK bool
	// Views are the distinct answers to which primary owns which slots and who replicates whom.
	Views int
	// ContestedSlots are claimed by two primaries or more, each for itself.
	ContestedSlots int
	// Primaries is the most primaries that claim the same slot; 1 is healthy.
	Primaries int
}

// Single is what a node that is configured by itself stands for.
func Single(n Node) Members { return oneNode{n} }

type oneNode struct{ node Node }

func (s oneNode) Survey(ctx context.Context, scanFor func(Identity) *Scan, visit func(Node, Survey, error)) {
	survey, err := GuardedSurvey(ctx, s.node, scanFor(s.node.Identity()))
	visit(s.node, survey, err)
}

func (s oneNode) Nodes() []Node          { return []Node{s.node} }
func (oneNode) Group() (NodeGroup, bool) { return NodeGroup{}, false }
func (s oneNode) Close()                 { s.node.Close() }

// Fleet is every cache node of a configuration; groups are followed.
type Fleet struct {
	members []Members
	byName  map[string]Members
}

// Named gives what the configured node of a name stands for; nil where there is none.
func (f *Fleet) Named(name string) Members {
	if f == nil {
		return nil
	}
	return f.byName[name]
}

// Survey asks every node in parallel, as Members.Survey does; a hanging node delays no other.
func (f *Fleet) Survey(ctx context.Context, scanFor func(Identity) *Scan, visit func(n Node, s Survey, err error)) {
	var wg sync.WaitGroup
	for _, m := range f.members {
		wg.Go(func() { m.Survey(ctx, scanFor, visit) })
	}
	wg.Wait()
}

// Groups as known now.
func (f *Fleet) Groups() []NodeGroup {
	var out []NodeGroup
	for _, m := range f.members {
		if g, grouped := m.Group(); grouped {
			out = append(out, g)
		}
	}
	return out
}

// Nodes known now: those that are configured by themselves, then those of groups.
func (f *Fleet) Nodes() []Node {
	var out, found []Node
	for _, m := range f.members {
		if _, grouped := m.Group(); grouped {
			found = append(found, m.Nodes()...)
		} else {
			out = append(out, m.Nodes()...)
		}
	}
	return append(out, found...)
}

// Close ends all connections, and what groups have under way.
func (f *Fleet) Close() {
	for _, m := range f.members {
		m.Close()
	}
}
