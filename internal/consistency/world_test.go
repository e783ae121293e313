package consistency

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/cases"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// spy is a node in memory that tells what it was asked, and can be slow.
type spy struct {
	*memoryNode
	// asked are the keys of each Read of the last sampling, scanned says whether that asked it for a scan step.
	asked   [][]string
	scanned bool
	// found is what a scan step finds.
	found []string
	// slow is how long each Read takes, by its number within the sampling; below 0: for ever.
	slow [2]time.Duration
	// twist changes what a Read gives.
	twist func(read int, name string, r *probes.Raw)
	// surveySlow is how long the survey takes; below 0: for ever.
	surveySlow time.Duration
	offset     int64
	// ttl that its copies have left; 0: no expiry.
	ttl time.Duration
	// variant is what it holds in another variant of each copy; nil: it has but one.
	variant *probes.Raw
	// place says where a key belongs; nil: the node is none of a group that shares keys out.
	place func(key string) probes.Placement
	// wrap gives the node another form; nil: it has its own.
	wrap func(*spy) probes.Node
	// identified says by key whether the last Read asked for what tells one storing from the next.
	identified map[string]bool
}

// sharer is a spy of a group that shares keys out.
type sharer struct{ *spy }

func (s sharer) Place(key string) probes.Placement { return s.place(key) }

// asNode gives the spy as its fleet does.
func (s *spy) asNode() probes.Node {
	if s.wrap != nil {
		return s.wrap(s)
	}
	if s.place != nil {
		return sharer{s}
	}
	return s
}

func (s *spy) Survey(ctx context.Context, scan *probes.Scan) (probes.Survey, error) {
	s.scanned = scan != nil
	if err := rest(ctx, s.surveySlow); err != nil {
		return probes.Survey{}, err
	}
	survey, err := s.memoryNode.Survey(ctx, scan)
	if err != nil {
		survey.Left, survey.CalledDown = s.survey.Left, s.survey.CalledDown // what its source says needs no answer
		return survey, err
	}
	if survey.Replication != nil {
		survey.Replication.Offset, survey.Replication.HasOffset = s.offset, s.offset >= 0
	}
	survey.Active = s.survey.Active
	if s.scanned {
		for _, key := range s.found {
			scan.Offer(key)
		}
	}
	return survey, nil
}

func (s *spy) Read(ctx context.Context, keys []probes.Key, visit func(int, probes.Raw)) error {
	var names []string
	s.identified = map[string]bool{}
	for _, k := range keys {
		names = append(names, k.Name)
		s.identified[k.Name] = k.Identity
	}
	s.asked = append(s.asked, names)
	turn := min(len(s.asked), 2) - 1
	if err := rest(ctx, s.slow[turn]); err != nil {
		return err
	}
	return s.memoryNode.Read(ctx, keys, func(i int, r probes.Raw) {
		if s.twist != nil {
			s.twist(turn, keys[i].Name, &r)
		}
		if r.Present && s.ttl > 0 {
			r.NoExpiry, r.HasTTL, r.TTL = false, true, s.ttl
		}
		if s.variant != nil {
			r.Variant = "identity"
		}
		r.Value = slices.Clone(r.Value)
		visit(i, r)
		clear(r.Value) // it was valid only meanwhile
		if s.variant != nil {
			further := *s.variant
			further.Variant, further.Further, further.Value = "gzip", true, slices.Clone(further.Value)
			visit(i, further)
			clear(further.Value)
		}
	})
}

// rest for d, in fake time; below 0: until ctx ends.
func rest(ctx context.Context, d time.Duration) error {
	switch {
	case d < 0:
		<-ctx.Done()
		return errFrozen
	case d == 0:
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return errFrozen
	}
}

// spies are a fleet.
type spies []*spy

func (f spies) Survey(ctx context.Context, scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error)) {
	var wg sync.WaitGroup
	for _, n := range f {
		n.asked = nil
		wg.Go(func() {
			s, err := n.Survey(ctx, scanFor(n.id))
			visit(n.asNode(), s, err)
		})
	}
	wg.Wait()
}

