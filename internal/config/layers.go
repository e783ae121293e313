package config

import (
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

func readLayer(v form.Value, layers, nodes form.Taken) Layer {
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
		l.Nodes = append(l.Nodes, readNode(n, l.Name, nodes, servers))
	}
	b.Done()
	return l
}

// readNode reads one node of a layer; servers are the layer's so far, with their lines.
func readNode(v form.Value, layer string, nodes form.Taken, servers map[string]int) Node {
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
	redis, memcached, http := b.Get("redis"), b.Get("memcached"), b.Get("http")
	b.ExactlyOne(redis, memcached, http)
	if redis.Given() {
		n.Redis = readRedis(redis, once)
	}
	if memcached.Given() {
		n.Memcached = readMemcached(memcached, once)
	}
	if http.Given() {
		n.HTTP = readHTTPNode(http, layer, once)
	}
	least := b.Get("min_nodes")
	n.MinNodes = int(least.Whole(0, 100_000))
	if least.Given() && n.isServer() {
		least.Fault("stands on a node that is one server; leave it out, or write it on a group of servers")
	}
	b.Done()
	return n
}

// isServer: the node is one server, not a group.
func (n Node) isServer() bool {
	return n.Redis != nil && n.Redis.Address != "" || n.Memcached != nil && n.Memcached.Address != "" || n.HTTP != nil && n.HTTP.DNS == nil
}

// isRedisNode gives a report of whether a name is a redis node of the layers.
func isRedisNode(layers []Layer) func(name string) bool {
	return func(name string) bool {
		return slices.ContainsFunc(layers, func(l Layer) bool {
			return slices.ContainsFunc(l.Nodes, func(n Node) bool { return n.Name == name && n.Redis != nil })
		})
	}
}
