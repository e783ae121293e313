package repair

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// heirs know which node holds now what another held when the undo file was written: a primary may have gone over to another
// server since.
type heirs struct {
	nodes map[string]*surveyed
	// handsOver are the groups in which one server takes over what another held.
	handsOver map[string]bool
}

// surveyed is a node, and what it told.
type surveyed struct {
	probes.Node
	replica bool
	err     error
}

// survey asks every node how it is, for at most patience.
func survey(ctx context.Context, fleet *probes.Fleet) *heirs {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	h := &heirs{nodes: map[string]*surveyed{}, handsOver: map[string]bool{}}
	var mu sync.Mutex
	none := func(probes.Identity) *probes.Scan { return nil }
	fleet.Survey(ctx, none, func(n probes.Node, s probes.Survey, err error) {
		mu.Lock()
		defer mu.Unlock()
		h.nodes[n.Identity().Name] = &surveyed{Node: n, replica: s.Follows(), err: err}
	})
	for _, g := range fleet.Groups() {
		h.handsOver[g.Name] = g.Replication || g.Cluster != nil
	}
	return h
}

// holder of a write's key: the node that is named, or the member of its group that took over.
func (h *heirs) holder(w *Write) (probes.Editable, error) {
	n := h.nodes[w.Node]
	if n == nil {
		return nil, errors.New("the configuration has no such node, or its group no longer has it")
	}
	group := n.Identity().Group
	if !n.holds(w.key.Name) && h.handsOver[group] {
		for _, other := range h.nodes {
			if other.Identity().Group == group && other.holds(w.key.Name) {
				n = other
				break
			}
		}
	}
	edit, ok := n.Node.(probes.Editable)
	switch {
	case !ok:
		return nil, errors.New("this kind of node takes no writes")
	case n.err != nil:
		return nil, fmt.Errorf("the node does not answer: %w", n.err)
	case n.replica:
		return nil, probes.ErrReplica
	}
	return edit, nil
}

// holds reports whether the node can be written for a key.
func (n *surveyed) holds(key string) bool {
	if n.replica || n.err != nil {
		return false
	}
	p, ok := n.Node.(probes.Placer)
	return !ok || p.Place(key).Holding != probes.Elsewhere
}
