package consistency

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/verdicts"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// spy is a node in memory that tells what it was asked, and can be slow.
type spy struct {
	*memory
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
	// place says where a key belongs; nil: the node is none of a group that shares keys out.
	place func(key string) probes.Placement
}

// sharer is a spy of a group that shares keys out.
type sharer struct{ *spy }

func (s sharer) Place(key string) probes.Placement { return s.place(key) }

// asNode gives the spy as its fleet does.
func (s *spy) asNode() probes.Node {
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
	survey, err := s.memory.Survey(ctx, scan)
	if err != nil {
		return survey, err
	}
	if survey.Replication != nil {
		survey.Replication.Offset = s.offset
	}
	if s.scanned {
		survey.Found = s.found
	}
	return survey, nil
}

func (s *spy) Read(ctx context.Context, keys []probes.Key, visit func(int, probes.Raw)) error {
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
	}
	s.asked = append(s.asked, names)
	turn := min(len(s.asked), 2) - 1
	if err := rest(ctx, s.slow[turn]); err != nil {
		return err
	}
	return s.memory.Read(ctx, keys, func(i int, r probes.Raw) {
		if s.twist != nil {
			s.twist(turn, keys[i].Name, &r)
		}
		if r.Present && s.ttl > 0 {
			r.NoExpiry, r.HasTTL, r.TTL = false, true, s.ttl
		}
		r.Value = slices.Clone(r.Value)
		visit(i, r)
		clear(r.Value) // it was valid only meanwhile
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

func (f spies) Groups() []probes.Group { return nil }

// world is nodes in memory, the origins of the classes, and a sampler over them, in fake time.
type world struct {
	t       testing.TB
	nodes   map[string]*spy
	fleet   spies
	origins map[string]*memoryOrigin // by class
	opt     Options
	history *History
	sampler *Sampler
	layers  []string
	yaml    string
	timeout time.Duration
	last    *Result
}

// inFakeTime runs a test in a bubble of fake time that begins in this decade.
func inFakeTime(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(25 * 365 * 24 * time.Hour)
		test(t)
	})
}

// testProbing is the command line's limits.
var testProbing = &probes.Env{MaxValueBytes: 1 << 20, MaxBody: 4 << 20, ForgetAfter: 10 * time.Minute}

// newWorld with nodes as in
//
//	l2: a b p r<p; l3 ttl=10m max_staleness=30s: c
//
// and classes in YAML's flow style. A class that does not say so is called c, has the key k, and is in all layers.
func newWorld(t testing.TB, nodes string, classes ...string) *world {
	t.Helper()
	w := &world{
		t: t, nodes: map[string]*spy{}, origins: map[string]*memoryOrigin{}, history: NewHistory(), timeout: 10 * time.Second,
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
				n = &spy{memory: &memory{id: probes.Identity{Layer: layer, Name: name, Kind: "redis", Traits: traitsOf("redis")}, values: map[string]verdicts.Value{}}}
				if replica {
					n.primary = w.node(primary).memory
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

// reload makes another sampler of the same configuration and history.
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
	cfg := known.(*config.Config)
	opened := 0
	var withOrigin []string
	for _, c := range cfg.Canaries {
		if c.Origin != nil {
			withOrigin = append(withOrigin, c.Name)
		}
	}
	w.opt.openOrigin = func(config.Origin) (asker, error) {
		o := w.origin(withOrigin[opened])
		opened++
		return o, nil
	}
	var err error
	if w.sampler, err = NewSampler(cfg, w.fleet, w.opt, testProbing, w.history, slog.New(slog.DiscardHandler)); err != nil {
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
		if n.id.Name != name && (n.primary != w.node(name).memory || n.cut) {
			continue
		}
		switch content {
		case "-":
			delete(n.values, key)
		case "?":
			n.values[key] = verdicts.Value{Status: 500}
		default:
			n.values[key] = verdicts.Value{Bytes: []byte(w.body(content))}
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
		w.node(value).primary, old.primary = nil, w.node(value).memory
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
		for r := range ByAge {
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
				return say(Reference(r))
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
			return say(State(s))
		}
	}
	if n.Copies == [NumStates]int{} && n.Node != "" {
		return say("nowhere")
	}
	w.t.Fatalf("%q is shown by nothing", token)
	return ""
}

// took is how long the last sampling needed.
func (w *world) took() time.Duration { return w.last.Ended.Sub(w.last.Began) }

// states of all keys of the first class on a node.
func (w *world) states(name string) [NumStates]int {
	for _, n := range w.last.Classes[0].Nodes {
		if n.Node == name {
			return n.Copies
		}
	}
	w.t.Fatalf("node %q is not in the result", name)
	return [NumStates]int{}
}

// A hung node costs only its own.
func TestAHungNodeCostsNoOtherAnything(t *testing.T) {
	for _, c := range []struct {
		name string
		hang func(d *spy)
		most time.Duration // of the 10 s
	}{
		{"in its survey", func(d *spy) { d.surveySlow = -1 }, 5*time.Second + 20*time.Millisecond},
		{"in the first read", func(d *spy) { d.slow[0] = -1 }, 5*time.Second + 20*time.Millisecond},
		{"in the second read", func(d *spy) { d.slow[1] = -1 }, 10 * time.Second},
		{"in both", func(d *spy) { d.slow = [2]time.Duration{-1, -1} }, 5*time.Second + 20*time.Millisecond},
		{"it answers the first read too late", func(d *spy) { d.slow[0] = 6 * time.Second }, 5*time.Second + 20*time.Millisecond},
		{"it answers the second read too late", func(d *spy) { d.slow = [2]time.Duration{4 * time.Second, 7 * time.Second} }, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				w := newWorld(t, "l2: a b c d")
				c.hang(w.node("d"))
				w.play("a=x b=x c=y d=x -> a=fresh b=fresh c=stale d=error majority")
				if w.took() > c.most {
					t.Errorf("it took %s, not %s", w.took(), c.most)
				}
				for _, n := range w.last.Nodes {
					if n.Name != "d" && (n.Err != nil || n.Took > time.Millisecond) {
						t.Errorf("node %s took %s: %v", n.Name, n.Took, n.Err)
					}
				}
			})
		})
	}
}