func (f spies) Groups() []probes.NodeGroup { return nil }

// world is nodes in memory, the origins of the classes, and a sampler over them, in fake time.
type world struct {
	t       testing.TB
	nodes   map[string]*spy
	fleet   spies
	origins map[string]*memoryOrigin // by class
	opt     Options
	memory  *Memory
	sampler *Sampler
	layers  []string
	yaml    string
	timeout time.Duration
	last    *Result
	// events of each class; nil: it has none. keyless: it has no keys but what comes out of a queue.
	events  *config.Events
	keyless bool
}

// inFakeTime runs a test in a bubble of fake time that begins in this decade.
func inFakeTime(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(25 * 365 * 24 * time.Hour)
		test(t)
	})
}

// testEnv has the command line's limits.
var testEnv = &probes.Env{MaxValueBytes: 1 << 20, MaxBody: 4 << 20, ForgetAfter: 10 * time.Minute, Log: slog.New(slog.DiscardHandler)}

// traitsOf a backend's nodes.
func traitsOf(kind string) probes.NodeTraits {
	return backends.All[slices.IndexFunc(backends.All, func(b probes.Backend) bool { return b.Name == kind })].NodeTraits
}

// originSource is a configured origin that opens another one.
type originSource struct {
	probes.OriginSource
	origin probes.Origin
}

func (o originSource) Open(*probes.Env) (probes.Origin, error) { return o.origin, nil }

// withOrigins gives a copy of cfg whose classes ask these origins, by class.
func withOrigins(cfg *config.Config, origin func(class string) probes.Origin) *config.Config {
	out := *cfg
	out.Canaries = slices.Clone(cfg.Canaries)
	for i := range out.Canaries {
		if c := &out.Canaries[i]; c.Origin != nil {
			o := *c.Origin
			o.Source = originSource{o.Source, origin(c.Name)}
			c.Origin = &o
		}
	}
	return &out
}

// newWorld with nodes as in
//
//	l2: a b p r<p; l3 ttl=10m max_staleness=30s: c
//
// and classes in YAML's flow style. A class that does not say so is called c, has the key k, and is in all layers.
func newWorld(t testing.TB, nodes string, classes ...string) *world {
	t.Helper()
	w := &world{
		t: t, nodes: map[string]*spy{}, origins: map[string]*memoryOrigin{}, memory: NewMemory(), timeout: 10 * time.Second,
		opt: Options{
			RereadDelay: 20 * time.Millisecond, ScanCount: 1000, MaxKeySeries: 1000, DigestKey: []byte("a key of a test"),
		},
	}
	w.configure(nodes, classes...)
	return w
}

// configure anew: nodes that are there stay as they are, what was sampled is remembered.
func (w *world) configure(nodes string, classes ...string) {
	w.t.Helper()
	if len(classes) == 0 {
		classes = []string{""}
	}
	var b strings.Builder
	b.WriteString("layers:\n")
	w.layers, w.fleet = nil, nil
	for part := range strings.SplitSeq(nodes, ";") {
		head, names, _ := strings.Cut(part, ":")
		words := strings.Fields(head)
		settings := map[string]string{"ttl": "1h", "max_staleness": "0s"}
		for _, word := range words[1:] {
			name, value, _ := strings.Cut(word, "=")
			settings[name] = value
		}
		layer := words[0]
		w.layers = append(w.layers, layer)
		fmt.Fprintf(&b, "  - {name: %s, ttl: %s, max_staleness: %s, nodes: [{name: %s-of-config, redis: {address: \"%s:1\"}}]}\n",
			layer, settings["ttl"], settings["max_staleness"], layer, layer)
		for _, name := range strings.Fields(names) {
			name, primary, replica := strings.Cut(name, "<")
			n := w.nodes[name]
			if n == nil {
				n = &spy{memoryNode: &memoryNode{id: probes.Identity{Layer: layer, Name: name, Kind: "redis", Traits: traitsOf("redis")}, values: map[string]cases.Value{}}}
				if replica {
					n.primary = w.node(primary).memoryNode
				}
				w.nodes[name] = n
			}
			w.fleet = append(w.fleet, n)
		}
	}
	b.WriteString("canaries:\n")
	for _, c := range classes {
		if !strings.Contains(c, "keys:") && !strings.Contains(c, "pattern:") {
			c = "keys: [k], " + c
		}
		if !strings.Contains(c, "class:") {
			c = "class: c, " + c
		}
		if !strings.Contains(c, "layers:") {
			c = "layers: [" + strings.Join(w.layers, ", ") + "], " + c
		}
		fmt.Fprintf(&b, "  - {%s}\n", strings.TrimSuffix(c, ", "))
	}
	w.yaml = b.String()
	w.reload()
}

