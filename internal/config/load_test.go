package config

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

// examples of a folder of testdata, by path.
func examples(t testing.TB, folder string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", folder, "*.yml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	out := map[string][]byte{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[path] = data
	}
	return out
}

// faultsOf a configuration; dir has the files that it names.
func faultsOf(t testing.TB, dir string, data []byte) form.Faults {
	t.Helper()
	c, err := Parse(filepath.Join(dir, "cacheinv.yml"), data)
	var faults form.Faults
	if err != nil && !errors.As(err, &faults) {
		t.Fatalf("%T is no Faults", err)
	}
	if (c == nil) != (len(faults) > 0) {
		t.Fatalf("%d faults, and a configuration: %t", len(faults), c != nil)
	}
	return faults
}

// Each file of testdata/invalid says in its first lines which faults it has, all of them.
func TestInvalid(t *testing.T) {
	dir := surroundings(t)
	for path, data := range examples(t, "invalid") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yml"), func(t *testing.T) {
			var want []string
			for line := range strings.Lines(string(data)) {
				fault, ok := strings.CutPrefix(line, "# want: ")
				if !ok {
					break
				}
				want = append(want, strings.TrimSuffix(fault, "\n"))
			}
			if len(want) == 0 {
				t.Error("the file does not say what is wrong with it")
			}
			var got []string
			for _, f := range faultsOf(t, dir, data) {
				fault := strings.TrimPrefix(f.Error(), f.File+":")
				got = append(got, fault)
				if strings.Contains(fault, secret) {
					t.Errorf("a secret is shown: %s", fault)
				}
				if !strings.Contains(f.Message, ";") {
					t.Errorf("does not say what to write: %s", fault)
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("want (-), got (+):\n%s", d)
			}
		})
	}
}

// What the code can say is said by some file, and says what to write instead.
func TestEveryFaultIsProvoked(t *testing.T) {
	dir := surroundings(t)
	var provoked []string
	for _, data := range examples(t, "invalid") {
		for _, f := range faultsOf(t, dir, data) {
			provoked = append(provoked, f.Message)
		}
	}
	formats := faultFormats(t)
	if len(formats) < 50 {
		t.Errorf("only %d faults were found in the code; mend the search", len(formats))
	}
	verb := regexp.MustCompile(`%[a-zA-Z]`)
	for format, at := range formats {
		if !strings.Contains(format, ";") {
			t.Errorf("%s: %q does not say what to write", at, format)
		}
		var parts []string
		for _, literal := range verb.Split(format, -1) {
			parts = append(parts, regexp.QuoteMeta(strings.ReplaceAll(literal, "%%", "%")))
		}
		message := regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
		if !slices.ContainsFunc(provoked, message.MatchString) {
			t.Errorf("%s: no file in testdata/invalid provokes %q", at, format)
		}
	}
}

// readers are the files that read the configuration: form, this package and each backend's own block.
var readers = []string{"*.go", "../form/*.go", "../../probes/*/config.go"}

// faultFormats are the messages of all calls that add a fault, with their places.
func faultFormats(t *testing.T) map[string]string {
	t.Helper()
	var files []string
	for _, pattern := range readers {
		found, err := filepath.Glob(filepath.FromSlash(pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	out, set := map[string]string{}, token.NewFileSet()
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncDecl); ok && f.Name.Name == "Fault" { // it hands a format on
				return false
			}
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			called, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || called.Sel.Name != "Fault" && called.Sel.Name != "faultAt" {
				return true
			}
			for _, arg := range call.Args {
				literal, ok := arg.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING || literal.Value == `""` {
					continue
				}
				format, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				out[format] = set.Position(call.Pos()).String()
				return true
			}
			t.Errorf("%s: the fault's message is no literal", set.Position(call.Pos()))
			return true
		})
	}
	return out
}

func TestValid(t *testing.T) {
	dir := surroundings(t)
	for path, data := range examples(t, "valid") {
		if faults := faultsOf(t, dir, data); len(faults) > 0 {
			t.Errorf("%s:\n%v", path, faults)
		}
		compiles(t, dir, data)
	}
}

