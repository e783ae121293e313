package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

// HTTPNode is a cache that answers over HTTP: an edge, or an application's local cache.
type HTTPNode struct {
	// URL holds {key}; with DNS, {host} and {port} too, as may the statistics' and the health URL.
	URL form.Template
	// DNS names servers, each of which is a node; nil: one node.
	DNS            *form.DNSName
	Headers        map[string]string
	CacheStatus    *CacheStatus
	OnlyIfCached   bool
	TTLFromHeaders bool
	Stats          *HTTPStats
	HealthURL      string
	Client         form.HTTPClient
	// Edge is true in a layer named edge, or with CacheStatus.
	Edge bool
}

// CacheStatus names the response header that tells a hit from a fill.
type CacheStatus struct {
	Header string
	Hit    *regexp.Regexp
}

// HTTPStats says where an HTTP node's own counters stand; an empty path is not counted there.
type HTTPStats struct {
	URL, Hits, Misses, Evicted, Items, UptimeSeconds string
}

// HTTPQueue is a queue that tells its depth in JSON; OldestAge, Enqueued and Processed are optional paths.
type HTTPQueue struct {
	URL, Depth, OldestAge, Enqueued, Processed string
	Client                                     form.HTTPClient
}

// HTTPHistory tells counters in JSON, at these paths.
type HTTPHistory struct {
	URL, Succeeded, Failed string
	Client                 form.HTTPClient
}

// PublishHTTP sends the message as the body of a request.
type PublishHTTP struct {
	URL, Method string
	Headers     map[string]string
	Client      form.HTTPClient
}

// App is an application whose instances tell the version of their caching code.
type App struct {
	Name string
	// Nodes: instance name -> URL. Instead of it, DNS names the instances, and URL holds {host} and {port}.
	Nodes map[string]string
	DNS   *form.DNSName
	URL   form.Template
	// JSON is the path of the version; empty: the body is the version.
	JSON   string
	Client form.HTTPClient
}

// readHTTPNode reads one server, or with dns several; once refuses a server that the layer has already.
func readHTTPNode(v form.Value, layer string, once func(at form.Value, server string)) *HTTPNode {
	b := v.Block()
	out := &HTTPNode{}
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
	if stats.Given() {
		out.Stats = readStats(stats, read)
	}
	if text, ok := health.Text("a URL"); ok && text != "" { // "" is none
		out.HealthURL = read(health)
	}
	out.Client = b.Client()
	out.Headers = b.Headers(out.Client)
	if !out.URL.IsZero() {
		// Behind one URL other headers may find another server, and behind another name there are others.
		once(u, fmt.Sprintf("http %s %q", out.URL, out.Headers)+dns.DNSKey())
	}
	b.Done()
	return out
}

// readCacheStatus reads how a hit is told from a fill.
func readCacheStatus(v form.Value) *CacheStatus {
	b := v.Block()
	out := &CacheStatus{}
	header, hit := b.Get("header"), b.Get("hit")
	if b.Require(header, "the header's name, such as X-Cache") {
		out.Header = header.HeaderName("the header's name, such as X-Cache")
	}
	if b.Require(hit, "a regular expression that a hit matches, such as (?i)hit") {
		out.Hit = hit.Regexp()
	}
	b.Done()
	return out
}

// readStats reads where a node's counters stand; read reads their URL.
func readStats(v form.Value, read func(form.Value) string) *HTTPStats {
	b := v.Block()
	out := &HTTPStats{}
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

// readHTTPQueue reads where a queue tells its depth in JSON.
func readHTTPQueue(v form.Value) *HTTPQueue {
	b := v.Block()
	q := &HTTPQueue{}
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

// readHTTPHistory reads where counters of attempts stand in JSON.
func readHTTPHistory(v form.Value) *HTTPHistory {
	b := v.Block()
	h := &HTTPHistory{}
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

// readPublishHTTP reads where a message is sent.
func readPublishHTTP(v form.Value) *PublishHTTP {
	b := v.Block()
	out := &PublishHTTP{}
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

// readHTTPOrigin reads where the truth of a key is asked; names may stand in the URL.
func readHTTPOrigin(v form.Value, names []string) (url form.Template, headers map[string]string, client form.HTTPClient) {
	b := v.Block()
	u := b.Get("url")
	if b.Require(u, "the URL of the truth, such as http://app/api/users/{key}") {
		url = u.URLTemplate(names)
		if !url.IsZero() && len(url.Names()) == 0 {
			u.Fault("holds no {key}; write it, or a name of match, where the key stands")
		}
	}
	client = b.Client()
	headers = b.Headers(client)
	b.Done()
	return url, headers, client
}

// readApp reads where the instances of an application tell their versions.
func readApp(v form.Value, apps form.Taken) App {
	b := v.Block()
	a := App{Nodes: map[string]string{}}
	name, nodes, dns, u := b.Get("app"), b.Get("nodes"), b.Get("dns"), b.Get("url")
	if b.Require(name, "the application's name") {
		a.Name = name.Name("the application's name")
		apps.Add(name, a.Name, "application")
	}
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
		for n, instance := range instances.Entries() {
			if n == "" || !form.IsName(n) || strings.Contains(n, "${") {
				instance.Fault("is no plain name, and ${…} is filled in in values alone; write the instance's name")
			}
			a.Nodes[n] = instance.URL()
		}
	}
	a.JSON = b.Get("json").JSONPath()
	a.Client = b.Client()
	b.Done()
	return a
}
