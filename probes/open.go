package probes

import "fmt"

// LayerNode is a configured node, before it is opened.
type LayerNode struct {
	Identity
	Source NodeSource
	// Least nodes that a group is expected to have (min_nodes); 0: not configured.
	Least int
}

// OpenFleet opens nodes. Nothing is asked yet.
func OpenFleet(nodes []LayerNode, env *Env) (*Fleet, error) {
	f := &Fleet{byName: map[string]Members{}}
	for _, n := range nodes {
		m, err := n.Source.Open(n.Identity, n.Least, env)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("node %s: %w", n.Name, err)
		}
		f.members, f.byName[n.Name] = append(f.members, m), m
	}
	return f, nil
}
