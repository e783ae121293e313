package http

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/configfiles"
)

// sameConfig compares templates and expressions by their text.
var sameConfig = cmp.Options{
	cmp.Comparer(func(a, b form.Template) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b *regexp.Regexp) bool { return fmt.Sprint(a) == fmt.Sprint(b) }),
}

func configTemplate(t *testing.T, text string) form.Template {
	t.Helper()
	out, err := form.ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// appLogin is how ours logs in at an application.
var appLogin = form.Credentials{Username: "exporter", Password: "of app"}

func TestNodesAreRead(t *testing.T) {
	dir := configfiles.Fixtures(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	const list = `
- url: "http://pop-fra.example/users/{key}"
  headers: {Host: www.example.com}
  cache_status: {header: X-Cache, hit: "(?i)hit", member: last}
  ttl_from_headers: true
  bearer_token_file: edge.token
- url: "https://app-1:8443/cache/entries/{key}"
  stats:
    url: "https://app-1:8443/cache/stats"
    hits: "$.hits"
    misses: "$.misses"
    evicted: "$.evicted"
    items: "$.size"
    uptime_seconds: "$.uptime"
  health_url: "https://app-1:8443/health"
  username: exporter
  password: ${APP_PASSWORD}
  tls: {ca_file: ca.pem, cert_file: client.pem, key_file: client-key.pem, server_name: app.example, insecure_skip_verify: false}
- {url: "http://app-1/{key}", username: u, password_file: redis.password, only_if_cached: true}
- {url: "http://app-2/{key}?n={key}", health_url: ""}
- {url: "http://${CACHEINV_TEST_HOST}/{key}", headers: {X-Auth: "${CACHEINV_TEST_PASSWORD}"}}
- dns: "app-headless:8080"
  url: "http://{host}:{port}/cache/entries/{key}"
  stats: {url: "http://{host}:9090/stats?of={host}", hits: "$.hits"}
  health_url: "https://{host}/health"
- {dns: "srv+_app._tcp.example.org", url: "http://{host}:{port}/cache/entries/{key}"}
- {url: "http://pop-lon/{key}", cache_status: {member: first}, variants: [identity, gzip]}
`
	got := configfiles.Blocks(t, dir, list, func(v form.Value) *nodeConfig { return readNode(v, "l1", func(form.Value, string) {}) })
	member := configTemplate(t, "http://{host}:{port}/cache/entries/{key}")
	want := []*nodeConfig{
		{
			URL: configTemplate(t, "http://pop-fra.example/users/{key}"), Headers: map[string]string{"Host": "www.example.com"},
			CacheStatus:  &cacheStatusConfig{Header: "X-Cache", Hit: regexp.MustCompile("(?i)hit")},
			OnlyIfCached: true, TTLFromHeaders: true, Client: form.HTTPClient{BearerTokenFile: in("edge.token")}, Edge: true,
		},
		{
			URL: configTemplate(t, "https://app-1:8443/cache/entries/{key}"), HealthURL: "https://app-1:8443/health",
			Stats: &statsConfig{
				URL: "https://app-1:8443/cache/stats", Hits: "$.hits", Misses: "$.misses", Evicted: "$.evicted", Items: "$.size", UptimeSeconds: "$.uptime",
			},
			Client: form.HTTPClient{
				Credentials: appLogin,
				TLS:         &form.TLS{CAFile: in("ca.pem"), CertFile: in("client.pem"), KeyFile: in("client-key.pem"), ServerName: "app.example"},
			},
		},
		{
			URL: configTemplate(t, "http://app-1/{key}"), OnlyIfCached: true,
			Client: form.HTTPClient{Credentials: form.Credentials{Username: "u", PasswordFile: in("redis.password")}},
		},
		{URL: configTemplate(t, "http://app-2/{key}?n={key}")},
		{URL: configTemplate(t, "http://cache-1/{key}"), Headers: map[string]string{"X-Auth": "s3cret"}},
		{
			DNS: &form.DNSName{Host: "app-headless", Port: "8080"}, URL: member,
			Stats: &statsConfig{URL: "http://{host}:9090/stats?of={host}", Hits: "$.hits"}, HealthURL: "https://{host}/health",
		},
		{DNS: &form.DNSName{Host: "_app._tcp.example.org", SRV: true}, URL: member},
		{URL: configTemplate(t, "http://pop-lon/{key}"), CacheStatus: &cacheStatusConfig{First: true}, OnlyIfCached: true, Edge: true, Variants: []string{"identity", "gzip"}},
	}
	if d := cmp.Diff(want, got, sameConfig); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	if printed := fmt.Sprintf("%+v %#v", got[1], got[1]); strings.Contains(printed, "of app") {
		t.Errorf("a password is printed: %s", printed)
	}
}

// TestEdgesAreRead: a layer's name, or cache_status, makes an edge, which is asked for what it has alone unless the file says
// otherwise.
func TestEdgesAreRead(t *testing.T) {
	const block, other = `{url: "http://pop/{key}", `, "headers: {Host: www.example.com}"
	for name, tt := range map[string]struct {
		layer, fields      string
		edge, onlyIfCached bool
	}{
		"an edge":                 {"edge", other, true, true},
		"an edge that may fill":   {"edge", other + ", only_if_cached: false", true, false},
		"a cache_status":          {"cdn", other + `, cache_status: {header: X-Cache, hit: hit}`, true, true},
		"another layer":           {"l1", other, false, false},
		"another that is careful": {"l1", other + ", only_if_cached: true", false, true},
	} {
		d := form.Read("c.yml", []byte(block+tt.fields+"}"))
		got := readNode(d.Root(), tt.layer, func(form.Value, string) {})
		if len(d.Faults()) > 0 || got.Edge != tt.edge || got.OnlyIfCached != tt.onlyIfCached || got.Headers["Host"] != "www.example.com" {
			t.Errorf("%s: %+v %v", name, got, d.Faults())
		}
	}
}

func TestQueuesAreRead(t *testing.T) {
	dir := configfiles.Fixtures(t)
	const list = `
- {url: "http://app-1:8080/queue", depth: "$.depth", enqueued: "$.in", processed: "$.out"}
- {url: "http://app/queue", depth: "$.depth", oldest_age_seconds: "$.age"}
- {url: "https://app/queue", depth: "$", username: u, password: x, tls: {}}
- {url: "https://app/queue", depth: "$", username: u, password_file: redis.password}
- {url: "https://app/queue", depth: "$", bearer_token_file: edge.token}
`
	got := configfiles.Blocks(t, dir, list, readQueue)
	const url = "https://app/queue"
	want := []*queueConfig{
		{URL: "http://app-1:8080/queue", Depth: "$.depth", Enqueued: "$.in", Processed: "$.out"},
		{URL: "http://app/queue", Depth: "$.depth", OldestAge: "$.age"},
		{URL: url, Depth: "$", Client: form.HTTPClient{Credentials: form.Credentials{Username: "u", Password: "x"}, TLS: &form.TLS{}}},
		{URL: url, Depth: "$", Client: form.HTTPClient{Credentials: form.Credentials{Username: "u", PasswordFile: filepath.Join(dir, "redis.password")}}},
		{URL: url, Depth: "$", Client: form.HTTPClient{BearerTokenFile: filepath.Join(dir, "edge.token")}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

func TestHistoriesAreRead(t *testing.T) {
	dir := configfiles.Fixtures(t)
	const list = `
- {url: "http://processor:8080/stats", succeeded: "$.succeeded", failed: "$.failed"}
- url: "https://processor:8443/stats"
  succeeded: "$.ok"
  failed: "$['failed']"
  username: exporter
  password: ${APP_PASSWORD}
  tls: {ca_file: ca.pem}
- {url: "http://p/stats", succeeded: "$.ok", failed: "$.bad", username: exporter, password_file: redis.password}
- {url: "http://p/stats", succeeded: "$.ok", failed: "$.bad", bearer_token_file: edge.token}
`
	got := configfiles.Blocks(t, dir, list, readHistory)
	want := []*historyConfig{
		{URL: "http://processor:8080/stats", Succeeded: "$.succeeded", Failed: "$.failed"},
		{
			URL: "https://processor:8443/stats", Succeeded: "$.ok", Failed: "$['failed']",
			Client: form.HTTPClient{Credentials: appLogin, TLS: &form.TLS{CAFile: filepath.Join(dir, "ca.pem")}},
		},
		{
			URL: "http://p/stats", Succeeded: "$.ok", Failed: "$.bad",
			Client: form.HTTPClient{Credentials: form.Credentials{Username: "exporter", PasswordFile: filepath.Join(dir, "redis.password")}},
		},
		{URL: "http://p/stats", Succeeded: "$.ok", Failed: "$.bad", Client: form.HTTPClient{BearerTokenFile: filepath.Join(dir, "edge.token")}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

func TestPublishersAreRead(t *testing.T) {
	dir := configfiles.Fixtures(t)
	const list = `
- {url: "https://app/invalidate", method: PUT, headers: {X-Source: probe}, username: u, password: x, tls: {ca_file: ca.pem}}
- {url: "http://app/invalidate", username: u, password_file: redis.password}
- {url: "http://app/invalidate", bearer_token_file: edge.token}
`
	got := configfiles.Blocks(t, dir, list, readPublisher)
	want := []*publishConfig{
		{
			URL: "https://app/invalidate", Method: "PUT", Headers: map[string]string{"X-Source": "probe"},
			Client: form.HTTPClient{Credentials: form.Credentials{Username: "u", Password: "x"}, TLS: &form.TLS{CAFile: filepath.Join(dir, "ca.pem")}},
		},
		{
			URL: "http://app/invalidate", Method: "POST",
			Client: form.HTTPClient{Credentials: form.Credentials{Username: "u", PasswordFile: filepath.Join(dir, "redis.password")}},
		},
		{URL: "http://app/invalidate", Method: "POST", Client: form.HTTPClient{BearerTokenFile: filepath.Join(dir, "edge.token")}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

func TestOriginsAreRead(t *testing.T) {
	dir := configfiles.Fixtures(t)
	const list = `
- url: "http://app/api/users/{id}"
  headers: {Accept: application/json}
  username: exporter
  password: ${APP_PASSWORD}
- {url: "https://prices.example/{key}", bearer_token_file: edge.token, tls: {}}
- {url: "http://app/{key}", username: u, password_file: redis.password}
`
	got := configfiles.Blocks(t, dir, list, func(v form.Value) *originConfig { return readOrigin(v, []string{"key", "id"}) })
	want := []*originConfig{
		{
			URL: configTemplate(t, "http://app/api/users/{id}"), Headers: map[string]string{"Accept": "application/json"},
			Client: form.HTTPClient{Credentials: appLogin},
		},
		{
			URL:    configTemplate(t, "https://prices.example/{key}"),
			Client: form.HTTPClient{BearerTokenFile: filepath.Join(dir, "edge.token"), TLS: &form.TLS{}},
		},
		{
			URL:    configTemplate(t, "http://app/{key}"),
			Client: form.HTTPClient{Credentials: form.Credentials{Username: "u", PasswordFile: filepath.Join(dir, "redis.password")}},
		},
	}
	if d := cmp.Diff(want, got, sameConfig); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

func TestRefreshersAreRead(t *testing.T) {
	dir := configfiles.Fixtures(t)
	const list = `
- url: "http://app/cache/refresh/{id}"
  headers: {Accept: application/json}
  username: exporter
  password: ${APP_PASSWORD}
- {url: "https://edge.example/{key}", method: PURGE, bearer_token_file: edge.token, tls: {}}
- {url: "http://app/{key}", method: GET, username: u, password_file: redis.password}
`
	got := configfiles.Blocks(t, dir, list, func(v form.Value) *refresherConfig { return readRefresher(v, []string{"key", "id"}) })
	want := []*refresherConfig{
		{
			URL: configTemplate(t, "http://app/cache/refresh/{id}"), Method: "POST", Headers: map[string]string{"Accept": "application/json"},
			Client: form.HTTPClient{Credentials: appLogin},
		},
		{
			URL: configTemplate(t, "https://edge.example/{key}"), Method: "PURGE",
			Client: form.HTTPClient{BearerTokenFile: filepath.Join(dir, "edge.token"), TLS: &form.TLS{}},
		},
		{
			URL: configTemplate(t, "http://app/{key}"), Method: "GET",
			Client: form.HTTPClient{Credentials: form.Credentials{Username: "u", PasswordFile: filepath.Join(dir, "redis.password")}},
		},
	}
	if d := cmp.Diff(want, got, sameConfig); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

func TestApplicationsAreRead(t *testing.T) {
	dir := configfiles.Fixtures(t)
	const list = `
- {nodes: {app-1: "http://app-1:8080/cache/version", app-2: "http://app-2:8080/cache/version"}, json: "$.version"}
- {nodes: {worker-1: "https://worker-1/version"}, username: exporter, password_file: redis.password, tls: {ca_file: ca.pem}}
- {nodes: {"app-1:8080": "http://app-1:8080/version"}, username: u, password: x}
- {nodes: {1: "http://app-1/version"}, bearer_token_file: edge.token}
- {dns: "app-headless:8080", url: "http://{host}:{port}/cache/version", json: "$.version"}
`
	got := configfiles.Blocks(t, dir, list, func(v form.Value) *applicationConfig {
		fields := v.Block()
		defer fields.Done()
		return readApplication(fields)
	})
	want := []*applicationConfig{
		{Nodes: map[string]string{"app-1": "http://app-1:8080/cache/version", "app-2": "http://app-2:8080/cache/version"}, JSON: "$.version"},
		{
			Nodes: map[string]string{"worker-1": "https://worker-1/version"},
			Client: form.HTTPClient{
				Credentials: form.Credentials{Username: "exporter", PasswordFile: filepath.Join(dir, "redis.password")},
				TLS:         &form.TLS{CAFile: filepath.Join(dir, "ca.pem")},
			},
		},
		{
			Nodes:  map[string]string{"app-1:8080": "http://app-1:8080/version"},
			Client: form.HTTPClient{Credentials: form.Credentials{Username: "u", Password: "x"}},
		},
		{Nodes: map[string]string{"1": "http://app-1/version"}, Client: form.HTTPClient{BearerTokenFile: filepath.Join(dir, "edge.token")}},
		{
			Nodes: map[string]string{}, DNS: &form.DNSName{Host: "app-headless", Port: "8080"},
			URL: configTemplate(t, "http://{host}:{port}/cache/version"), JSON: "$.version",
		},
	}
	if d := cmp.Diff(want, got, sameConfig); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}
