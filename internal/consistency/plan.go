package consistency

import (
	"slices"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// keyAt is one observation to be made: a key of a class, by their indices in round.classes and classKeys.names.
type keyAt struct {
	class, key int
}

// plan is keys that a node is asked for, as the node names them: those that each node of its layer should hold, or a part of
// them.
type plan struct {
	at   []keyAt
	keys []probes.Key
	// first index by class; nil where the plan is a part of another.
	first []int
}

// plan lists the keys that a node of this layer should hold.
func (r *round) plan(layer string) *plan {
	p := &plan{first: make([]int, len(r.classes))}
	for i, c := range r.classes {
		p.first[i] = len(p.at)
		own, ok := c.layerOf[layer]
		if !ok {
			continue
		}
		template := c.Layers[own].Key
		p.at, p.keys = slices.Grow(p.at, len(r.keys[i].names)), slices.Grow(p.keys, len(r.keys[i].names))
		for key, name := range r.keys[i].names {
			if template.String() != "{key}" {
				name = c.nameIn(own, name)
			}
			p.at = append(p.at, keyAt{class: i, key: key})
			p.keys = append(p.keys, probes.Key{Name: name, Hash: c.Hash})
		}
	}
	return p
}

// nameIn a layer, by the class's own index, is what a key is called there.
func (c *class) nameIn(layer int, key string) string {
	return c.Layers[layer].Key.Expand(c.vars(key), nil)
}
