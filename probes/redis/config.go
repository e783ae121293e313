package redis

import (
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// nodeConfig is a Redis or Valkey server, or a group of them. Exactly one of Address, Replication, Cluster, Sentinel and DNS
// is set.
type nodeConfig struct {
	// Address is a redis:// or rediss:// URL, or host:port; /N selects a database. It holds no user and password:
	// readNode moves them to Credentials.
	Address string
	// Replication holds seeds (host:port) of a primary and its replicas, which are found through INFO replication.
	Replication []string
	// Cluster holds seeds (host:port) of a Redis Cluster, whose shards and their replicas are found through CLUSTER SHARDS.
	Cluster  []string
	Sentinel *sentinelConfig
	// DNS is a name behind which there are servers that need not know each other.
	DNS         *form.DNSName
	Credentials form.Credentials
	TLS         *form.TLS
}

// sentinelConfig is Sentinels and the primary that they watch. Credentials and TLS are the Sentinels' own.
type sentinelConfig struct {
	// Master is the name under which Sentinels know the primary.
	Master string
	// Addresses of Sentinels (host:port).
	Addresses   []string
	Credentials form.Credentials
	TLS         *form.TLS
}

// queueConfig is a list, a stream or a channel on one of the configured Redis nodes; exactly one of List, Stream and Channel is set.
type queueConfig struct {
	// Node names a redis node or replication group of the layers.
	Node   string
	List   string
	Stream string
	// Channel of Pub/Sub; Sharded: it belongs to the shard of a Cluster that owns its slot.
	Channel string
	Sharded bool
	// Groups selects a stream's consumer groups; empty: all of them.
	Groups []form.NameMatch

	// node is what Node names; nil where the configuration has a fault.
	node *nodeConfig
}

// publishConfig pushes the message to a list (RPUSH), or adds it to a stream as its field "message".
type publishConfig struct {
	// Node names a redis node or group of the layers.
	Node string
	// Exactly one of List and Stream is set.
	List, Stream string
}

// readNode reads a server or group; once refuses a server that the layer has already.
func readNode(v form.Value, once func(at form.Value, server string)) *nodeConfig {
	b := v.Block()
	out := &nodeConfig{}
	address, replication, cluster := b.Get("address"), b.Get("replication"), b.Get("cluster")
	sentinel, dns := b.Get("sentinel"), b.Get("dns")
	b.ExactlyOne(address, replication, cluster, sentinel, dns)
	login := b.Credentials()
	out.TLS = b.TLS()
	if a, u := readURL(address); u != nil {
		out.Address = a
		once(address, "redis "+urlServer(u))
		login.FromURL(address, u.User)
		if u.Scheme == "rediss" && out.TLS == nil {
			out.TLS = &form.TLS{}
		}
	}
	replication.Addresses("a primary or replica", "6379", func(item form.Value, seed string) {
		out.Replication = append(out.Replication, seed)
		once(item, "redis "+strings.ToLower(seed)+"/0")
	})
	out.DNS = dns.DNSName("redis", "6379", once)
	cluster.Addresses("a node of the Cluster", "6379", func(item form.Value, seed string) {
		out.Cluster = append(out.Cluster, seed)
		once(item, "redis "+strings.ToLower(seed)+"/0")
	})
	if sentinel.Given() {
		out.Sentinel = readSentinel(sentinel, once)
	}
	out.Credentials = login.UserNeedsPassword()
	b.Done()
	return out
}

func readSentinel(v form.Value, once func(at form.Value, server string)) *sentinelConfig {
	b := v.Block()
	out := &sentinelConfig{}
	master, addresses := b.Get("master"), b.Get("addresses")
	const name = "the master's name, as Sentinel's configuration has it"
	if b.Require(master, name) {
		out.Master = master.Word(name)
	}
	b.Require(addresses, "a list of host:port")
	addresses.Addresses("a Sentinel", "26379", func(_ form.Value, address string) { out.Addresses = append(out.Addresses, address) })
	out.Credentials = b.Credentials().UserNeedsPassword()
	out.TLS = b.TLS()
	b.Done()
	if out.Master != "" {
		for _, address := range slices.Sorted(slices.Values(out.Addresses)) {
			once(addresses, "sentinel "+strings.ToLower(address)+" "+out.Master)
		}
	}
	return out
}

// readQueue reads a list, stream or channel.
func readQueue(v form.Value, known probes.Known) *queueConfig {
	b := v.Block()
	q := &queueConfig{}
	q.Node, q.node = readNodeName(b, known)
	list, stream, channel := b.Get("list"), b.Get("stream"), b.Get("channel")
	groups, sharded := b.Get("groups"), b.Get("sharded")
	b.ExactlyOne(list, stream, channel)
	q.List, q.Stream, q.Channel = list.Word("the list's key"), stream.Word("the stream's key"), channel.Word("the channel's name")
	q.Groups = groups.Groups()
	if groups.Given() && !stream.Given() && (list.Given() || channel.Given()) {
		groups.Fault("has no meaning but for a stream, which alone has consumer groups; leave it out, or write stream")
	}
	q.Sharded = sharded.Bool(false)
	if sharded.Given() && !channel.Given() && (list.Given() || stream.Given()) {
		sharded.Fault("has no meaning but for a channel; leave it out, or write channel")
	}
	b.Done()
	return q
}

// readPublisher reads where a message is pushed.
func readPublisher(v form.Value, known probes.Known) *publishConfig {
	b := v.Block()
	out := &publishConfig{}
	out.Node, _ = readNodeName(b, known)
	list, stream := b.Get("list"), b.Get("stream")
	b.ExactlyOne(list, stream)
	out.List, out.Stream = list.Word("the list's key"), stream.Word("the stream's key")
	b.Done()
	return out
}

// readNodeName reads the field node, the name of a redis node. Where there is a fault the node is nil.
func readNodeName(b *form.Block, known probes.Known) (string, *nodeConfig) {
	const what = "the name of a redis node of the layers"
	field := b.Get("node")
	if !b.Require(field, what) {
		return "", nil
	}
	name := field.Word(what)
	source, ok := known(name).(*nodeConfig)
	if name != "" && !ok {
		field.Fault("%s is no redis node of the layers; write the name of one", field.Quoted())
	}
	return name, source
}
