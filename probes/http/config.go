package http

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

// nodeConfig is a cache that answers over HTTP: an edge, or an application's local cache.
type nodeConfig struct {
	// URL holds {key}; with DNS, {host} and {port} too, as may the statistics' and the health URL.
	URL form.Template
	// DNS names servers, each of which is a node; nil: one node.
	DNS         *form.DNSName
	Headers     map[string]string
	CacheStatus *cacheStatusConfig
	// Variants are the encodings of each key that are asked for; none: what the node sends by itself.
	Variants       []string
	OnlyIfCached   bool
	TTLFromHeaders bool
	Stats          *statsConfig
	HealthURL      string
	Client         form.HTTPClient
	// Edge is true in a layer named edge, or with CacheStatus.
	Edge bool
}

// cacheStatusConfig says what tells a hit from a fill.
type cacheStatusConfig struct {
	// Header that a hit matches; Hit is nil where none but the common ones are looked at.
	Header string
	Hit    *regexp.Regexp
	// First: of a list the edge's own member is the first, not the last.
	First bool
}

// statsConfig says where a node's own counters stand; one whose path is empty does not stand there.
type statsConfig struct {
	URL, Hits, Misses, Evicted, Items, UptimeSeconds string
}

// queueConfig is a queue that reports its depth in JSON; OldestAge, Enqueued and Processed are optional paths.
type queueConfig struct {
	URL, Depth, OldestAge, Enqueued, Processed string
	Client                                     form.HTTPClient
}

// historyConfig is a processor that reports its counters in JSON, at these paths.
type historyConfig struct {
	URL, Succeeded, Failed string
	Client                 form.HTTPClient
}

// publishConfig sends the message as the body of a request.
type publishConfig struct {
	URL, Method string
	Headers     map[string]string
	Client      form.HTTPClient
}

// originConfig is where the truth of a key is asked.
type originConfig struct {
	// URL may hold {key} and the names of the class's match.
	URL     form.Template
	Headers map[string]string
	Client  form.HTTPClient
}

// refresherConfig is where an application is asked to make its copies of a key anew.
type refresherConfig struct {
	// URL may hold {key} and the names of the class's match.
	URL     form.Template
	Method  string
	Headers map[string]string
	Client  form.HTTPClient
}

// applicationConfig is an application whose instances report the version of their caching code.
type applicationConfig struct {
	// Nodes: instance name -> URL. Instead of it, DNS names the instances, and URL holds {host} and {port}.
	Nodes map[string]string
	DNS   *form.DNSName
	URL   form.Template
	// JSON is the path of the version; empty: the body is the version.
	JSON   string
	Client form.HTTPClient
}

// readNode reads one server, or with dns several; once refuses a server that the layer has already.
func readNode(v form.Value, layer string, once func(at form.Value, server string)) *nodeConfig {
	b := v.Block()
	out := &nodeConfig{}
	u, stats, health, dns := b.Get("url"), b.Get("stats"), b.Get("health_url"), b.Get("dns")
	out.DNS = dns.DNSName("http", "8080", func(form.Value, string) {})
	read := form.Value.URL
	if dns.Given() {
		read = form.Value.MemberURL
	}
	if b.Require(u, "the URL of a key, such as http://app-1/cache/entries/{key}") {
		if dns.Given() {
			out.URL = u.MemberTemplate([]string{"key"})
		} else {
			out.URL = u.URLTemplate([]string{"key"})
		}
		if !out.URL.IsZero() && !slices.Contains(out.URL.Names(), "key") {
			u.Fault("holds no {key}; write it where the key stands")
		}
	}
	if status := b.Get("cache_status"); status.Given() {
		out.CacheStatus = readCacheStatus(status)
	}
	out.Edge = layer == "edge" || out.CacheStatus != nil
	out.OnlyIfCached = b.Get("only_if_cached").Bool(out.Edge)
	out.TTLFromHeaders = b.Get("ttl_from_headers").Bool(false)
	variants := b.Get("variants")
	out.Variants = readVariants(variants)
	if stats.Given() {
		out.Stats = readStats(stats, read)
	}
	if text, ok := health.Text("a URL"); ok && text != "" { // "" is none
		out.HealthURL = read(health)
	}
	out.Client = b.Client()
	out.Headers = b.Headers(out.Client)
	for name := range out.Headers {
		if variants.Given() && http.CanonicalHeaderKey(name) == acceptEncoding {
			variants.Fault("conflicts with headers.%s; keep one", name)
		}
	}
	if !out.URL.IsZero() {
		// Behind one URL other headers may find another server, and behind another name there are others.
		once(u, fmt.Sprintf("http %s %q", out.URL, out.Headers)+dns.DNSKey())
	}
	b.Done()
	return out
}

// readVariants reads the encodings that a node is asked for.
func readVariants(v form.Value) []string {
	known := append([]string{"identity"}, content.Encodings()...)
	variants, items := v.Words("variants, such as identity and gzip", "a variant, such as gzip")
	for i, item := range items {
		if variants[i] != "" {
			variants[i] = item.OneOf("", known...)
		}
	}
	return variants
}

// readCacheStatus reads how a hit is told from a fill.
func readCacheStatus(v form.Value) *cacheStatusConfig {
	b := v.Block()
	out := &cacheStatusConfig{}
	header, hit, member := b.Get("header"), b.Get("hit"), b.Get("member")
	out.First = member.OneOf("last", "first", "last") == "first"
	if !member.Given() || header.Given() || hit.Given() {
		if b.Require(header, "the header's name, such as X-Cache") {
			out.Header = header.HeaderName("the header's name, such as X-Cache")
		}
		if b.Require(hit, "a regular expression that a hit matches, such as (?i)hit") {
			out.Hit = hit.Regexp()
		}
	}
	b.Done()
	return out
}