func TestManyHungNodesCostNoMoreThanOne(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c 0 1 2 3 4 5 6 7 8 9")
		for _, name := range strings.Split("0123456789", "") {
			w.node(name).slow[0] = -1
		}
		w.play("a=x b=x c=y -> a=fresh b=fresh c=stale 0=error")
		if w.took() > w.timeout*6/10 {
			t.Errorf("it took %s", w.took())
		}
	})
}

// First reads get at most half of the scrape's time.
func TestFirstReadsGetHalfOfTheTime(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 10 * time.Second, time.Minute} {
		inFakeTime(t, func(t *testing.T) {
			w := newWorld(t, "l2: a b c d")
			w.timeout = timeout
			w.node("c").slow[0] = timeout/2 - 50*time.Millisecond
			w.node("d").slow[0] = timeout/2 + 50*time.Millisecond
			w.play("a=x b=x c=y d=x -> a=fresh b=fresh c=stale d=error")
			if w.took() > timeout/2+30*time.Millisecond {
				t.Errorf("of %s it took %s", timeout, w.took())
			}
		})
	}
}

func TestASamplingWithoutADeadlineHasTenSeconds(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c d")
		w.node("d").slow = [2]time.Duration{-1, -1}
		w.set("a", "k", "x")
		r := w.sampler.Sample(context.Background())
		if took := r.Ended.Sub(r.Began); took != 5*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// The origin gets at most an eighth in each of its rounds, after the first reads and before the second.
func TestTheOriginGetsAnEighthInEachRound(t *testing.T) {
	for _, c := range []struct {
		name   string
		origin func(ctx context.Context, asked int) (string, int)
		nodes  func(w *world)
		want   string
		most   time.Duration
	}{
		{
			"it hangs", func(ctx context.Context, _ int) (string, int) { <-ctx.Done(); return "", 500 }, func(*world) {},
			"a=fresh b=fresh c=stale majority", 1300 * time.Millisecond,
		},
		{"it hangs the second time", func(ctx context.Context, asked int) (string, int) {
			if asked > 1 {
				<-ctx.Done()
				return "", 500
			}
			return `{"n":"y"}`, 200
		}, func(*world) {}, "a=fresh b=fresh c=stale majority", 1300 * time.Millisecond},
		{
			"it hangs, and so does a node", func(ctx context.Context, _ int) (string, int) { <-ctx.Done(); return "", 500 },
			func(w *world) { w.node("d").slow[0] = -1 }, "a=fresh b=fresh c=stale d=error majority", 6300 * time.Millisecond,
		},
		{
			"it is slow both times, and so are the nodes", func(ctx context.Context, _ int) (string, int) {
				_ = rest(ctx, 1200*time.Millisecond)
				return `{"n":"y"}`, 200
			}, func(w *world) { w.node("a").slow = [2]time.Duration{4 * time.Second, 2 * time.Second} },
			"a=stale b=stale c=fresh origin", 9 * time.Second,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				w := newWorld(t, "l2: a b c d", asking)
				c.nodes(w)
				asked := 0
				w.origin("c").reply = func(ctx context.Context, _ string) (string, int) {
					asked++
					if end, ok := ctx.Deadline(); !ok || time.Until(end) > w.timeout/8 {
						t.Errorf("it may take %s", time.Until(end))
					}
					return c.origin(ctx, asked)
				}
				w.play("a=x b=x c=y -> " + c.want)
				if w.took() > c.most {
					t.Errorf("it took %s", w.took())
				}
			})
		})
	}
}

// The origin is asked before the second read of the nodes and after the first.
func TestTheOriginIsAskedBetweenTheReads(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", asking)
		var order []string
		note := func(what string) func(int, string, *probes.Raw) {
			return func(int, string, *probes.Raw) { order = append(order, what) }
		}
		w.node("a").twist = note("read")
		w.origin("c").reply = func(context.Context, string) (string, int) {
			order = append(order, "origin")
			return `{"n":"x"}`, 200
		}
		w.play("a=x b=y -> a=fresh b=stale")
		if got := strings.Join(order, " "); got != "read origin origin read" {
			t.Errorf("the order is %s", got)
		}
	})
}

// An origin that hangs does not keep another class's from being asked.
func TestAHungOriginCostsNoOtherClassAnything(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		var keys []string
		for i := range 100 {
			keys = append(keys, fmt.Sprintf("k%d", i))
		}
		all := "keys: [" + strings.Join(keys, ", ") + "]"
		w := newWorld(t, "l2: a b", "class: hung, "+all+`, origin: {http: {url: "http://hung/{key}"}, max_per_scrape: 100}`, "class: c, "+asking)
		w.origin("hung").reply = func(ctx context.Context, _ string) (string, int) { <-ctx.Done(); return "", 500 }
		for _, k := range append(keys, "k") {
			w.set("a", k, "x")
			w.set("b", k, "x")
		}
		w.do("origin=y")
		w.sample()
		if c := w.last.Classes[1]; c.Keys[ByOrigin] != 1 || c.Nodes[0].Copies[Stale] != 1 {
			t.Errorf("keys by reference %v, copies on a %v; the origin's requests %v", c.Keys, c.Nodes[0].Copies, c.OriginRequests)
		}
	})
}

