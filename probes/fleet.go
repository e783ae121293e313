package probes

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// Fleet is every cache node of a configuration; groups are followed.
type Fleet struct {
	single []Node
	groups []group
}

// group is a configured group of nodes, which it finds by itself.
type group interface {
	// survey asks the group's members, as Fleet.Survey does.
	survey(ctx context.Context, scanFor func(Identity) *Scan, visit func(n Node, s Survey, err error))
	group() Group
	nodes() []Node
}

// OpenFleet opens what the layers name. Nothing is asked yet.
func OpenFleet(cfg *config.Config, opt Options, logger *slog.Logger) (*Fleet, error) {
	f := &Fleet{}
	for _, l := range cfg.Layers {
		for _, c := range l.Nodes {
			id := Identity{Layer: l.Name, Name: c.Name}
			g, err := openGroup(id, c, opt, logger)
			var n Node
			if g == nil && err == nil {
				n, err = openNode(id, c, opt)
			}
			switch {
			case err != nil:
				f.Close()
				return nil, fmt.Errorf("node %s: %w", c.Name, err)
			case g != nil:
				f.groups = append(f.groups, g)
			default:
				f.single = append(f.single, n)
			}
		}
	}
	return f, nil
}

// openGroup gives nil for a node that is configured by itself.
func openGroup(id Identity, c config.Node, opt Options, logger *slog.Logger) (group, error) {
	switch {
	case c.Redis != nil && len(c.Redis.Replication) > 0:
		return newReplicationGroup(id, c, opt, logger)
	case c.Redis != nil && len(c.Redis.Cluster) > 0:
		return newClusterGroup(id, c, opt, logger)
	case c.Redis != nil && c.Redis.Sentinel != nil:
		return newSentinelGroup(id, c, opt, logger)
	case c.Redis != nil && c.Redis.DNS != nil:
		return newRedisDNSGroup(id, *c.Redis, c.MinNodes, opt, logger), nil
	case c.Memcached != nil && len(c.Memcached.Servers) > 0:
		return newMemcachedPool(id, *c.Memcached, c.MinNodes, opt)
	case c.Memcached != nil && c.Memcached.DNS != nil:
		return newMemcachedDNSGroup(id, *c.Memcached, c.MinNodes, opt, logger), nil
	case c.HTTP != nil && c.HTTP.DNS != nil:
		return newHTTPDNSGroup(id, *c.HTTP, c.MinNodes, opt, logger)
	}
	return nil, nil
}

func openNode(id Identity, c config.Node, opt Options) (Node, error) {
	switch {
	case c.Redis != nil:
		id.Kind = "redis"
		return newRedisNode(id, *c.Redis, opt)
	case c.Memcached != nil:
		id.Kind = "memcached"
		return newMemcachedNode(id, *c.Memcached, opt)
	default:
		id.Kind = "http"
		return newHTTPNode(id, *c.HTTP, opt)
	}
}

// Survey asks every node in parallel. visit runs in a node's own goroutine as soon as its survey ended, and may go
// on to Read it; a hanging node delays no other. Members of groups that are found meanwhile are asked in the same
// call. It returns when all visits did, soon after ctx ends.
func (f *Fleet) Survey(ctx context.Context, scanFor func(Identity) *Scan, visit func(n Node, s Survey, err error)) {
	var wg sync.WaitGroup
	for _, n := range f.single {
		wg.Go(func() {
			s, err := n.Survey(ctx, scanFor(n.Identity()))
			visit(n, s, err)
		})
	}
	for _, g := range f.groups {
		wg.Go(func() { g.survey(ctx, scanFor, visit) })
	}
	wg.Wait()
}

// Groups as known now.
func (f *Fleet) Groups() []Group {
	var out []Group
	for _, g := range f.groups {
		out = append(out, g.group())
	}
	return out
}

// Nodes known now.
func (f *Fleet) Nodes() []Node {
	out := append([]Node(nil), f.single...)
	for _, g := range f.groups {
		out = append(out, g.nodes()...)
	}
	return out
}

// Redis gives the Redis server of a node by its configured name; of a group the present primary, in a Cluster the one that
// owns the key's slot.
func (f *Fleet) Redis(name, key string) (RedisServer, bool) {
	for _, n := range f.single {
		if r, ok := n.(*redisNode); ok && n.Identity().Name == name {
			return r, true
		}
	}
	for _, g := range f.groups {
		if c, ok := g.(*clusterGroup); ok && c.id.Name == name {
			return slotServer{c, slotOf(key)}, true
		}
		if r, ok := g.(RedisServer); ok && g.group().Name == name {
			return r, true
		}
	}
	return nil, false
}

// Close ends all connections, and what groups have under way.
func (f *Fleet) Close() {
	for _, g := range f.groups {
		if c, ok := g.(interface{ close() }); ok {
			c.close()
		}
	}
	for _, n := range f.Nodes() {
		n.Close()
	}
	for _, g := range f.groups {
		if c, ok := g.(interface{ close() }); ok {
			c.close()
		}
	}
}