// parsed configurations by their text: most worlds are alike.
var parsed sync.Map

// reload makes another sampler of the same configuration and memory.
func (w *world) reload() {
	w.t.Helper()
	known, ok := parsed.Load(w.yaml)
	if !ok {
		c, err := config.Parse("world.yml", []byte(w.yaml), backends.All)
		if err != nil {
			w.t.Fatalf("%v\n%s", err, w.yaml)
		}
		known = c
		parsed.Store(w.yaml, c)
	}
	cfg := withOrigins(known.(*config.Config), func(class string) probes.Origin { return w.origin(class) })
	cfg.Canaries = slices.Clone(cfg.Canaries)
	for i := range cfg.Canaries {
		cfg.Canaries[i].Events = w.events
		if w.keyless {
			cfg.Canaries[i].Keys = nil
		}
	}
	var err error
	if w.sampler, err = NewSampler(cfg, w.fleet, w.opt, testEnv, w.memory); err != nil {
		w.t.Fatal(err)
	}
}

// origin of a class; it answers 500 until told otherwise.
func (w *world) origin(class string) *memoryOrigin {
	if w.origins[class] == nil {
		w.origins[class] = &memoryOrigin{status: 500}
	}
	return w.origins[class]
}

func (w *world) node(name string) *spy {
	w.t.Helper()
	n := w.nodes[name]
	if n == nil {
		w.t.Fatalf("no node %q", name)
	}
	return n
}

// set a key on a node and on those that follow it. Contents are written as in rules: x, x@3, x@+10s (a timestamp in
// milliseconds, from now), x!5m (cached so long ago), - and ?.
func (w *world) set(name, key, content string) {
	w.t.Helper()
	for _, n := range w.nodes {
		if n.id.Name != name && (n.primary != w.node(name).memoryNode || n.cut) {
			continue
		}
		switch content {
		case "-":
			delete(n.values, key)
		case "?":
			n.values[key] = cases.Value{Status: 500}
		default:
			n.values[key] = cases.Value{Bytes: []byte(w.body(content))}
		}
	}
}

// body of a content.
func (w *world) body(content string) string {
	w.t.Helper()
	content, age, cached := strings.Cut(content, "!")
	content, version, versioned := strings.Cut(content, "@")
	body := `{"n":"` + content + `"`
	if versioned {
		if version[0] == '+' || version[0] == '-' {
			version = strconv.FormatInt(time.Now().Add(parseDuration(w.t, version)).UnixMilli(), 10)
		}
		body += `,"v":` + version
	}
	if cached {
		body += fmt.Sprintf(`,"at":%d`, time.Now().Add(-parseDuration(w.t, cmp.Or(age, "1h"))).UnixMilli())
	}
	return body + "}"
}

// The classes of most tests: contents are letters, whatever their version and when they were cached.
const (
	versioned = `version: {json: "$.v"}, ignore: ["$.v"]`
	asking    = `origin: {http: {url: "http://origin.example/{key}"}}`
	ageing    = `cached_at: {json: "$.at", kind: timestamp_ms}, max_age: 10m`
)

// sample once, a second after what was before.
func (w *world) sample() *Result {
	w.t.Helper()
	time.Sleep(time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), w.timeout)
	defer cancel()
	w.last = w.sampler.Sample(ctx)
	matrixCounts(w.t, w.last)
	return w.last
}

