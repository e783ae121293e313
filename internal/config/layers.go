package config

import (
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

func (r *reader) layer(v form.Value, layers, nodes form.Taken) Layer {
	b := v.Block()
	l := Layer{}
	name := b.Get("name")
	if b.Require(name, "the layer's name, such as l2") {
		l.Name = name.Name("the layer's name, such as l2")
		layers.Add(name, l.Name, "layer")
	}
	const longestTTL = "the longest TTL that the application sets here, such as 1h, or none"
	ttl := b.Get("ttl")
	b.Require(ttl, longestTTL)
	if text, ok := ttl.Text(longestTTL); ok {
		if l.NoExpiry = text == "none"; !l.NoExpiry {
			l.TTL = ttl.PositiveDuration(0, longestTTL)
		}
	}
	l.MaxStaleness = b.Get("max_staleness").Duration(0)
	list := b.Get("nodes")
	b.Require(list, "the layer's nodes")
	servers := map[string]int{}
	for _, n := range list.List("nodes") {
		l.Nodes = append(l.Nodes, r.node(n, l.Name, nodes, servers))
	}
	b.Done()
	return l
}

// node reads one node of a layer; servers are the layer's so far, with their lines.
func (r *reader) node(v form.Value, layer string, nodes form.Taken, servers map[string]int) Node {
	b := v.Block()
	n := Node{}
	name := b.Get("name")
	if b.Require(name, "the node's name, unique over all layers") {
		n.Name = name.Name("the node's name, unique over all layers")
		nodes.Add(name, n.Name, "node")
		if strings.Contains(n.Name, "/") {
			name.Fault("%s holds a /, which stands between a group and its nodes; write it without", name.Quoted())
		}
	}
	once := func(at form.Value, server string) {
		if line, twice := servers[server]; twice {
			at.Fault("is the server on line %d too, which would vote twice in this layer; leave one of them out", line)
			return
		}
		servers[server] = at.Line()
	}
	in := probes.Layer{Name: layer, Once: once}
	n.Kind, n.Source = choose(b, r.backends, "where the node is", func(k *probes.Backend) func(form.Value) probes.NodeSource {
		if k.Node == nil {
			return nil
		}
		return func(block form.Value) probes.NodeSource { return k.Node(block, in) }
	})
	n.Traits = r.backend(n.Kind).NodeTraits
	least := b.Get("min_nodes")
	n.MinNodes = int(least.Whole(0, 100_000))
	if least.Given() && n.Source != nil && !n.Source.Group() {
		least.Fault("stands on a node that is one server; leave it out, or write it on a group of servers")
	}
	b.Done()
	return n
}

// can reports whether the node has a trait. What has had a fault counts as such.
func (n Node) can(trait func(probes.NodeTraits) bool) bool { return n.Source == nil || trait(n.Traits) }

// known gives the sources of the layers' nodes by name.
func (r *reader) known(name string) probes.NodeSource {
	for _, l := range r.config.Layers {
		for _, n := range l.Nodes {
			if n.Name == name {
				return n.Source
			}
		}
	}
	return nil
}