// What has no second read is error, but only where a second read was needed.
func TestWithoutASecondReadIsError(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c", "keys: [k, same]")
		for _, name := range []string{"a", "b", "c"} {
			w.set(name, "same", "x")
		}
		w.node("b").slow[1] = -1
		w.play("a=x b=x c=y ->")
		for name, want := range map[string][NumStates]int{"a": {Fresh: 2}, "b": {Fresh: 1, Error: 1}, "c": {Fresh: 1, Undecided: 1}} {
			if got := w.states(name); got != want {
				t.Errorf("node %s has %v, not %v", name, got, want)
			}
		}
	})
}

func TestWithoutTimeForASecondReadAllIsError(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c", "keys: [k, same]")
		w.opt.RereadDelay = time.Minute
		w.reload()
		for _, name := range []string{"a", "b", "c"} {
			w.set(name, "same", "x")
		}
		w.play("a=x b=x c=y ->")
		for _, name := range []string{"a", "b", "c"} {
			if got := w.states(name); got != [NumStates]int{Fresh: 1, Error: 1} {
				t.Errorf("node %s has %v", name, got)
			}
		}
		if w.took() > w.timeout {
			t.Errorf("it took %s", w.took())
		}
	})
}

// Keys that a node gave before it failed were read, the others were not.
func TestANodeThatFailsHalfWay(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", "keys: [k, same]")
		w.set("a", "same", "x")
		w.set("b", "same", "x")
		w.node("b").twist = func(_ int, name string, r *probes.Raw) {
			if name == "k" {
				*r = probes.Raw{Err: errFrozen}
			}
		}
		w.play("a=x b=x ->")
		if got := w.states("b"); got != [NumStates]int{Fresh: 1, Error: 1} {
			t.Errorf("b has %v", got)
		}
	})
}

// Only what differs is read again, on all nodes, and each node is asked once a round for all classes.
func TestOnlyDifferingKeysAreReadAgain(t *testing.T) {
	for _, c := range []struct {
		name, class, do string
		again           bool
	}{
		{"alike", "", "a=x b=x", false},
		{"alike, and missing somewhere", "", "a=x", false},
		{"missing everywhere", "", "", false},
		{"unreadable somewhere", "", "a=x b=?", false},
		{"alike, lower versions of equal content aside", versioned, "a=x@2 b=x@2", false},
		{"they differ", "", "a=x b=y", true},
		{"they differ from the origin", asking, "a=x b=x origin=y", true},
		{"they are as the origin has it", asking, "a=x b=x origin=x", false},
		{"the origin has deleted it", asking, "a=x origin=404", true},
		{"the origin has deleted it, and so have they", asking, "origin=404", false},
		{"too old", ageing, "a=x!1h b=x!1h", true},
		{"not too old", ageing, "a=x!1m b=x!2m", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				class := c.class
				if class != "" {
					class += ", "
				}
				w := newWorld(t, "l2: a b c", class+"keys: [k, same]", "class: other, keys: [another]")
				for _, name := range []string{"a", "b", "c"} {
					w.set(name, "another", "x")
				}
				w.play(c.do + " ->")
				want := [][]string{{"k", "same", "another"}}
				if c.again {
					want = append(want, []string{"k"})
				}
				for _, n := range w.fleet {
					if fmt.Sprint(n.asked) != fmt.Sprint(want) {
						t.Errorf("%s was asked for %v, not %v", n.id.Name, n.asked, want)
					}
				}
			})
		})
	}
}

func TestWhatIsBelowTheRememberedIsReadAgain(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c", versioned)
		w.play("a=x@2 b=x@2 -> a=fresh", "a=- b=- c=y@1 -> c=stale")
		if n := w.node("c"); len(n.asked) != 2 {
			t.Errorf("c was asked for %v", n.asked)
		}
	})
}

// A server's riddle (nil with a TTL) is solved by a second read.
func TestASuspectIsReadAgain(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b")
		w.node("b").twist = func(read int, _ string, r *probes.Raw) {
			if read == 0 {
				*r = probes.Raw{Suspect: true}
			} else {
				*r = probes.Raw{Err: errFrozen}
			}
		}
		w.play("a=x b=x -> a=unverified b=error")
	})
}

// askedKeys makes the origin hold x for every key, and gives the keys that it was asked for since the last call, sorted.
func (w *world) askedKeys() (asked func() []string) {
	var mu sync.Mutex
	var keys []string
	w.origin("c").reply = func(_ context.Context, key string) (string, int) {
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, key)
		return `{"n":"x"}`, 200
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		out := slices.Compact(slices.Sorted(slices.Values(keys)))
		keys = nil
		return out
	}
}