// play steps, each some operations, an arrow, and what the sampling after them shows: "a=x wait=1m -> a=fresh majority".
func (w *world) play(steps ...string) {
	w.t.Helper()
	for i, step := range steps {
		do, want, ok := strings.Cut(step, "->")
		if !ok {
			w.t.Fatalf("%q has no arrow", step)
		}
		for _, token := range strings.Fields(do) {
			w.do(token)
		}
		w.sample()
		var faults []string
		for _, token := range strings.Fields(want) {
			if got := w.shown(token); got != token {
				faults = append(faults, fmt.Sprintf("%s, not %s", got, token))
			}
		}
		if len(faults) > 0 {
			w.t.Errorf("step %d, %s:\n  %s", i+1, strings.TrimSpace(step), strings.Join(faults, "\n  "))
		}
	}
}

// do one operation: a=x sets a copy; the others say what they are.
func (w *world) do(token string) {
	w.t.Helper()
	name, value, _ := strings.Cut(token, "=")
	name, node, _ := strings.Cut(name, ":")
	number := func() float64 {
		f, err := strconv.ParseFloat(value, 64)
		if err != nil {
			w.t.Fatalf("%q: %v", token, err)
		}
		return f
	}
	switch name {
	case "wait":
		time.Sleep(parseDuration(w.t, value))
	case "origin":
		switch o := w.origin("c"); value {
		case "?":
			o.status = 500
		case "404":
			o.status = 404
		default:
			o.body, o.status = w.body(value), 200
		}
	case "freeze", "thaw":
		w.node(value).frozen = name == "freeze"
	case "cut", "join":
		w.node(value).cut = name == "cut"
	case "promote": // a replica takes over, and its primary follows it
		old := w.node(value).primary
		w.node(value).primary, old.primary = nil, w.node(value).memoryNode
	case "offset":
		w.node(node).offset = int64(number())
	case "uptime":
		w.node(node).survey.UptimeSeconds = probes.Count{Value: number(), Known: true}
	case "evicted":
		w.node(node).survey.Evicted = probes.Count{Value: number(), Known: true}
	case "items":
		w.node(node).survey.Items = probes.Count{Value: number(), Known: true}
	case "counting": // every node tells what survivors need
		for _, n := range w.fleet {
			known := func(v float64) probes.Count { return probes.Count{Value: v, Known: true} }
			n.survey.UptimeSeconds, n.survey.Evicted, n.survey.Items = known(1e6), known(0), known(1000)
		}
	case "variant": // what the node holds in another one
		switch value {
		case "none":
			w.node(node).variant = nil
		case "-":
			w.node(node).variant = &probes.Raw{}
		case "?":
			w.node(node).variant = &probes.Raw{Err: errFrozen}
		default:
			w.node(node).variant = &probes.Raw{Present: true, Value: []byte(w.body(value))}
		}
	case "ttl":
		w.node(node).ttl = parseDuration(w.t, value)
	case "place": // where the key belongs, and how its slot moves: place:a=elsewhere place:a=holds,moving,2
		var p probes.Placement
		for word := range strings.SplitSeq(value, ",") {
			switch word {
			case "holds":
			case "elsewhere":
				p.Holding = probes.Elsewhere
			case "foreign":
				p.Holding = probes.Foreign
			case "anywhere":
				p.Holding = probes.Anywhere
			case "moving":
				p.Moving = true
			default:
				n, err := strconv.Atoi(word)
				if err != nil {
					w.t.Fatal(err)
				}
				p.Moves = n
			}
		}
		w.node(node).place = func(string) probes.Placement { return p }
	case "left": // its source does not announce it any more
		w.node(node).survey.Left = value == "true"
	case "down": // its source calls it down
		w.node(node).survey.CalledDown = value == "true"
	case "active": // a replica that takes writes of its own
		w.node(node).survey.Active = value == "true"
	case "loading":
		w.node(node).survey.Loading = value == "true"
	case "leave":
		w.fleet = slices.DeleteFunc(slices.Clone(w.fleet), func(n *spy) bool { return n.id.Name == value })
		w.reload()
	case "enter":
		w.fleet = append(slices.Clone(w.fleet), w.node(value))
		w.reload()
	case "reload":
		w.reload()
	default:
		w.set(name, "k", value)
	}
}

