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
	"github.com/cacheinv/cacheinv_exporter/internal/test/configfiles"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
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
	_, faults := parsed(t, dir, data)
	return faults
}

// parsed is what stands in a file: a configuration, or faults.
func parsed(t testing.TB, dir string, data []byte) (*Config, form.Faults) {
	t.Helper()
	c, err := Parse(filepath.Join(dir, "cacheinv.yml"), data, backends.All)
	var faults form.Faults
	if err != nil && !errors.As(err, &faults) {
		t.Fatalf("%T is no Faults", err)
	}
	if (c == nil) != (len(faults) > 0) {
		t.Fatalf("%d faults, and a configuration: %t", len(faults), c != nil)
	}
	return c, faults
}

// Each file of testdata/invalid says in its first lines which faults it has, all of them.
func TestInvalid(t *testing.T) {
	dir := configfiles.Fixtures(t)
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
				if strings.Contains(fault, configfiles.Secret) {
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
	dir := configfiles.Fixtures(t)
	var provoked []string
	for _, data := range examples(t, "invalid") {
		for _, f := range faultsOf(t, dir, data) {
			provoked = append(provoked, f.Message)
		}
	}
	formats := faultFormats(t)
	if len(formats) < 50 {
		t.Errorf("only %d faults were found in the code; fix the search", len(formats))
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

// readers are the files that may read the configuration: form, this package and each backend's own blocks.
var readers = []string{"*.go", "../form/*.go", "../../probes/*/*.go"}

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
	dir := configfiles.Fixtures(t)
	for path, data := range examples(t, "valid") {
		c, faults := parsed(t, dir, data)
		if len(faults) > 0 {
			t.Errorf("%s:\n%v", path, faults)
		}
		compiles(t, c)
	}
}

// askedFields of all valid examples, with whether one has them.
func askedFields(t *testing.T) map[string]bool {
	t.Helper()
	dir := configfiles.Fixtures(t)
	asked := map[string]bool{}
	for _, data := range examples(t, "valid") {
		d := form.Read(filepath.Join(dir, "cacheinv.yml"), data)
		readConfig(d, backends.All)
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

func load(t *testing.T, name string) *Config {
	t.Helper()
	dir := configfiles.Fixtures(t)
	data, err := os.ReadFile(filepath.Join("testdata", "valid", name))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, backends.All)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMinimal(t *testing.T) {
	c := load(t, "minimal.yml")
	sources := takeSources(c)
	want := &Config{
		Layers:   []Layer{{Name: "l2", TTL: time.Hour, Nodes: []Node{node("redis-1", "redis"), node("redis-2", "redis")}}},
		Canaries: []Class{{Name: "user_profile", Keys: []string{"user:12345:profile"}, Sample: 100, Layers: []ClassLayer{{Name: "l2", Key: template(t, "{key}")}}}},
	}
	if d := cmp.Diff(want, c, same); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	wantSources := map[string]string{
		"node redis-1": "timeout 5 redis-cli -h cache-1 -p 6379 INFO replication",
		"node redis-2": "timeout 5 redis-cli -h cache-2 -p 6379 INFO replication",
	}
	if d := cmp.Diff(wantSources, sources); d != "" {
		t.Errorf("sources: want (-), got (+):\n%s", d)
	}
}

// TestFull compares what is the configuration's own. The backends' folders compare what their blocks hold; here a source is
// told by one text, so that each is seen to stand where it belongs.
func TestFull(t *testing.T) {
	c := load(t, "full.yml")
	if printed := fmt.Sprintf("%+v %#v", c.Layers[1].Nodes[0].Source, c.Layers[1].Nodes[0].Source); strings.Contains(printed, "of app") {
		t.Errorf("a password is printed: %s", printed)
	}
	sources := takeSources(c)
	none := regexp.MustCompile("^(null|__none__)$")
	const skew = 5 * time.Second
	want := &Config{
		Layers: []Layer{
			{Name: "edge", TTL: 5 * time.Minute, MaxStaleness: 5 * time.Minute, Nodes: []Node{node("pop-fra", "http"), node("pop-ams", "http")}},
			{Name: "l1", TTL: time.Minute, MaxStaleness: 5 * time.Second, Nodes: []Node{node("app-1", "http")}},
			{Name: "l2", TTL: time.Hour, MaxStaleness: 5 * time.Second, Nodes: []Node{node("redis-1", "redis"), node("redis-2", "redis"), node("pair", "redis")}},
			{Name: "l3", NoExpiry: true, MaxStaleness: 30 * time.Second, Nodes: []Node{node("mc-1", "memcached"), node("mc-2", "memcached")}},
		},
		Queues: []Queue{
			{Name: "invalidation_queue", Capacity: 20000},
			{Name: "invalidation_stream"},
			{Name: "cache-invalidation"},
			{Name: "cloud"},
			{Name: "tokens"},
			{Name: "app-queue"},
		},
		Canaries: []Class{
			{
				Name: "user_profile", Keys: []string{"user:12345:profile"}, Pattern: "user:*:profile", Sample: 200,
				Match: regexp.MustCompile("^user:(?P<id>[^:]+):profile$"),
				Layers: []ClassLayer{
					{Name: "l2", Key: template(t, "{key}"), Absent: none, MaxStaleness: 5 * time.Second},
					{Name: "edge", Key: template(t, "{id}"), Absent: none, MaxStaleness: 5 * time.Minute},
					{
						Name: "l3", Key: template(t, "v3:{key}"), Decode: []string{"gzip?"}, Select: "$.data",
						Absent: regexp.MustCompile("^null$"), MaxStaleness: time.Minute,
					},
				},
				Version:  &Version{JSON: "$.version", Kind: "integer", MaxClockSkew: skew},
				CachedAt: &Version{JSON: "$.fetched_at", Kind: "timestamp_ms", MaxClockSkew: skew},
				MaxAge:   10 * time.Minute, Ignore: []string{"$.trace_id", "$.tags[*].seen"}, Absent: none,
				Origin: &Origin{Select: "$.data", MaxLag: 5 * time.Second, MaxPerScrape: 50},
			},
			{
				Name: "product_price", Keys: []string{"product:1:price"}, Sample: 100,
				Layers: []ClassLayer{
					{Name: "l1", Key: template(t, "{key}"), Decode: []string{"base64", "zlib"}, Select: "$.price", MaxStaleness: 5 * time.Second},
					{Name: "l2", Key: template(t, "{key}"), Decode: []string{"base64", "zlib"}, Select: "$.price", MaxStaleness: 5 * time.Second},
				},
				Version: &Version{Regexp: regexp.MustCompile("updated=([0-9]+)"), Kind: "timestamp", MaxClockSkew: 2 * time.Second},
				Compare: []string{"$.amount", "$.currency"},
				Origin:  &Origin{Decode: []string{"gzip"}, MaxPerScrape: 50},
			},
			{
				Name: "session", Pattern: "session:*", Sample: 100, Hash: true,
				Layers:  []ClassLayer{{Name: "l2", Key: template(t, "{key}"), MaxStaleness: 5 * time.Second}},
				Version: &Version{Field: "version", Kind: "dotted", MaxClockSkew: skew}, Ignore: []string{"last_seen"},
			},
		},
		Versions: []App{{Name: "web"}, {Name: "worker"}},
	}
	if d := cmp.Diff(want, c, same); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	const curl, bash = `curl -sS -m 5 -o /dev/null -w '%{http_code} %{time_total}s\n' `, `timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"; printf "version\r\n" >&3; head -1 <&3' `
	wantSources := map[string]string{
		"node pop-fra": curl + "http://pop-fra.example",
		"node pop-ams": curl + "http://pop-ams.example",
		"node app-1":   curl + "https://app-1:8443",
		"node redis-1": "timeout 5 redis-cli -h cache-1 -p 6379 INFO replication",
		"node redis-2": "timeout 5 redis-cli -h cache-2 -p 6379 --tls INFO replication",
		"node pair":    "timeout 5 redis-cli -h primary.example -p 6379 --tls INFO replication",
		"node mc-1":    bash + "cache-3 11211",
		"node mc-2":    bash + "2001:db8::1 11211",

		"queue invalidation_queue":  "redis_list: timeout 5 redis-cli -h cache-1 -p 6379 LLEN invalidation_queue",
		"queue invalidation_stream": "redis_stream: timeout 5 redis-cli -h primary.example -p 6379 --tls XINFO GROUPS inv",
		"queue cache-invalidation":  "kafka: kafka-consumer-groups --bootstrap-server kafka-1:9092,kafka-2:9092 --describe --all-groups",
		"queue cloud":               "kafka: kafka-consumer-groups --bootstrap-server b-1.msk.example:9098 --describe --all-groups",
		"queue tokens":              "kafka: kafka-consumer-groups --bootstrap-server kafka:9093 --describe --all-groups",
		"queue app-queue":           "http: curl -sS -m 5 http://app-1:8080/queue",

		"origin user_profile":   "http://app/api/users/{id}",
		"origin product_price":  "https://prices.example/{key}",
		"refresh user_profile":  "POST http://app/cache/refresh/ID",
		"refresh product_price": "PURGE https://prices.example/KEY",

		"versions web":    `for url in http://app-1:8080/cache/version http://app-2:8080/cache/version; do echo "$url: $(curl -sS -m 5 "$url")"; done`,
		"versions worker": `for url in https://worker-1/version; do echo "$url: $(curl -sS -m 5 "$url")"; done`,
	}
	if d := cmp.Diff(wantSources, sources); d != "" {
		t.Errorf("sources: want (-), got (+):\n%s", d)
	}
}

// node of a backend, without its source.
func node(name, kind string) Node {
	i := slices.IndexFunc(backends.All, func(b probes.Backend) bool { return b.Name == kind })
	return Node{Name: name, Kind: kind, Traits: backends.All[i].NodeTraits}
}

// takeSources takes the sources out of a configuration, and gives a text of each that tells what it is.
func takeSources(c *Config) map[string]string {
	out := map[string]string{}
	for _, l := range c.Layers {
		for i := range l.Nodes {
			n := &l.Nodes[i]
			out["node "+n.Name] = n.Source.Commands("").Ask
			n.Source = nil
		}
	}
	for i := range c.Queues {
		q := &c.Queues[i]
		out["queue "+q.Name] = q.Source.Kind() + ": " + q.Source.Command(probes.QueueLook{})
		q.Source = nil
	}
	for i := range c.Canaries {
		if k := &c.Canaries[i]; k.Refresh != nil {
			out["refresh "+k.Name] = k.Refresh.Request(map[string]string{"key": "KEY", "id": "ID"})
			k.Refresh = nil
		}
		if k := &c.Canaries[i]; k.Origin != nil {
			out["origin "+k.Name] = k.Origin.Source.Identity()
			k.Origin.Source = nil
		}
	}
	for i := range c.Versions {
		a := &c.Versions[i]
		out["versions "+a.Name] = a.Source.Command()
		a.Source = nil
	}
	return out
}

// TestHistories: each is its backend's.
func TestHistories(t *testing.T) {
	c := load(t, "history.yml")
	var got []string
	for _, h := range c.History {
		got = append(got, fmt.Sprintf("%s: %T", h.Name, h.Source))
	}
	want := []string{
		"invalidations: *dynamodb.tableConfig", "local: *dynamodb.tableConfig", "processor: *http.historyConfig", "safe: *http.historyConfig",
		"files: *http.historyConfig", "token: *http.historyConfig",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestPublishers: each is its backend's, and those on a node say on which.
func TestPublishers(t *testing.T) {
	c := load(t, "invalidation_probes.yml")
	var got []string
	for _, p := range c.RoundTrips {
		got = append(got, fmt.Sprintf("%s: %T %s", p.Name, p.Publish, p.Publish.On()))
	}
	want := []string{
		"end_to_end: *kafka.publishConfig ", "token: *kafka.publishConfig ", "cloud: *kafka.publishConfig ", "plain: *kafka.publishConfig ",
		"list: *redis.publishConfig redis-1", "stream: *redis.publishConfig pair",
		"web: *http.publishConfig ", "web-2: *http.publishConfig ", "web-3: *http.publishConfig ",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	first := c.RoundTrips[0]
	first.Publish = nil
	wantFirst := RoundTrip{
		Name: "end_to_end", Interval: 10 * time.Second, Timeout: 15 * time.Second, Layers: []string{"l2", "l3"}, Key: template(t, "cacheinv:probe:{id}"),
		Message: first.Message,
	}
	if d := cmp.Diff(wantFirst, first, same); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	if text := `{"key":"{key}","version":{version},"ts":{timestamp_ms},"trace":{"id":"{id}"}}`; first.Message.String() != text {
		t.Errorf("the message is %s, want %s", first.Message, text)
	}
}

// TestMessages of queues, how fast they are meant to be processed, and their limits.
func TestMessages(t *testing.T) {
	c := load(t, "queues.yml")
	takeSources(c)
	want := []Queue{
		{
			Name: "list", Message: &probes.Message{Key: "$.key", Version: "$.version", TimestampMS: "$.ts"}, TargetRate: 1000.0 / 60,
			Limits: QueueLimits{Depth: 20000, DepthTicket: 800, Oldest: 15 * time.Minute, Drain: 10 * time.Minute},
		},
		{Name: "stream", Message: &probes.Message{Key: "$.key"}, TargetRate: 20, Limits: QueueLimits{Depth: 7, DepthTicket: 2}},
		{Name: "topic", Message: &probes.Message{Version: "$.meta.version"}, TargetRate: 100000.0 / 3600, Limits: QueueLimits{Depth: 150, DepthTicket: 30}},
		{Name: "bus", Subscribers: 3, Message: &probes.Message{Key: "$"}},
		{Name: "shard-bus", App: "web"},
		{Name: "app", Limits: QueueLimits{Drain: time.Hour}},
	}
	if d := cmp.Diff(want, c.Queues); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

// TestEvents of classes: what is written, and what stands where nothing is.
func TestEvents(t *testing.T) {
	c := load(t, "events.yml")
	want := []*Events{
		{
			Queue: "cache-invalidation", Keys: []form.Template{template(t, "user:{id}:profile"), template(t, "{key}")},
			Vars:    map[string][]string{"id": {"$.payload.after.id", "$.payload.before.id"}},
			Version: "$.payload.source.lsn", Patterns: []string{"$.pattern"}, Sample: 50, Within: time.Minute,
			Windows: []EventWindow{{time.Minute, "60s"}, {5 * time.Minute, "5m"}, {time.Hour, "1h"}}, Group: "processors", TTLMin: 50 * time.Minute,
		},
		{Queue: "stream", Vars: map[string][]string{}, Sample: 200, Within: time.Minute, Windows: []EventWindow{{time.Minute, "1m"}}, Group: "workers"},
	}
	got := []*Events{c.Canaries[0].Events, c.Canaries[1].Events}
	const summary = `what queue "cache-invalidation" invalidates, as far as group "processors" has processed it, is looked at after 60s, 5m, 1h, and promised within 60s`
	if s := got[0].Summary(); s != summary {
		t.Errorf("it says %s", s)
	}
	if d := cmp.Diff(want, got, same); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

func TestAdvice(t *testing.T) {
	const text = `
layers:
  - {name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: "cache-1:6379"}}]}
queues:
  - {name: list, redis: {node: redis-1, list: inv}}
  - {name: all, kafka: {brokers: ["kafka:9092"], topics: [inv], groups: [g]}}
  - {name: blind, kafka: {brokers: ["kafka:9092"], topics: [inv]}}
canaries:
  - {class: none, keys: [a], layers: [l2]}
  - {class: lag, keys: [a], layers: [l2], origin: {http: {url: "http://app/{key}"}, max_lag: 1s}}
  - {class: version, keys: [a], layers: [l2], version: {json: "$.version"}, origin: {http: {url: "http://app/{key}"}}}
  - {class: meant, keys: [a], layers: [l2], origin: {http: {url: "http://app/{key}"}}}
  - {class: any, layers: [l2], events: {queue: all}}
  - {class: some, layers: [l2], match: "^user:", events: {queue: all}}
  - {class: named, layers: [l2], events: {queue: all, keys: ["user:{key}"]}}
`
	c, err := Parse("c.yml", []byte(text), backends.All)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`queue "blind": without groups its lag and depth stay unknown; name the groups that process it`,
		`class "meant": the origin convicts at once; where it reads from a replica, set origin.max_lag to how far it may lag`,
		`class "any": without match each key of queue "all" is taken for one of its; write match, or which keys a message names in events.keys`,
	}
	if d := cmp.Diff(want, c.Advice()); d != "" {
		t.Error(d)
	}
}

// What recover needs is advised only where there is a block for it.
func TestAdviceForRecovery(t *testing.T) {
	const text = `
layers: [{name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: "cache-1:6379"}}]}]
queues:
  - {name: list, redis: {node: redis-1, list: inv}}
  - {name: told, redis: {node: redis-1, list: told}, message: {key: "$.key"}}
  - {name: version, redis: {node: redis-1, stream: inv}, message: {version: "$.version"}}
  - {name: app, http: {url: "http://app/queue", depth: "$.depth"}}
`
	for recovery, want := range map[string]int{"": 0, "recovery: {standard_above: 10}\n": 2} {
		c, err := Parse("c.yml", []byte(text+recovery), backends.All)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Advice(); len(got) != want {
			t.Errorf("%q: %q", recovery, got)
		}
	}
}

func TestRecovery(t *testing.T) {
	got := load(t, "recovery.yml").Recovery
	program := func(timeout time.Duration, args ...string) Hook {
		return Hook{Args: args, Written: args, Timeout: timeout}
	}
	if got.Health == nil || got.Breaker.Health == nil {
		t.Error("a health URL is not read")
	}
	got.Health, got.Breaker.Health = nil, nil
	last := len(got.Breaker.Command.Args) - 1
	if got.Breaker.Command.Args[last] == "${CACHEINV_TEST_HOST}" || got.Breaker.Command.Written[last] != "${CACHEINV_TEST_HOST}" {
		t.Errorf("the environment's argument is %q, written %q", got.Breaker.Command.Args[last], got.Breaker.Command.Written[last])
	}
	got.Breaker.Command.Args = got.Breaker.Command.Written
	const short = 30 * time.Second
	want := &Recovery{
		Patterns: []string{"user:*:profile", "session:*"}, AggressiveAbove: 8000, StandardAbove: 2000, Rate: 500,
		BypassOn:       program(short, "kubectl", "set", "env", "deployment/app", "CACHE_BYPASS=on"),
		BypassOff:      program(short, "kubectl", "set", "env", "deployment/app", "CACHE_BYPASS-"),
		StopJobs:       program(short, "kubectl", "patch", "cronjob/reprice", "-p", `{"spec":{"suspend":true}}`),
		StopProcessors: program(short, "kubectl", "scale", "deployment/cache-invalidation-processor", "--replicas=0"),
		Restart:        program(short, "kubectl", "scale", "deployment/cache-invalidation-processor", "--replicas=3"),
		Wait:           program(6*time.Minute, "kubectl", "rollout", "status", "deployment/cache-invalidation-processor", "--timeout=5m"),
		Breaker: Breaker{
			Command: program(5*time.Second, "/usr/local/bin/error-ratio", "--below=0.05", "${CACHEINV_TEST_HOST}"), Every: 2 * time.Second, Failures: 2,
		},
		Monitor: Monitor{Depth: 50, Every: 10 * time.Second, Looks: 6, Timeout: 20 * time.Minute},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	if c := load(t, "minimal.yml"); c.Recovery != nil || DefaultRecovery().AggressiveAbove != 5000 || DefaultRecovery().StandardAbove != 1000 {
		t.Errorf("without a block: %+v", c.Recovery)
	}
}

func TestTTLs(t *testing.T) {
	c := load(t, "logins.yml")
	if c.Layers[0].TTL != 24*time.Hour || c.Layers[1].TTL != 90*time.Minute || c.Layers[2].TTL != 90*time.Minute {
		t.Errorf("the TTLs are %v, %v and %v", c.Layers[0].TTL, c.Layers[1].TTL, c.Layers[2].TTL)
	}
}

func TestAliases(t *testing.T) {
	c := load(t, "aliases.yml")
	sources := takeSources(c)
	want := &Config{Layers: []Layer{
		{Name: "l2", TTL: time.Hour, MaxStaleness: 5 * time.Second, Nodes: []Node{node("redis-1", "redis"), node("redis-2", "redis")}},
		{Name: "l3", TTL: time.Hour, Nodes: []Node{node("redis-3", "redis")}},
	}}
	if d := cmp.Diff(want, c, same); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	wantSources := map[string]string{
		"node redis-1": "timeout 5 redis-cli -h cache-1 -p 6379 --tls INFO replication",
		"node redis-2": "timeout 5 redis-cli -h cache-2 -p 6379 --tls INFO replication",
		"node redis-3": "timeout 5 redis-cli -h cache-3 -p 6379 --tls INFO replication",
	}
	if d := cmp.Diff(wantSources, sources); d != "" {
		t.Errorf("sources: want (-), got (+):\n%s", d)
	}
}

func TestEnvironment(t *testing.T) {
	c := load(t, "environment.yml")
	l := c.Layers[0]
	if !l.NoExpiry || l.TTL != 0 || l.MaxStaleness != time.Hour {
		t.Errorf("ttl %v (none: %t), max_staleness %v", l.TTL, l.NoExpiry, l.MaxStaleness)
	}
	wantSources := map[string]string{
		"node redis-1": "timeout 5 redis-cli -h cache-1 -p 6379 INFO replication",
		"node app":     `curl -sS -m 5 -o /dev/null -w '%{http_code} %{time_total}s\n' http://cache-1`,
	}
	if d := cmp.Diff(wantSources, takeSources(c)); d != "" {
		t.Errorf("sources: want (-), got (+):\n%s", d)
	}
	if d := cmp.Diff([]string{"${literal}", "$${CACHEINV_TEST_HOST}", "$5 {x}", "cache-1:cache-1"}, c.Canaries[0].Keys); d != "" {
		t.Error(d)
	}
}

func TestLoadUnreadable(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "no.yml"), t.TempDir()} {
		c, err := Load(path, backends.All)
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
		"too deep":           {strings.Repeat("[", 20000), "c.yml:1: is no YAML (exceeded max depth of 10000); fix the syntax here or on the lines before"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Parse("c.yml", []byte(tt.text), backends.All)
			if got := fmt.Sprint(err); tt.want != "" && got != tt.want || tt.want == "" && (err != nil || c == nil) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	dir := configfiles.Fixtures(f)
	for _, folder := range []string{"valid", "invalid"} {
		for _, data := range examples(f, folder) {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, faults := parsed(t, dir, data)
		lines := bytes.Count(data, []byte("\n")) + 2 // the end of the file may be meant
		for _, fault := range faults {
			// YAML knows more line breaks than \n.
			plain := !bytes.ContainsAny(data, "\r\u0085\u2028\u2029")
			if fault.Line < 1 || plain && fault.Line > lines || !strings.Contains(fault.Message, ";") || strings.Contains(fault.Error(), "\n") {
				t.Errorf("a fault of another form: %q", fault.Error())
			}
		}
		compiles(t, c)
	})
}

// compiles: what content would refuse, the configuration refuses first.
func compiles(t *testing.T, c *Config) {
	t.Helper()
	if c == nil {
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

// Aliases can make a short file stand for a very long one. What is reported of it grows with what stands there, not faster.
func TestAliasesAreBounded(t *testing.T) {
	const times = 40
	list := func(of string) string { return "[" + strings.TrimSuffix(strings.Repeat(of+", ", times), ", ") + "]" }
	text := "layers: [{name: l2, ttl: 1h, nodes: [{name: a, redis: {address: \"a:1\"}}]}]\ncanaries:\n" +
		"  - &c\n    class: user\n    keys: &k " + list("x") + "\n    layers: &l " + list("&e {name: l2, decode: [gzip]}") + "\n" +
		strings.Repeat("  - *c\n", times)
	_, err := Parse("c.yml", []byte(text), backends.All)
	var faults form.Faults
	if most := 3 * times * times; !errors.As(err, &faults) || len(faults) > most {
		t.Errorf("%d faults, want at most %d: %.200v", len(faults), most, err)
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
	_, err := Parse("c.yml", []byte(text), backends.All)
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