// max_per_scrape counts keys, of which at least a fifth is kept for keys that do not differ.
func TestMaxPerScrape(t *testing.T) {
	for _, c := range []struct {
		name            string
		budget, differ  int
		asked, differed int
	}{
		{"none differ", 10, 0, 10, 0},
		{"a few differ", 10, 3, 10, 3},
		{"just as many as there is room for", 10, 8, 10, 8},
		{"more than there is room for", 10, 20, 10, 8},
		{"all but one differ", 10, 39, 10, 9},
		{"all differ", 10, 40, 10, 10},
		{"room for all", 50, 20, 40, 20},
		{"at least a fifth: of three, one", 3, 20, 3, 2},
		{"at least a fifth: of six, two", 6, 20, 6, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				var keys []string
				for i := range 40 {
					keys = append(keys, fmt.Sprintf("k%02d", i))
				}
				w := newWorld(t, "l2: a b", fmt.Sprintf(`keys: [%s], origin: {http: {url: "http://o/{key}"}, max_per_scrape: %d}`, strings.Join(keys, ", "), c.budget))
				asked := w.askedKeys()
				for i, k := range keys {
					w.set("a", k, "x")
					w.set("b", k, "x")
					if i >= len(keys)-c.differ {
						w.set("b", k, "y")
					}
				}
				for range 3 {
					w.sample()
					got := asked()
					differed := 0
					for _, k := range got {
						if k >= keys[min(len(keys)-1, len(keys)-c.differ)] && c.differ > 0 {
							differed++
						}
					}
					if len(got) != c.asked || differed != c.differed {
						t.Errorf("asked for %d, of which %d differ, not %d and %d: %v", len(got), differed, c.asked, c.differed, got)
					}
				}
			})
		})
	}
}

// Where all keys differ, and more than can be asked about, they take turns.
func TestDifferingKeysTakeTurnsAtTheOrigin(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		var keys []string
		for i := range 20 {
			keys = append(keys, fmt.Sprintf("k%02d", i))
		}
		w := newWorld(t, "l2: a b", "keys: ["+strings.Join(keys, ", ")+`], origin: {http: {url: "http://o/{key}"}, max_per_scrape: 5}`)
		asked := w.askedKeys()
		for _, k := range keys {
			w.set("a", k, "x")
			w.set("b", k, "y")
		}
		seen := map[string]bool{}
		for range 4 {
			w.sample()
			for _, k := range asked() {
				seen[k] = true
			}
		}
		if len(seen) != len(keys) {
			t.Errorf("%d of %d keys were asked about", len(seen), len(keys))
		}
	})
}

// The others are asked in rotation, which comes to all of them.
func TestTheOriginIsAskedInRotation(t *testing.T) {
	for _, differ := range []int{0, 3, 9} {
		inFakeTime(t, func(t *testing.T) {
			var keys []string
			for i := range 20 {
				keys = append(keys, fmt.Sprintf("k%02d", i))
			}
			w := newWorld(t, "l2: a b", "keys: ["+strings.Join(keys, ", ")+`], origin: {http: {url: "http://o/{key}"}, max_per_scrape: 5}`)
			asked := w.askedKeys()
			for i, k := range keys {
				w.set("a", k, "x")
				w.set("b", k, "x")
				if i%2 == 1 && i/2 < differ {
					w.set("b", k, "y")
				}
			}
			count := map[string]int{}
			rounds := 20
			for range rounds {
				w.sample()
				for _, k := range asked() {
					count[k]++
				}
			}
			for i, k := range keys {
				if count[k] == 0 && (i%2 == 0 || i/2 >= differ) {
					t.Errorf("%d differ: %s was never asked for", differ, k)
				}
				// Nobody is asked twice before all were.
				if differ == 0 && count[k] != rounds*5/20 {
					t.Errorf("%s was asked for %d times", k, count[k])
				}
			}
		})
	}
}

// A key in an episode is asked for first, though its copies do not differ any more.
func TestKeysInAnEpisodeAreAskedFirst(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		var keys []string
		for i := range 20 {
			keys = append(keys, fmt.Sprintf("k%02d", i))
		}
		w := newWorld(t, "l2: a b", "keys: ["+strings.Join(keys, ", ")+`], origin: {http: {url: "http://o/{key}"}, max_per_scrape: 2}`)
		asked := w.askedKeys()
		for _, k := range keys {
			w.set("a", k, "x")
		}
		w.set("b", keys[13], "y")
		w.sample()
		w.set("a", keys[13], "-")
		for range 5 {
			asked()
			w.sample()
			if got := asked(); !slices.Contains(got, keys[13]) || len(got) != 2 {
				t.Errorf("asked for %v", got)
			}
		}
	})
}

// A key without present copies is nothing to ask for.
func TestTheOriginIsNotAskedForMissingKeys(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		newWorld(t, "l2: a b", asking).play("origin=x -> uncounted requests=ok:0,not_found:0,error:0")
	})
}

// The origin's answers are counted, each of them.
func TestOriginRequestsAreCounted(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		newWorld(t, "l2: a b", `origin: {http: {url: "http://o/{key}"}, select: "$.n"}, select: "$.n"`).play(
			"a=x b=x origin=x -> a=fresh origin requests=ok:1,not_found:0,error:0",
			"origin=404 -> a=stale requests=ok:1,not_found:2,error:0", // and once more before the second read
			"origin=? -> a=stale requests=ok:1,not_found:2,error:1",
		)
	})
}

// Before the second read only what is read again is asked for again.
func TestTheOriginIsAskedAgainForWhatIsReadAgain(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", "keys: [k, same], "+asking)
		w.set("a", "same", "x")
		w.set("b", "same", "x")
		w.play("a=x b=y origin=x -> convicted:b=origin requests=ok:3,not_found:0,error:0")
	})
}

