package consistency

import (
	"slices"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// keyAt is one observation to be made: a key of a class, by their indices in round.classes and classKeys.names. look is set for a
// key that is looked at, too.
type keyAt struct {
	class, key int
	look       lookAt
}

// noCanary is in the place of keyAt.key for a key that is only looked at.
const noCanary = -1

// plan is keys that a node is asked for, as the node names them: those that each node of its layer should hold, or a part of
// them. Canaries come first.
type plan struct {
	at   []keyAt
	keys []probes.Key
	// canaries are so many of them.
	canaries int
	// first index by class; nil where the plan is a part of another.
	first []int
	// second: the keys have been read before in this round.
	second bool
}

func (p *plan) add(at keyAt, key probes.Key) {
	if at.key != noCanary {
		p.canaries++
	}
	p.at, p.keys = append(p.at, at), append(p.keys, key)
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
		p.at, p.keys = slices.Grow(p.at, len(r.keys[i].names)+r.numLooks), slices.Grow(p.keys, len(r.keys[i].names)+r.numLooks)
		for key, name := range r.keys[i].names {
			name = c.nameIn(own, name)
			look := r.lookAtCanary(c, &r.keys[i], key, layer)
			p.add(keyAt{i, key, look}, probes.Key{Name: name, Hash: c.Hash, Identity: look > 0 || r.keys[i].notes(key)})
		}
	}
	r.addLooks(p, layer)
	return p
}

// nameIn a layer, by the class's own index, is what a key is called there.
func (c *class) nameIn(layer int, key string) string {
	own := c.Layers[layer].Key
	if own.String() == "{key}" {
		return key
	}
	return own.Expand(c.vars(key), nil)
}