// askedFields of all valid examples, with whether one has them.
func askedFields(t *testing.T) map[string]bool {
	t.Helper()
	dir := surroundings(t)
	asked := map[string]bool{}
	for _, data := range examples(t, "valid") {
		d := form.Read(filepath.Join(dir, "cacheinv.yml"), data)
		read(d)
		for field, given := range d.Asked() {
			asked[field] = asked[field] || given
		}
	}
	return asked
}

// Every field stands in some valid example, so that each is seen to work.
func TestEveryFieldIsInAnExample(t *testing.T) {
	asked := askedFields(t)
	for field, given := range asked {
		if at := strings.Index(field, ".tls."); at >= 0 { // one piece of code reads all tls blocks
			given = given || asked["layers[].nodes[].http"+field[at:]]
		}
		if !given {
			t.Errorf("no file in testdata/valid has %s", field)
		}
	}
}

func template(t testing.TB, text string) form.Template {
	t.Helper()
	out, err := form.ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// same compares configurations; templates and expressions by their text.
var same = cmp.Options{
	cmp.Comparer(func(a, b form.Template) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b *regexp.Regexp) bool { return fmt.Sprint(a) == fmt.Sprint(b) }),
}

func load(t *testing.T, name string) (c *Config, dir string) {
	t.Helper()
	dir = surroundings(t)
	data, err := os.ReadFile(filepath.Join("testdata", "valid", name))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err = Load(path); err != nil {
		t.Fatal(err)
	}
	return c, dir
}