func TestAnAnswerThatCannotBeReadIsAnError(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", `origin: {http: {url: "http://o/{key}"}, select: "$.data"}`)
		w.play("a=x b=x origin=x -> a=fresh majority requests=ok:0,not_found:0,error:1")
		if w.last.Classes[0].Err == nil {
			t.Error("the class says nothing of its origin's failure")
		}
		w.origin("c").body = `{"data":{"n":"x"}}`
		w.play("-> a=fresh origin requests=ok:1,not_found:0,error:1")
		if err := w.last.Classes[0].Err; err != nil {
			t.Error(err)
		}
	})
}

func TestALateAnswerIsAnError(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", asking)
		w.origin("c").reply = func(ctx context.Context, _ string) (string, int) { <-ctx.Done(); return "", 500 }
		w.play("a=x b=x -> a=fresh majority requests=ok:0,not_found:0,error:1")
	})
}

// One SCAN step a server and scrape, on a replica where there is one.
func TestScanIsAskedOnAReplica(t *testing.T) {
	scanned := func(w *world) string {
		var names []string
		for _, n := range w.fleet {
			if n.scanned {
				names = append(names, n.id.Name)
			}
		}
		return strings.Join(names, " ")
	}
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: p r<p b; l3: c", `pattern: "user:*", layers: [l2]`)
		w.sample() // roles are not known before
		for _, step := range []struct{ do, want string }{
			{"", "r b"},
			{"", "r b"},
			{"freeze=r", "r b"},
			{"", "p r b"}, // it did not answer last time
			{"thaw=r", "p r b"},
			{"", "r b"},
			{"promote=r", "r b"},
			{"", "p b"}, // it is the replica now
		} {
			if step.do != "" {
				w.do(step.do)
			}
			w.sample()
			if got := scanned(w); got != step.want {
				t.Errorf("after %q, %s were asked for keys, not %s", step.do, got, step.want)
			}
		}
	})
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b")
		w.sample()
		if got := scanned(w); got != "" {
			t.Errorf("%s were asked for keys, though there is no pattern", got)
		}
	})
}

// A key seen on any node is a candidate on all; what does not match is none.
func TestFoundKeysAreReadOnAllNodes(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b; l3: c", `keys: ["user:1"], pattern: "user:*", sample: 3, match: "^user:(?P<id>[0-9]+)$", layers: [l2, {name: l3, key: "v3:{key}"}]`)
		w.node("a").found = []string{"user:1", "user:2", "user:x", "product:3", "v3:user:9"}
		w.node("c").found = []string{"v3:user:4", "user:5", "v3:v3:user:6"}
		w.sample()
		w.sample()
		for name, want := range map[string]string{"a": "[user:1 user:2 user:4]", "b": "[user:1 user:2 user:4]", "c": "[v3:user:1 v3:user:2 v3:user:4]"} {
			if got := fmt.Sprint(w.node(name).asked[0]); got != want {
				t.Errorf("%s was asked for %s, not %s", name, got, want)
			}
		}
		if c := w.last.Classes[0]; c.SampledKeys != 2 {
			t.Errorf("%d keys of the pattern", c.SampledKeys)
		}
	})
}

// A pattern alone says what is found, also in a layer that names keys otherwise.
func TestWhatDoesNotMatchThePatternIsNotFound(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a; l3: c", `pattern: "user:*", layers: [l2, {name: l3, key: "v3:{key}"}]`)
		w.node("a").found = []string{"user:2", "product:3", "v3:user:9", "xuser:1"}
		w.node("c").found = []string{"v3:user:4", "user:5", "v3:product:6"}
		w.sample()
		w.sample()
		if got := fmt.Sprint(w.node("a").asked[0]); got != "[user:2 user:4]" {
			t.Errorf("a was asked for %s", got)
		}
	})
}

// Replicas of one primary that is not configured have one vote, those of two have two.
func TestReplicasOfPrimariesThatAreNotConfigured(t *testing.T) {
	for _, c := range []struct{ name, nodes, want string }{
		{"of one", "l2: p r<p s<p b", "leave=p r=x s=x b=y -> r=undecided s=undecided b=undecided none"},
		{"of two", "l2: p q r<p s<q b", "leave=p leave=q r=x s=x b=y -> r=fresh s=fresh b=stale majority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) { newWorld(t, c.nodes).play(c.want) })
		})
	}
}

// The choice of a sampler within its budget, from what nodes list bit by bit, also over a reload.
func TestSampledKeysOverAReload(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		class := `pattern: "user:*", sample: 10`
		w := newWorld(t, "l2: a b", class)
		keys := someKeys(100)
		for i := range 10 {
			w.node("a").found, w.node("b").found = keys[5*i:5*i+5], keys[99-5*i-4:99-5*i+1]
			w.sample()
		}
		before := fmt.Sprint(w.node("a").asked[0])
		w.opt.DigestKey = []byte("another key")
		w.configure("l2: a b c", class)
		w.sample()
		if got := fmt.Sprint(w.node("c").asked[0]); got != before || w.last.Classes[0].SampledKeys != 10 {
			t.Errorf("%s, then %s", before, got)
		}
	})
}

// The largest spread of remaining TTL between the copies of one key in one layer.
func TestTTLSkew(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c; l3: d e", "keys: [k, other]")
		ttl := func(name string, ttl time.Duration) {
			w.node(name).twist = func(_ int, _ string, r *probes.Raw) { r.NoExpiry, r.HasTTL, r.TTL = false, true, ttl }
		}
		ttl("a", 50*time.Second)
		ttl("b", 20*time.Second)
		ttl("d", 500*time.Second)
		w.play("a=x b=x c=x d=x e=x ->")
		for _, l := range w.last.Classes[0].Layers {
			if want := map[string]float64{"l2": 30, "l3": 0}[l.Layer]; l.TTLSkew != want || !l.TTLKnown {
				t.Errorf("layer %s has a spread of %v, known: %t", l.Layer, l.TTLSkew, l.TTLKnown)
			}
		}
	})
}

