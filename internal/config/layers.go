package config

import (
	"fmt"
	"slices"
	"strings"
)

func (v value) layer(layers, nodes taken) Layer {
	s := v.section()
	l := Layer{}
	name := s.get("name")
	if s.require(name, "the layer's name, such as l2") {
		l.Name = name.name("the layer's name, such as l2")
		layers.add(name, l.Name, "layer")
	}
	const longestTTL = "the longest TTL that the application sets here, such as 1h, or none"
	ttl := s.get("ttl")
	s.require(ttl, longestTTL)
	if text, ok := ttl.text(longestTTL); ok {
		if l.NoExpiry = text == "none"; !l.NoExpiry {
			l.TTL = ttl.parsePositive(text, longestTTL)
		}
	}
	l.MaxStaleness = s.get("max_staleness").duration(0)
	list := s.get("nodes")
	s.require(list, "the layer's nodes")
	servers := map[string]int{}
	for _, n := range list.list("nodes") {
		l.Nodes = append(l.Nodes, n.cacheNode(l.Name, nodes, servers))
	}
	s.done()
	return l
}

// cacheNode of a layer; servers are the layer's so far, with their lines.
func (v value) cacheNode(layer string, nodes taken, servers map[string]int) Node {
	s := v.section()
	n := Node{}
	name := s.get("name")
	if s.require(name, "the node's name, unique over all layers") {
		n.Name = name.name("the node's name, unique over all layers")
		nodes.add(name, n.Name, "node")
		if strings.Contains(n.Name, "/") {
			name.fault("%s holds a /, which stands between a group and its nodes; write it without", name.quoted())
		}
	}
	once := func(at value, server string) {
		if line, twice := servers[server]; twice {
			at.fault("is the server on line %d too, which would vote twice in this layer; leave one of them out", line)
			return
		}
		servers[server] = at.line
	}
	redis, memcached, http := s.get("redis"), s.get("memcached"), s.get("http")
	s.exactlyOne(redis, memcached, http)
	if redis.given() {
		n.Redis = redis.redis(once)
	}
	if memcached.given() {
		n.Memcached = memcached.memcached(once)
	}
	if http.given() {
		n.HTTP = http.httpNode(layer, once)
	}
	least := s.get("min_nodes")
	n.MinNodes = int(least.whole(0, 100_000))
	if least.given() && n.isServer() {
		least.fault("stands on a node that is one server; leave it out, or write it on a group of servers")
	}
	s.done()
	return n
}

// isServer: the node is one server, not a group.
func (n Node) isServer() bool {
	return n.Redis != nil && n.Redis.Address != "" || n.Memcached != nil && n.Memcached.Address != "" || n.HTTP != nil && n.HTTP.DNS == nil
}

// redis server or group; once refuses a server that the layer has already.
func (v value) redis(once func(at value, server string)) *Redis {
	s := v.section()
	out := &Redis{}
	address, replication, cluster := s.get("address"), s.get("replication"), s.get("cluster")
	sentinel, dns := s.get("sentinel"), s.get("dns")
	s.exactlyOne(address, replication, cluster, sentinel, dns)
	access := s.credentials()
	out.TLS = s.tls()
	if a, u := address.redisURL(); u != nil {
		out.Address = a
		once(address, "redis "+redisServer(u))
		access.fromURL(address, u.User)
		if u.Scheme == "rediss" && out.TLS == nil {
			out.TLS = &TLS{}
		}
	}
	replication.addresses("a primary or replica", "6379", func(item value, seed string) {
		out.Replication = append(out.Replication, seed)
		once(item, "redis "+strings.ToLower(seed)+"/0")
	})
	out.DNS = dns.dnsName("redis", "6379", once)
	cluster.addresses("a node of the Cluster", "6379", func(item value, seed string) {
		out.Cluster = append(out.Cluster, seed)
		once(item, "redis "+strings.ToLower(seed)+"/0")
	})
	if sentinel.given() {
		out.Sentinel = sentinel.sentinel(once)
	}
	out.Credentials = access.passwordedUser()
	s.done()
	return out
}