// readStats reads where a node's counters stand; read reads their URL.
func readStats(v form.Value, read func(form.Value) string) *statsConfig {
	b := v.Block()
	out := &statsConfig{}
	u := b.Get("url")
	if b.Require(u, "the URL of the statistics") {
		out.URL = read(u)
	}
	out.Hits, out.Misses = b.Get("hits").JSONPath(), b.Get("misses").JSONPath()
	out.Evicted, out.Items = b.Get("evicted").JSONPath(), b.Get("items").JSONPath()
	out.UptimeSeconds = b.Get("uptime_seconds").JSONPath()
	b.Done()
	return out
}

// readQueue reads where a queue reports its depth in JSON.
func readQueue(v form.Value) *queueConfig {
	b := v.Block()
	q := &queueConfig{}
	u, depth := b.Get("url"), b.Get("depth")
	if b.Require(u, "the URL that tells the depth") {
		q.URL = u.URL()
	}
	if b.Require(depth, "the path of the depth, such as $.depth") {
		q.Depth = depth.JSONPath()
	}
	q.OldestAge = b.Get("oldest_age_seconds").JSONPath()
	q.Enqueued, q.Processed = b.Get("enqueued").JSONPath(), b.Get("processed").JSONPath()
	q.Client = b.Client()
	b.Done()
	return q
}

// readHistory reads where counters of attempts stand in JSON.
func readHistory(v form.Value) *historyConfig {
	b := v.Block()
	h := &historyConfig{}
	u, succeeded, failed := b.Get("url"), b.Get("succeeded"), b.Get("failed")
	if b.Require(u, "the URL that tells the counters") {
		h.URL = u.URL()
	}
	if b.Require(succeeded, "the path of the counter of attempts that succeeded, such as $.succeeded") {
		h.Succeeded = succeeded.JSONPath()
	}
	if b.Require(failed, "the path of the counter of attempts that failed, such as $.failed") {
		h.Failed = failed.JSONPath()
	}
	h.Client = b.Client()
	b.Done()
	return h
}

// methods that carry a body.
var methods = []string{"POST", "PUT", "PATCH", "DELETE"}

// readPublisher reads where a message is sent.
func readPublisher(v form.Value) *publishConfig {
	b := v.Block()
	out := &publishConfig{}
	u := b.Get("url")
	if b.Require(u, "the URL that takes invalidations") {
		out.URL = u.URL()
	}
	out.Method = b.Get("method").OneOf("POST", methods...)
	out.Client = b.Client()
	out.Headers = b.Headers(out.Client)
	b.Done()
	return out
}

// readOrigin reads where the truth of a key is asked; keyNames may stand in the URL.
func readOrigin(v form.Value, keyNames []string) *originConfig {
	b := v.Block()
	o := &originConfig{}
	u := b.Get("url")
	if b.Require(u, "the URL of the truth, such as http://app/api/users/{key}") {
		o.URL = u.URLTemplate(keyNames)
		if !o.URL.IsZero() && len(o.URL.Names()) == 0 {
			u.Fault("holds no {key}; write it, or a name of match, where the key stands")
		}
	}
	o.Client = b.Client()
	o.Headers = b.Headers(o.Client)
	b.Done()
	return o
}

// refreshMethods are those by which applications and edges are asked to drop a copy or to make it anew.
var refreshMethods = []string{"POST", "PUT", "PATCH", "DELETE", "GET", "PURGE"}

// readRefresher reads where copies are asked to be made anew; keyNames may stand in the URL.
func readRefresher(v form.Value, keyNames []string) *refresherConfig {
	b := v.Block()
	r := &refresherConfig{}
	u := b.Get("url")
	if b.Require(u, "the URL that makes a key's copies anew, such as http://app/cache/refresh/{key}") {
		r.URL = u.URLTemplate(keyNames)
		if !r.URL.IsZero() && len(r.URL.Names()) == 0 {
			u.Fault("holds no {key}; write it, or a name of match, where the key stands")
		}
	}
	r.Method = b.Get("method").OneOf("POST", refreshMethods...)
	r.Client = b.Client()
	r.Headers = b.Headers(r.Client)
	b.Done()
	return r
}

// readApplication reads where the instances of an application report their versions.
func readApplication(b *form.Block) *applicationConfig {
	a := &applicationConfig{Nodes: map[string]string{}}
	nodes, dns, u := b.Get("nodes"), b.Get("dns"), b.Get("url")
	b.ExactlyOne(nodes, dns)
	a.DNS = dns.DNSName("app", "8080", func(form.Value, string) {})
	switch {
	case dns.Given():
		if b.Require(u, "the URL of an instance's version, such as http://{host}:{port}/version") {
			a.URL = u.MemberTemplate(nil)
		}
	case u.Given():
		u.Fault("stands without dns; write dns, or the URLs into nodes")
	}
	if nodes.Given() {
		instances := nodes.Block()
		if instances.Empty() {
			nodes.Fault("is empty; write name: URL for each instance")
		}
		for name, item := range instances.Entries() {
			if name == "" || !form.IsName(name) || strings.Contains(name, "${") {
				item.Fault("is no plain name, and ${…} is filled in in values alone; write the instance's name")
			}
			a.Nodes[name] = item.URL()
		}
	}
	a.JSON = b.Get("json").JSONPath()
	a.Client = b.Client()
	return a
}