// shown by the last sampling, in the form of a wanted token.
func (w *world) shown(token string) string {
	w.t.Helper()
	c := &w.last.Classes[0]
	head, _, _ := strings.Cut(token, "=")
	name, node, _ := strings.Cut(head, ":")
	say := func(what any) string { return fmt.Sprintf("%s=%v", head, what) }
	list := func(counts [len(Windows)]int) string {
		return strings.Trim(strings.ReplaceAll(fmt.Sprint(counts), " ", ","), "[]")
	}
	n := ClassNode{}
	for _, other := range c.Nodes {
		if other.Node == node || node == "" && other.Node == name {
			n = other
		}
	}
	var ended []float64
	for _, l := range c.Layers {
		ended = append(ended, l.EndedEpisodes...)
	}
	switch name {
	case "origin", "version", "primary", "majority", "none", "uncounted":
		for r := range verdict.ByAge {
			if c.Keys[r] > 0 {
				return r.String()
			}
		}
		return "uncounted"
	case "regressions":
		return say(c.VersionRegressions)
	case "conflicts":
		return say(c.VersionConflicts)
	case "behind":
		return say(c.OriginBehind)
	case "requests":
		return say(fmt.Sprintf("ok:%d,not_found:%d,error:%d", c.OriginRequests["ok"], c.OriginRequests["not_found"], c.OriginRequests["error"]))
	case "overdue":
		var names []string
		for _, n := range c.Nodes {
			if n.Overdue > 0 {
				names = append(names, n.Node)
			}
		}
		return say(strings.Join(names, ","))
	case "ended":
		return say(len(ended))
	case "lasted":
		if len(ended) == 1 {
			return say(time.Duration(ended[0] * float64(time.Second)).Round(time.Second))
		}
		return say(ended)
	case "age":
		return say(n.OldestStale.Round(time.Second))
	case "windows":
		return say(list(n.StaleWindows))
	case "divergent":
		return say(list(c.Divergent))
	case "convicted":
		for r, count := range n.Convicted {
			if count > 0 {
				return say(verdict.Reference(r))
			}
		}
		return say("nobody")
	case "suppressed":
		for r, count := range n.Suppressed {
			if count > 0 {
				return say(Reason(r))
			}
		}
		return say("")
	case "lag":
		return say(n.VersionLag)
	case "read":
		return say(n.Read)
	case "survivors":
		return say(n.Survivors)
	case "still": // survivors that were some before
		return say(n.StillSurvivors)
	case "strays":
		return say(fmt.Sprintf("%d,%t", n.Strays, n.StraysRead))
	case "lives": // immortal copies, copies over the limit, whether any is known
		return say(fmt.Sprintf("%d,%d,%t", n.Immortal, n.OverLimit, n.TTLsRead))
	case "asked": // how often the node was asked for k
		count := 0
		for _, keys := range w.node(node).asked {
			if slices.Contains(keys, "k") {
				count++
			}
		}
		return say(count)
	case "consistent":
		if v, ok := c.KeyConsistent["k"]; ok {
			return say(v)
		}
		return say("absent")
	}
	for s, count := range n.Copies {
		if count > 0 {
			return say(verdict.State(s))
		}
	}
	if n.Copies == [verdict.NumStates]int{} && n.Node != "" {
		return say("nowhere")
	}
	w.t.Fatalf("%q is shown by nothing", token)
	return ""
}

func parseDuration(t testing.TB, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// took is how long the last sampling needed.
func (w *world) took() time.Duration { return w.last.Ended.Sub(w.last.Began) }

// states of all keys of the first class on a node.
func (w *world) states(name string) [verdict.NumStates]int {
	for _, n := range w.last.Classes[0].Nodes {
		if n.Node == name {
			return n.Copies
		}
	}
	w.t.Fatalf("node %q is not in the result", name)
	return [verdict.NumStates]int{}
}
