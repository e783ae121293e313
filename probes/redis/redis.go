// Package redis queries Redis, Valkey and servers that speak their protocol: alone, as a primary with replicas, as a Cluster,
// behind Sentinels or a DNS name. It reads keys, lists, streams and channels, and publishes to lists and streams.
//
// node is one server: its survey, its keys and writes, whose replies are read as they come (package wire). commander is what
// runs the commands of queues on one, through go-redis; subscription is a connection of its own, over which a channel's messages come. members is what replicationGroup, sentinelGroup and clusterGroup have
// in common; group.Members knows which addresses are one server.
package redis

import (
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Backend is Redis.
var Backend = probes.Backend{
	Name: backendName,
	Node: func(block form.Value, in probes.Layer) probes.NodeSource { return readNode(block, in.Once) },
	NodeTraits: probes.NodeTraits{
		Hashes: true, Writable: true, ListsKeys: true, StepsThroughKeys: true, TellsTTL: true, TellsSettings: true, NoLimitUntold: true,
		TellsLoading: true, Replicates: true,
	},
	Queue:      func(block form.Value, known probes.Known) probes.QueueSource { return readQueue(block, known) },
	QueueKinds: []string{listKind, streamKind, channelKind},
	Publisher:  func(block form.Value, known probes.Known) probes.PublisherSource { return readPublisher(block, known) },
}

const backendName = "redis"

// Group implements probes.NodeSource.
func (c *nodeConfig) Group() bool { return c.Address == "" }

// Open implements probes.NodeSource.
func (c *nodeConfig) Open(id probes.Identity, least int, env *probes.Env) (probes.Members, error) {
	switch {
	case len(c.Replication) > 0:
		return newReplicationGroup(id, *c, least, env)
	case len(c.Cluster) > 0:
		return newClusterGroup(id, *c, least, env)
	case c.Sentinel != nil:
		return newSentinelGroup(id, *c, least, env)
	case c.DNS != nil:
		return newDNSGroup(id, *c, least, env), nil
	}
	n, err := newNode(id, *c, env)
	if err != nil {
		return nil, err
	}
	return probes.Single(n), nil
}