// A key that is told one by one from now on is read once.
func TestASampledKeyThatBecomesLiteral(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", `pattern: "user:*", sample: 10`)
		w.node("a").found = []string{"user:1", "user:2"}
		for _, name := range []string{"a", "b"} {
			w.set(name, "user:1", "x")
		}
		w.sample()
		w.sample()
		w.configure("l2: a b", `keys: ["user:1"], pattern: "user:*", sample: 10`)
		w.sample()
		if got := fmt.Sprint(w.node("a").asked[0]); got != "[user:1 user:2]" || w.states("a") != [NumStates]int{Fresh: 1, Missing: 1} {
			t.Errorf("a was asked for %s, and has %v", got, w.states("a"))
		}
	})
}

// Samplings at the same time wait for each other. (In true time: waiting for a lock does not let fake time go on.)
func TestSamplingsAtOnce(t *testing.T) {
	w := newWorld(t, "l2: a b c", versioned+", "+asking)
	w.opt.RereadDelay = time.Millisecond
	w.reload()
	for _, token := range strings.Fields("a=x@2 b=x@2 c=y@1") {
		w.do(token)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			r := w.sampler.Sample(t.Context())
			if c := r.Classes[0]; c.Nodes[2].Copies[Stale] != 1 {
				t.Errorf("c has %v", c.Nodes[2].Copies)
			}
		})
	}
	wg.Wait()
}

// A whole world at random, for hours: what must hold after every sampling.
func TestSamplingsAtRandom(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		choices := rapid.SliceOfN(rapid.IntRange(0, 1<<16), 0, 200).Draw(r, "choices")
		next := 0
		fault := simulate(t, 10, func(_ string, low, high int) int {
			if next++; next > len(choices) {
				return low
			}
			return low + choices[next-1]%(high-low+1)
		})
		if fault != "" {
			r.Fatal(fault)
		}
	})
	for world := range uint64(7) {
		random := rand.New(rand.NewPCG(3, world))
		if fault := simulate(t, 300, func(_ string, low, high int) int { return low + random.IntN(high-low+1) }); fault != "" {
			t.Errorf("world %d, %s", world, fault)
		}
	}
}

// simulate so many samplings; choose decides what happens between them.
func simulate(t *testing.T, samplings int, choose func(string, int, int) int) (fault string) {
	inFakeTime(t, func(t *testing.T) {
		const all = "l1 ttl=10m max_staleness=1m: a b; l2: p r<p s<p c; l3 ttl=none max_staleness=10s: d"
		classes := []string{
			`keys: [k0, k1, k2], pattern: "k*", sample: 3, ` + versioned + ", " + ageing + `, origin: {http: {url: "http://o/{key}"}, max_per_scrape: 4, max_lag: 20s}`,
			`class: plain, keys: [k0, k5], layers: [l2, l3]`,
		}
		w := newWorld(t, all, classes...)
		names := strings.Fields("a b p r s c d")
		began := time.Now()
		s := &source{TB: t, choose: choose}
		prior := map[string]ClassNode{}
		var before []ClassResult
		for i := range samplings {
			var did []string
			for range choose("operations", 0, 6) {
				did = append(did, w.atRandom(s, names))
			}
			w.sample()
			if fault = w.holds(prior, before, began); fault != "" {
				fault = fmt.Sprintf("sampling %d, after %s:\n%s", i+1, strings.Join(did, ", "), fault)
				return
			}
			before = w.last.Classes
			for _, c := range before {
				for _, n := range c.Nodes {
					prior[c.Class+n.Node] = n
				}
			}
		}
	})
	return fault
}

