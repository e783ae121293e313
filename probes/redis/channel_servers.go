package redis

import (
	"context"
	"errors"
	"fmt"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// channelsOf gives who knows the servers of a configured node's channels.
func channelsOf(fleet *probes.Fleet, name string) (channelServers, error) {
	m := fleet.Named(name)
	if s, ok := m.(channelServers); ok {
		return s, nil
	}
	if m != nil {
		if _, grouped := m.Group(); !grouped {
			if n, ok := m.Nodes()[0].(*node); ok {
				return n, nil
			}
		}
	}
	return nil, fmt.Errorf("%q is no redis node of the layers; write the name of one", name)
}

// channelServers implements channelServers: a server that is configured by itself is asked alone.
func (n *node) channelServers(context.Context, string, bool, *node) (home *node, all []*node, err error) {
	return n, []*node{n}, nil
}

// notYet is for WaitFor to wait until a survey has ended: before that not all members are known.
func notYet() bool { return false }

// channelServers implements channelServers. A primary passes messages on to its replicas, and not the other way. To one that neither
// answers nor is announced any more it passes nothing on.
func (g *replicationGroup) channelServers(ctx context.Context, _ string, _ bool, _ *node) (home *node, all []*node, err error) {
	if err := g.WaitFor(ctx, notYet); err != nil {
		return nil, nil, err
	}
	g.Mu.Lock()
	defer g.Mu.Unlock()
	primary := g.primary()
	if primary == nil {
		return nil, nil, errNoMember
	}
	for _, m := range g.All {
		if m == primary || m.announced || m.err == nil && !m.Candidate {
			all = append(all, m.server)
		}
	}
	return primary.server, all, nil
}

// channelServers implements channelServers, with the only primary and what else is behind the name.
func (g dnsGroup) channelServers(ctx context.Context, _ string, _ bool, _ *node) (home *node, all []*node, err error) {
	nodes, err := g.Pick(ctx, func(probes.Survey) bool { return false }) // until a survey has ended
	if err == nil {
		nodes, err = g.Pick(ctx, func(probes.Survey) bool { return true })
	}
	if err != nil {
		return nil, nil, err
	}
	primary, err := g.primary(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range nodes {
		all = append(all, n.(*node)) //nolint:forcetypeassert // as newDNSGroup opened it
	}
	return primary, all, nil
}

var errUntold = errors.New("nobody tells the address of a node of the Cluster on which there can be subscribers")

// channelServers implements channelServers. Every node of a Cluster passes the messages of a channel on to all others, those of a sharded
// channel to the nodes of the shard that owns its slot. Who the others say has failed passes nothing on.
func (g *clusterGroup) channelServers(ctx context.Context, channel string, sharded bool, at *node) (home *node, all []*node, err error) {
	if err := g.WaitFor(ctx, notYet); err != nil {
		return nil, nil, err
	}
	g.Mu.Lock()
	defer g.Mu.Unlock()
	owner := g.slotOwner(slotOf(channel))
	switch {
	case g.best == nil:
		return nil, nil, errors.New("no node of the Cluster has told of it")
	case sharded && owner == "":
		return nil, nil, fmt.Errorf("no node of the Cluster owns slot %d", slotOf(channel))
	}
	for id, n := range g.best.nodes {
		if n.failed || sharded && g.best.shard(id) != owner {
			continue
		}
		m := g.byID(id)
		if m == nil {
			return nil, nil, errUntold
		}
		all = append(all, m.server)
		if id == owner || home == nil || !sharded && m.server == at {
			home = m.server
		}
	}
	if home == nil {
		return nil, nil, errUntold
	}
	return home, all, nil
}
