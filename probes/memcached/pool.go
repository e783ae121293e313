package memcached

import (
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"slices"
	"sync"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/group"
)

// pool is a fixed list of servers among which clients share the keys out.
type pool struct {
	id       probes.Identity
	expected int           // servers, by min_nodes; 0: not configured
	members  []probes.Node // by name
}

// poolNode is a server of a pool.
type poolNode struct {
	*node
	// own reports whether a key belongs to this server; nil: any may be here.
	own func(key string) bool
}

// Place implements probes.Placer.
func (n *poolNode) Place(key string) probes.Placement {
	switch {
	case n.own == nil:
		return probes.Placement{Holding: probes.Anywhere}
	case n.own(key):
		return probes.Placement{Holding: probes.Holds}
	}
	return probes.Placement{Holding: probes.Foreign}
}

func newPoolNode(id probes.Identity, c nodeConfig, address string, own func(string) bool, env *probes.Env) (probes.Node, error) {
	c.Address = address
	n, err := newNode(id, c, env)
	if err != nil {
		return nil, err
	}
	return &poolNode{node: n, own: own}, nil
}

func newPool(id probes.Identity, c nodeConfig, expected int, env *probes.Env) (*pool, error) {
	pick, err := pickerOf(c)
	if err != nil {
		return nil, err
	}
	g := &pool{id: id, expected: expected}
	opened := map[string]bool{}
	for _, s := range c.Servers {
		if opened[s.Address] { // gomemcache's way to give a server more weight
			continue
		}
		opened[s.Address] = true
		var own func(string) bool
		if pick != nil {
			own = func(key string) bool { return c.Servers[pick(key)].Address == s.Address }
		}
		n, err := newPoolNode(group.MemberIdentity(id, s.Address), c, s.Address, own, env)
		if err != nil {
			for _, open := range g.members {
				open.Close()
			}
			return nil, err
		}
		g.members = append(g.members, n)
	}
	group.SortNodes(g.members)
	return g, nil
}

// pickerOf gives the function by which the clients find a key's server, as an index of the list; nil: unknown.
func pickerOf(c nodeConfig) (pick func(key string) int, err error) {
	switch c.Hashing {
	case hashingGomemcache:
		return func(key string) int { return gomemcachePick(key, len(c.Servers)) }, nil
	case hashingKetama:
		k, err := newKetama(c.Servers)
		if err != nil {
			return nil, err
		}
		return k.pick, nil
	case hashingAny:
		return nil, nil
	}
	return nil, fmt.Errorf("hashing %q is unknown; write gomemcache, ketama or any", c.Hashing)
}

// crcBuffers save an allocation for each key.
var crcBuffers = sync.Pool{New: func() any { return new([]byte) }}

// gomemcachePick gives the server of a key as the library's ServerList does: an index of the servers as they were listed.
func gomemcachePick(key string, servers int) int {
	if servers == 1 {
		return 0
	}
	b := crcBuffers.Get().(*[]byte)
	*b = append((*b)[:0], key...)
	sum := crc32.ChecksumIEEE(*b)
	crcBuffers.Put(b)
	return int(sum % uint32(servers))
}

// Survey implements probes.Members.
func (g *pool) Survey(ctx context.Context, scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error)) {
	var wait sync.WaitGroup
	for _, n := range g.members {
		wait.Go(func() {
			s, err := probes.GuardedSurvey(ctx, n, scanFor(n.Identity()))
			visit(n, s, err)
		})
	}
	wait.Wait()
}

// Group implements probes.Members.
func (g *pool) Group() (probes.NodeGroup, bool) {
	return group.Describe(g.id, g.expected, g.members), true
}

// Close implements probes.Members.
func (g *pool) Close() {
	for _, n := range g.members {
		n.Close()
	}
}

// Nodes implements probes.Members.
func (g *pool) Nodes() []probes.Node { return slices.Clone(g.members) }

// newDNSGroup is a node for each server behind the DNS name, any of which may hold a key.
func newDNSGroup(id probes.Identity, c nodeConfig, expected int, env *probes.Env, log *slog.Logger) *group.DNS {
	name := *c.DNS
	c.TLS = group.TLSFor(c.TLS, name)
	return group.NewDNS(id, name, expected, env, log, func(id probes.Identity, at group.Address) (probes.Node, error) {
		return newPoolNode(id, c, at.HostPort(), nil, env)
	})
}