// atRandom does something to the world, and says what.
func (w *world) atRandom(s *source, names []string) string {
	n := w.node(names[s.choose("node", 0, len(names)-1)])
	name, key := n.id.Name, fmt.Sprintf("k%d", s.choose("key", 0, 9))
	content := []string{"x", "y", "z"}[s.choose("content", 0, 2)]
	some := func() string {
		c := content
		if s.chance("versioned", 2) {
			c += "@" + strconv.Itoa(s.choose("version", 1, 9))
		}
		if s.chance("cached", 3) {
			c += "!" + []string{"1m", "1h"}[s.choose("age", 0, 1)]
		}
		return c
	}
	switch s.choose("operation", 0, 19) {
	case 0:
		w.set(name, key, "-")
		return name + " loses " + key
	case 1:
		w.set(name, key, "?")
		return name + " can't give " + key
	case 2, 3:
		n.frozen = !n.frozen && s.chance("freezes", 2)
		return fmt.Sprintf("%s frozen: %t", name, n.frozen)
	case 4:
		n.cut = !n.cut
		return fmt.Sprintf("%s cut: %t", name, n.cut)
	case 5:
		if n.primary == nil {
			return "nothing"
		}
		old := n.primary
		for _, other := range w.nodes {
			if other.primary == old {
				other.primary = n.memory
			}
		}
		old.primary, n.primary = n.memory, nil
		return name + " takes over"
	case 6:
		n.slow[s.choose("read", 0, 1)] = []time.Duration{0, time.Millisecond, 3 * time.Second, -1}[s.choose("slow", 0, 3)]
		return fmt.Sprintf("%s takes %s", name, n.slow)
	case 7:
		n.twist = nil
		if s.chance("moves", 2) {
			body := []byte(w.body(content))
			n.twist = func(read int, name string, r *probes.Raw) {
				if read == 1 && name == key {
					*r = probes.Raw{Present: true, Value: body}
				}
			}
			return name + " changes " + key + " between the reads"
		}
		return name + " changes nothing between the reads"
	case 8, 9:
		o := w.origin("c")
		o.reply, o.status = nil, []int{200, 200, 404, 500}[s.choose("status", 0, 3)]
		o.body = w.body(some())
		if s.chance("hangs", 5) {
			o.reply = func(ctx context.Context, _ string) (string, int) { <-ctx.Done(); return "", 500 }
		}
		return fmt.Sprintf("the origin answers %d %s", o.status, o.body)
	case 10, 11:
		d := []time.Duration{time.Second, 20 * time.Second, time.Minute, 20 * time.Minute}[s.choose("wait", 0, 3)]
		time.Sleep(d)
		return "wait " + d.String()
	case 12:
		if i := slices.Index(w.fleet, n); i >= 0 && s.chance("leaves", 2) {
			w.do("leave=" + name)
			return name + " leaves"
		} else if i < 0 {
			w.do("enter=" + name)
			return name + " enters"
		}
		w.reload()
		return "a reload"
	case 13:
		n.found = nil
		for i := range s.choose("finds", 0, 6) {
			n.found = append(n.found, fmt.Sprintf("k%d", i+s.choose("from", 0, 4)))
		}
		return fmt.Sprintf("%s finds %v", name, n.found)
	case 14:
		n.survey.Evicted = probes.Count{Value: float64(s.choose("evicted", 0, 9)), Known: true}
		n.survey.UptimeSeconds = probes.Count{Value: float64(s.choose("uptime", 0, 9)), Known: true}
		n.survey.Loading = s.chance("loading", 3)
		n.offset = int64(s.choose("offset", 0, 99))
		return name + " tells other numbers"
	default:
		c := some()
		w.set(name, key, c)
		return name + " gets " + key + "=" + c
	}
}

// holds checks the last sampling against itself and the one before.
func (w *world) holds(prior map[string]ClassNode, before []ClassResult, began time.Time) string {
	if w.took() > w.timeout {
		return fmt.Sprintf("it took %s", w.took())
	}
	falling := func(counts [len(Windows)]int) bool {
		return slices.IsSortedFunc(counts[:], func(a, b int) int { return cmp.Compare(b, a) }) && counts[len(counts)-1] >= 0
	}
	sum := func(counts ...int) (n int) {
		for _, c := range counts {
			n += c
		}
		return n
	}
	for i, c := range w.last.Classes {
		class := w.sampler.classes[i]
		keys := len(class.Keys) + c.SampledKeys
		asked := 0
		fault := func(format string, args ...any) string {
			return "class " + c.Class + ": " + fmt.Sprintf(format, args...)
		}
		switch {
		case c.SampledKeys > class.Sample:
			return fault("%d sampled keys, with a budget of %d", c.SampledKeys, class.Sample)
		case len(class.history.keys) != keys:
			return fault("%d keys are remembered, of %d", len(class.history.keys), keys)
		case sum(c.Keys[:]...) > keys || c.Keys[ByAge] > 0:
			return fault("keys by reference are %v, of %d", c.Keys, keys)
		case !falling(c.Divergent) || c.Divergent[0] > keys:
			return fault("divergent keys are %v, of %d", c.Divergent, keys)
		case c.VersionConflicts > keys, c.OriginBehind > keys:
			return fault("%d conflicts, %d times behind, of %d", c.VersionConflicts, c.OriginBehind, keys)
		case len(c.KeyConsistent) > len(class.Keys):
			return fault("the consistency of %d keys is told, of %d", len(c.KeyConsistent), len(class.Keys))
		}
		if before != nil {
			if c.VersionRegressions < before[i].VersionRegressions {
				return fault("%d regressions, then %d", before[i].VersionRegressions, c.VersionRegressions)
			}
			for result, n := range before[i].OriginRequests {
				if c.OriginRequests[result] < n {
					return fault("the origin's requests were %v, then %v", before[i].OriginRequests, c.OriginRequests)
				}
				asked += int(c.OriginRequests[result] - n)
			}
			if class.Origin != nil && asked > 2*class.Origin.MaxPerScrape {
				return fault("the origin was asked %d times", asked)
			}
		}
		for _, l := range c.Layers {
			for _, lasted := range l.EndedEpisodes {
				if lasted < 0 || lasted > w.last.Ended.Sub(began).Seconds() {
					return fault("an episode of %v s", lasted)
				}
			}
		}
		for _, n := range c.Nodes {
			was, spy := prior[c.Class+n.Node], w.node(n.Node)
			fault := func(format string, args ...any) string {
				return fault("node %s: %s; copies %v", n.Node, fmt.Sprintf(format, args...), n.Copies)
			}
			missing, unreadable := 0, 0
			for key := range class.history.keys {
				switch v, ok := spy.values[key]; {
				case !ok:
					missing++
				case v.Status == 500:
					unreadable++
				}
			}
			stale := n.Copies[Stale]
			switch {
			case sum(n.Copies[:]...) != keys:
				return fault("states of %d keys", keys)
			case n.Read != (n.Copies[Error] < keys):
				return fault("read: %t", n.Read)
			case !falling(n.StaleWindows) || n.StaleWindows[0] != stale:
				return fault("windows %v", n.StaleWindows)
			case n.Overdue > stale:
				return fault("%d overdue", n.Overdue)
			case sum(n.Convicted[:]...) != stale:
				return fault("convicted by %v", n.Convicted)
			case stale > 0 && n.OldestStale <= 0, n.OldestStale > w.last.Ended.Sub(began):
				return fault("the oldest episode is %s", n.OldestStale)
			case sum(n.Suppressed[:]...) > n.Copies[Missing]:
				return fault("suppressed are %v", n.Suppressed)
			case n.VersionLag < 0 || n.VersionLag > 0 && stale == 0:
				return fault("%v behind", n.VersionLag)
			case n.OverdueReads != was.OverdueReads+uint64(n.Overdue):
				return fault("overdue reads were %d, are %d", was.OverdueReads, n.OverdueReads)
			case (spy.frozen || spy.slow[0] < 0) && n.Copies[Error] != keys:
				return fault("it hangs")
			case !spy.frozen && spy.slow == [2]time.Duration{} && spy.twist == nil && (n.Copies[Missing] != missing || n.Copies[Error] != unreadable):
				return fault("%d are missing, %d unreadable", missing, unreadable)
			}
			for s := range NumStates {
				if n.Reads[s] != was.Reads[s]+uint64(n.Copies[s]) {
					return fault("reads were %v, are %v", was.Reads, n.Reads)
				}
			}
		}
	}
	return ""
}