func TestMinimal(t *testing.T) {
	c, _ := load(t, "minimal.yml")
	want := &Config{
		Layers: []Layer{{Name: "l2", TTL: time.Hour, Nodes: []Node{
			{Name: "redis-1", Redis: &Redis{Address: "cache-1:6379"}}, {Name: "redis-2", Redis: &Redis{Address: "cache-2:6379"}},
		}}},
		Canaries: []Class{{Name: "user_profile", Keys: []string{"user:12345:profile"}, Sample: 100, Layers: []ClassLayer{{Name: "l2", Key: template(t, "{key}")}}}},
	}
	if d := cmp.Diff(want, c, same); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

func TestFull(t *testing.T) {
	c, dir := load(t, "full.yml")
	in := func(name string) string { return filepath.Join(dir, name) }
	host := map[string]string{"Host": "www.example.com"}
	ca := &form.TLS{CAFile: in("ca.pem")}
	user := form.Credentials{Username: "exporter", PasswordFile: in("redis.password")}
	app := form.Credentials{Username: "exporter", Password: "of app"}
	const skew = 5 * time.Second
	want := &Config{
		Layers: []Layer{
			{Name: "edge", TTL: 5 * time.Minute, MaxStaleness: 5 * time.Minute, Nodes: []Node{
				{Name: "pop-fra", HTTP: &HTTPNode{
					URL: template(t, "http://pop-fra.example/users/{key}"), Headers: host, CacheStatus: &CacheStatus{Header: "X-Cache", Hit: regexp.MustCompile("(?i)hit")},
					OnlyIfCached: true, TTLFromHeaders: true, Client: form.HTTPClient{BearerTokenFile: in("edge.token")}, Edge: true,
				}},
				{Name: "pop-ams", HTTP: &HTTPNode{URL: template(t, "http://pop-ams.example/users/{key}"), Headers: host, Edge: true}},
			}},
			{Name: "l1", TTL: time.Minute, MaxStaleness: 5 * time.Second, Nodes: []Node{
				{Name: "app-1", HTTP: &HTTPNode{
					URL: template(t, "https://app-1:8443/cache/entries/{key}"), HealthURL: "https://app-1:8443/health",
					Stats: &HTTPStats{URL: "https://app-1:8443/cache/stats", Hits: "$.hits", Misses: "$.misses", Evicted: "$.evicted", Items: "$.size", UptimeSeconds: "$.uptime"},
					Client: form.HTTPClient{
						Credentials: app,
						TLS:         &form.TLS{CAFile: in("ca.pem"), CertFile: in("client.pem"), KeyFile: in("client-key.pem"), ServerName: "app.example"},
					},
				}},
			}},
			{Name: "l2", TTL: time.Hour, MaxStaleness: 5 * time.Second, Nodes: []Node{
				{Name: "redis-1", Redis: &Redis{Address: "redis://cache-1:6379/0", Credentials: user}},
				{Name: "redis-2", Redis: &Redis{Address: "rediss://cache-2:6379", Credentials: form.Credentials{Password: "of redis"}, TLS: ca}},
				{Name: "pair", Redis: &Redis{Replication: []string{"primary.example:6379", "replica.example:6379"}, TLS: &form.TLS{}}},
			}},
			{Name: "l3", NoExpiry: true, MaxStaleness: 30 * time.Second, Nodes: []Node{
				{Name: "mc-1", Memcached: &Memcached{Address: "cache-3:11211"}},
				{Name: "mc-2", Memcached: &Memcached{Address: "[2001:db8::1]:11211", Credentials: user, TLS: &form.TLS{}}},
			}},
		},
		Queues: []Queue{
			{Name: "invalidation_queue", Capacity: 20000, Redis: &RedisQueue{Node: "redis-1", List: "invalidation_queue"}},
			{Name: "invalidation_stream", Redis: &RedisQueue{Node: "pair", Stream: "inv", Groups: []form.NameMatch{{Exact: "processors"}, {Regexp: regexp.MustCompile("^audit-")}}}},
			{Name: "cache-invalidation", Kafka: &KafkaQueue{
				Brokers: []string{"kafka-1:9092", "kafka-2:9092"}, Topics: []form.NameMatch{{Exact: "cache-invalidation"}, {Regexp: regexp.MustCompile(`^inv\.`)}},
				Groups: []form.NameMatch{{Regexp: regexp.MustCompile("^inv-.*")}}, TLS: ca,
				SASL: &SASL{Mechanism: "SCRAM-SHA-512", Credentials: form.Credentials{Username: "exporter", PasswordFile: in("kafka.password")}},
			}},
			{Name: "cloud", Kafka: &KafkaQueue{
				Brokers: []string{"b-1.msk.example:9098"}, Topics: []form.NameMatch{{Exact: "inv"}}, Groups: []form.NameMatch{{Exact: "workers"}}, TLS: &form.TLS{},
				SASL: &SASL{Mechanism: "AWS_MSK_IAM", Region: "us-east-1"},
			}},
			{Name: "tokens", Kafka: &KafkaQueue{
				Brokers: []string{"kafka:9093"}, Topics: []form.NameMatch{{Exact: "inv"}}, Groups: []form.NameMatch{{Exact: "workers"}}, TLS: &form.TLS{},
				SASL: &SASL{Mechanism: "OAUTHBEARER", TokenFile: in("kafka.token")},
			}},
			{Name: "app-queue", HTTP: &HTTPQueue{URL: "http://app-1:8080/queue", Depth: "$.depth", Enqueued: "$.in", Processed: "$.out"}},
		},
		Canaries: []Class{
			{
				Name: "user_profile", Keys: []string{"user:12345:profile"}, Pattern: "user:*:profile", Sample: 200,
				Match: regexp.MustCompile("^user:(?P<id>[^:]+):profile$"),
				Layers: []ClassLayer{
					{Name: "l2", Key: template(t, "{key}"), MaxStaleness: 5 * time.Second},
					{Name: "edge", Key: template(t, "{id}"), MaxStaleness: 5 * time.Minute},
					{Name: "l3", Key: template(t, "v3:{key}"), Decode: []string{"gzip"}, Select: "$.data", MaxStaleness: time.Minute},
				},
				Version:  &Version{JSON: "$.version", Kind: "integer", MaxClockSkew: skew},
				CachedAt: &Version{JSON: "$.fetched_at", Kind: "timestamp_ms", MaxClockSkew: skew},
				MaxAge:   10 * time.Minute, Ignore: []string{"$.trace_id", "$.tags[*].seen"},
				Origin: &Origin{
					URL: template(t, "http://app/api/users/{id}"), Headers: map[string]string{"Accept": "application/json"}, Client: form.HTTPClient{Credentials: app},
					Select: "$.data", MaxLag: 5 * time.Second, MaxPerScrape: 50,
				},
			},
			{
				Name: "product_price", Keys: []string{"product:1:price"}, Sample: 100,
				Layers: []ClassLayer{
					{Name: "l1", Key: template(t, "{key}"), Decode: []string{"base64", "zlib"}, Select: "$.price", MaxStaleness: 5 * time.Second},
					{Name: "l2", Key: template(t, "{key}"), Decode: []string{"base64", "zlib"}, Select: "$.price", MaxStaleness: 5 * time.Second},
				},
				Version: &Version{Regexp: regexp.MustCompile("updated=([0-9]+)"), Kind: "timestamp", MaxClockSkew: 2 * time.Second},
				Compare: []string{"$.amount", "$.currency"},
				Origin: &Origin{
					URL: template(t, "https://prices.example/{key}"), Client: form.HTTPClient{BearerTokenFile: in("edge.token"), TLS: &form.TLS{}},
					Decode: []string{"gzip"}, MaxPerScrape: 50,
				},
			},
			{
				Name: "session", Pattern: "session:*", Sample: 100, Hash: true,
				Layers:  []ClassLayer{{Name: "l2", Key: template(t, "{key}"), MaxStaleness: 5 * time.Second}},
				Version: &Version{Field: "version", Kind: "dotted", MaxClockSkew: skew}, Ignore: []string{"last_seen"},
			},
		},
		Versions: []App{
			{Name: "web", Nodes: map[string]string{"app-1": "http://app-1:8080/cache/version", "app-2": "http://app-2:8080/cache/version"}, JSON: "$.version"},
			{Name: "worker", Nodes: map[string]string{"worker-1": "https://worker-1/version"}, Client: form.HTTPClient{Credentials: user, TLS: ca}},
		},
	}
	if d := cmp.Diff(want, c, same); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	if printed := fmt.Sprintf("%+v %#v", c.Layers[1].Nodes[0].HTTP, c.Layers[1].Nodes[0].HTTP); strings.Contains(printed, "of app") {
		t.Errorf("a password is printed: %s", printed)
	}
}

func TestAdvice(t *testing.T) {
	c := &Config{
		Queues: []Queue{{Name: "list", Redis: &RedisQueue{}}, {Name: "all", Kafka: &KafkaQueue{Groups: []form.NameMatch{{Exact: "g"}}}}, {Name: "blind", Kafka: &KafkaQueue{}}},
		Canaries: []Class{
			{Name: "none"},
			{Name: "lag", Origin: &Origin{MaxLag: time.Second}},
			{Name: "version", Origin: &Origin{}, Version: &Version{}},
			{Name: "meant", Origin: &Origin{}},
		},
	}
	want := []string{
		`queue "blind": without groups its lag and depth stay unknown; name the groups that process it`,
		`class "meant": the origin convicts at once; where it reads from a replica, set origin.max_lag to how far it may lag`,
	}
	if d := cmp.Diff(want, c.Advice()); d != "" {
		t.Error(d)
	}
}

// A user and password of an address end up where nothing prints them.
func TestLoginsOfAddresses(t *testing.T) {
	c, _ := load(t, "logins.yml")
	for i, want := range []Redis{
		{Address: "redis://cache-1/3", Credentials: form.Credentials{Username: "user", Password: "p@ss"}},
		{Address: "redis://cache-2", Credentials: form.Credentials{Username: "user", Password: "x"}},
		{Address: "rediss://[::1]:6379", Credentials: form.Credentials{Password: "only"}, TLS: &form.TLS{}},
		{Address: "cache-4:6379/2"},
	} {
		if d := cmp.Diff(&want, c.Layers[1].Nodes[i].Redis); d != "" {
			t.Errorf("node %d: want (-), got (+):\n%s", i, d)
		}
	}
	if c.Layers[0].TTL != 24*time.Hour || c.Layers[1].TTL != 90*time.Minute || c.Layers[2].TTL != 90*time.Minute {
		t.Errorf("the TTLs are %v, %v and %v", c.Layers[0].TTL, c.Layers[1].TTL, c.Layers[2].TTL)
	}
	if c.Layers[0].Nodes[1].HTTP.HealthURL != "" {
		t.Error(`health_url: "" is one`)
	}
}

func TestAliases(t *testing.T) {
	c, dir := load(t, "aliases.yml")
	redis := func(address string) *Redis {
		return &Redis{
			Address: address, Credentials: form.Credentials{Username: "exporter", PasswordFile: filepath.Join(dir, "redis.password")},
			TLS: &form.TLS{CAFile: filepath.Join(dir, "ca.pem")},
		}
	}
	want := &Config{Layers: []Layer{
		{Name: "l2", TTL: time.Hour, MaxStaleness: 5 * time.Second, Nodes: []Node{
			{Name: "redis-1", Redis: redis("cache-1:6379")}, {Name: "redis-2", Redis: redis("cache-2:6379")},
		}},
		{Name: "l3", TTL: time.Hour, Nodes: []Node{{Name: "redis-3", Redis: redis("cache-3:6379")}}},
	}}
	if d := cmp.Diff(want, c, same); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

func TestEnvironment(t *testing.T) {
	c, _ := load(t, "environment.yml")
	l := c.Layers[0]
	if !l.NoExpiry || l.TTL != 0 || l.MaxStaleness != time.Hour {
		t.Errorf("ttl %v (none: %t), max_staleness %v", l.TTL, l.NoExpiry, l.MaxStaleness)
	}
	if d := cmp.Diff(&Redis{Address: "redis://cache-1:6379", Credentials: form.Credentials{Password: "s3cret"}}, l.Nodes[0].Redis); d != "" {
		t.Error(d)
	}
	if h := l.Nodes[1].HTTP; h.URL.String() != "http://cache-1/{key}" || h.Headers["X-Auth"] != "s3cret" {
		t.Errorf("url %s, headers %v", h.URL, h.Headers)
	}
	if d := cmp.Diff([]string{"${literal}", "$${CACHEINV_TEST_HOST}", "$5 {x}", "cache-1:cache-1"}, c.Canaries[0].Keys); d != "" {
		t.Error(d)
	}
}

func TestLoadUnreadable(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "no.yml"), t.TempDir()} {
		c, err := Load(path)
		var faults form.Faults
		if c != nil || err == nil || errors.As(err, &faults) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Whole files that have no place in testdata, where a comment says what is wrong.
func TestParseOddFiles(t *testing.T) {
	nodes := "nodes: [{name: a, redis: {address: \"a:1\"}}]"
	for name, tt := range map[string]struct{ text, want string }{
		"nothing":            {"", "c.yml:1: is empty; write at least one of layers, queues, history and versions"},
		"a marker":           {"---\n", "c.yml:1: is empty; write at least one of layers, queues, history and versions"},
		"an end marker":      {"layers:\n- {name: l2, ttl: 1h, " + nodes + "}\n...\n", ""},
		"an empty second":    {"layers:\n- {name: l2, ttl: 1h, " + nodes + "}\n---\n", "c.yml:3: holds a second document; write one document a file"},
		"a byte order mark":  {"\ufefflayers:\n- {name: l2, ttl: 1h, " + nodes + "}\n", ""},
		"lines as Windows":   {"layers:\r\n- {name: l2, ttl: 1h, " + nodes + "}\r\n", ""},
		"UTF-16":             {"\xff\xfel\x00", "c.yml:1: is not UTF-8; save the file as UTF-8"},
		"JSON with tabs":     {"{\n\t\"layers\": [{\"name\": \"l2\", \"ttl\": \"1h\", " + nodes + "}]\n}", ""},
		"an explicit string": {"layers:\n- {name: !!str 2, ttl: !!str 1h, nodes: !!seq [{name: a, redis: !!map {address: \"a:1\"}}]}\n", ""},
		"too deep":           {strings.Repeat("[", 20000), "c.yml:1: is no YAML (exceeded max depth of 10000); mend the syntax here or on the lines before"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Parse("c.yml", []byte(tt.text))
			if got := fmt.Sprint(err); tt.want != "" && got != tt.want || tt.want == "" && (err != nil || c == nil) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	dir := surroundings(f)
	for _, folder := range []string{"valid", "invalid"} {
		for _, data := range examples(f, folder) {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		faults := faultsOf(t, dir, data)
		lines := bytes.Count(data, []byte("\n")) + 2 // the end of the file may be meant
		for _, fault := range faults {
			// YAML knows more line breaks than \n.
			plain := !bytes.ContainsAny(data, "\r\u0085\u2028\u2029")
			if fault.Line < 1 || plain && fault.Line > lines || !strings.Contains(fault.Message, ";") || strings.Contains(fault.Error(), "\n") {
				t.Errorf("a fault of another form: %q", fault.Error())
			}
		}
		compiles(t, dir, data)
	})
}

// compiles: what content would refuse, the configuration refuses first.
func compiles(t *testing.T, dir string, data []byte) {
	t.Helper()
	c, err := Parse(filepath.Join(dir, "cacheinv.yml"), data)
	if err != nil {
		return
	}
	spec := func(v *Version) *content.VersionSpec {
		if v == nil {
			return nil
		}
		return &content.VersionSpec{JSON: v.JSON, Regexp: v.Regexp, Field: v.Field, Kind: v.Kind}
	}
	for _, k := range c.Canaries {
		for _, l := range k.Layers {
			if _, err := content.Compile(content.Spec{
				Decode: l.Decode, Select: l.Select, Compare: k.Compare, Ignore: k.Ignore, Version: spec(k.Version), CachedAt: spec(k.CachedAt),
			}); err != nil {
				t.Errorf("class %q is refused later: %v", k.Name, err)
			}
		}
	}
}

// Aliases can make a short file stand for a very long one; none takes long to refuse, or to read.
func TestAliasesAreBounded(t *testing.T) {
	const times = 60
	list := func(of string) string { return "[" + strings.TrimSuffix(strings.Repeat(of+", ", times), ", ") + "]" }
	text := "layers: [{name: l2, ttl: 1h, nodes: [{name: a, redis: {address: \"a:1\"}}]}]\ncanaries:\n" +
		"  - &c\n    class: user\n    keys: &k " + list("x") + "\n    layers: &l " + list("&e {name: l2, decode: [gzip]}") + "\n" +
		strings.Repeat("  - *c\n", times)
	begin := time.Now()
	_, err := Parse("c.yml", []byte(text))
	if err == nil || time.Since(begin) > 20*time.Second {
		t.Errorf("it took %v: %v", time.Since(begin), err)
	}
}

// Faults come in the order of the lines, all of one run.
func TestFaultsComeTogether(t *testing.T) {
	const text = `versions:
  - {app: web, nodes: {a: nowhere}}
canaries:
  - {class: user, keys: [], layers: [l9]}
queues:
  - {name: q}
layers:
  - {name: l2, ttl: 0, nodes: []}
`
	_, err := Parse("c.yml", []byte(text))
	var at []string
	for line := range strings.Lines(fmt.Sprint(err)) {
		parts := strings.SplitN(line, ": ", 3)
		at = append(at, parts[0]+" "+parts[1])
	}
	want := []string{
		"c.yml:2 versions[0].nodes.a", "c.yml:4 canaries[0].keys", "c.yml:4 canaries[0].layers[0]", "c.yml:6 queues[0]",
		"c.yml:8 layers[0].ttl", "c.yml:8 layers[0].nodes",
	}
	if d := cmp.Diff(want, at); d != "" {
		t.Error(d)
	}
}