func (v value) memcached(once func(at value, server string)) *Memcached {
	s := v.section()
	out := &Memcached{}
	address, servers, dns := s.get("address"), s.get("servers"), s.get("dns")
	s.exactlyOne(address, servers, dns)
	if out.Address = address.address("11211"); out.Address != "" {
		once(address, "memcached "+strings.ToLower(out.Address))
	}
	hashing := s.get("hashing")
	out.Hashing = hashing.oneOf("", HashingGomemcache, HashingKetama, HashingAny)
	out.Servers = servers.poolServers(hashing, out.Hashing, once)
	out.DNS = dns.dnsName("memcached", "11211", once)
	switch {
	case servers.given():
		s.require(hashing, "how the clients find a key's server: gomemcache, ketama or any")
	case dns.given() && out.Hashing != "" && out.Hashing != HashingAny:
		hashing.fault("is %s, for which the order or the names of the servers decide, and DNS tells neither; write any, or a list of servers", hashing.quoted())
	case dns.given():
		out.Hashing = HashingAny
	case hashing.given():
		hashing.fault("stands without servers or dns; leave it out")
	}
	access := s.credentials()
	for _, f := range []struct {
		value
		text string
	}{{access.username, access.Username}, {access.password, string(access.Password)}} {
		if strings.ContainsAny(f.text, " \r\n\x00") {
			f.fault("holds white space, which memcached takes for its end; write one without")
		}
	}
	out.Credentials, out.TLS = access.pair(), s.tls()
	s.done()
	return out
}

func (v value) httpNode(layer string, once func(at value, server string)) *HTTPNode {
	s := v.section()
	out := &HTTPNode{}
	u, stats, health, dns := s.get("url"), s.get("stats"), s.get("health_url"), s.get("dns")
	out.DNS = dns.dnsName("http", "8080", func(value, string) {})
	read := value.url
	if dns.given() {
		read = value.memberURL
	}
	if s.require(u, "the URL of a key, such as http://app-1/cache/entries/{key}") {
		if dns.given() {
			out.URL = u.memberTemplate([]string{"key"})
		} else {
			out.URL = u.urlTemplate([]string{"key"})
		}
		if !out.URL.IsZero() && !slices.Contains(out.URL.Names(), "key") {
			u.fault("holds no {key}; write it where the key stands")
		}
	}
	if status := s.get("cache_status"); status.given() {
		out.CacheStatus = status.cacheStatus()
	}
	out.Edge = layer == "edge" || out.CacheStatus != nil
	out.OnlyIfCached = s.get("only_if_cached").bool(out.Edge)
	out.TTLFromHeaders = s.get("ttl_from_headers").bool(false)
	if stats.given() {
		out.Stats = stats.stats(read)
	}
	if text, ok := health.text("a URL"); ok && text != "" { // "" is none
		out.HealthURL = read(health)
	}
	out.Client = s.client()
	out.Headers = s.headers(out.Client)
	if !out.URL.IsZero() {
		// Behind one URL other headers may find another server, and behind another name there are others.
		once(u, fmt.Sprintf("http %s %q", out.URL, out.Headers)+dns.dnsKey())
	}
	s.done()
	return out
}

func (v value) cacheStatus() *CacheStatus {
	s := v.section()
	out := &CacheStatus{}
	header, hit := s.get("header"), s.get("hit")
	if s.require(header, "the header's name, such as X-Cache") {
		out.Header = header.headerName("the header's name, such as X-Cache")
	}
	if s.require(hit, "a regular expression that a hit matches, such as (?i)hit") {
		out.Hit = hit.regexp()
	}
	s.done()
	return out
}

// stats; read reads their URL.
func (v value) stats(read func(value) string) *HTTPStats {
	s := v.section()
	out := &HTTPStats{}
	u := s.get("url")
	if s.require(u, "the URL of the statistics") {
		out.URL = read(u)
	}
	out.Hits, out.Misses = s.get("hits").jsonPath(), s.get("misses").jsonPath()
	out.Evicted, out.Items = s.get("evicted").jsonPath(), s.get("items").jsonPath()
	out.UptimeSeconds = s.get("uptime_seconds").jsonPath()
	s.done()
	return out
}