// A writer that only ever raises the version, and reaches all nodes within the re-read delay: nobody is stale or undecided,
// no version goes down, sampling after sampling. A node that is cut off is stale by the second.
func TestAMonotoneWriterOverManySamplings(t *testing.T) {
	for _, c := range []struct {
		name, nodes string
		deletes     int // percent of the writes
	}{
		{"that sets", "l1: a b; l2: c d", 0},
		{"that deletes", "l1: a b; l2: c d", 100},
		{"that does both", "l1: a b; l2: c d", 50},
		{"to primaries whose replicas are read first", "l1: a b; l2: p r<p s<p", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				w := newWorld(t, c.nodes, versioned)
				random := rand.New(rand.NewPCG(5, 6))
				var cut atomic.Pointer[spy]
				ctx, stop := context.WithCancel(t.Context())
				var writer sync.WaitGroup
				writer.Go(func() { w.write(ctx, rand.New(rand.NewPCG(7, 8)), c.deletes, &cut) })
				defer writer.Wait()
				defer stop()
				for i := range 80 {
					for _, n := range w.fleet {
						for k := range n.slow {
							n.slow[k] = time.Duration(random.IntN(10)) * time.Millisecond
							if n.primary == nil && strings.Contains(c.nodes, "<") {
								n.slow[k] = 10 * time.Millisecond
							}
						}
					}
					w.sample()
					c := w.last.Classes[0]
					for _, n := range c.Nodes {
						if n.Copies[Stale]+n.Copies[Undecided]+n.Copies[Error] > 0 {
							t.Fatalf("sampling %d: %s has %v", i+1, n.Node, n.Copies)
						}
					}
					if c.VersionRegressions > 0 {
						t.Fatalf("sampling %d: a version went down", i+1)
					}
				}
				off := w.node("a")
				for off.copies() == 0 { // it is empty just now
					time.Sleep(time.Millisecond)
				}
				cut.Store(off)
				w.sample()
				w.sample()
				if got := w.states("a"); got[Stale] != 1 {
					t.Errorf("the node that was cut off has %v", got)
				}
			})
		})
	}
}

func (s *spy) copies() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.values)
}

// write ever higher versions of k to all nodes that are not cut off, until ctx ends; readers refill what was deleted.
func (w *world) write(ctx context.Context, random *rand.Rand, deletes int, cut *atomic.Pointer[spy]) {
	var mu sync.Mutex // of what follows
	database := 0
	held := map[*memory]int{}
	later := func(most time.Duration, do func()) {
		time.AfterFunc(time.Duration(random.Int64N(int64(most))), func() {
			mu.Lock()
			defer mu.Unlock()
			do()
		})
	}
	var set func(m *memory, version int, deleted bool)
	set = func(m *memory, version int, deleted bool) {
		if off := cut.Load(); off != nil && off.memory == m {
			return
		}
		m.mu.Lock()
		switch { // a node hears of writes in their order
		case version < held[m]:
		case deleted:
			held[m] = version
			delete(m.values, "k")
		default:
			held[m] = version
			m.values["k"] = verdicts.Value{Bytes: fmt.Appendf(nil, `{"n":"%d","v":%d}`, version, version)}
		}
		m.mu.Unlock()
		for _, n := range w.fleet {
			if n.primary == m {
				later(4*time.Millisecond, func() { set(n.memory, version, deleted) })
			}
		}
	}
	for pause := time.Duration(0); ctx.Err() == nil; time.Sleep(pause) {
		mu.Lock()
		pause = time.Duration(1+random.IntN(30_000)) * time.Microsecond
		database++
		for _, n := range w.fleet {
			if n.primary != nil {
				continue
			}
			version, deleted := database, random.IntN(100) < deletes
			later(15*time.Millisecond, func() { set(n.memory, version, deleted) })
			later(40*time.Millisecond, func() {
				if n.copies() == 0 {
					set(n.memory, database, false)
				}
			})
		}
		mu.Unlock()
	}
}
