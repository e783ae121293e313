package consistency

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cacheinv/cacheinv_exporter/internal/test/cases"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

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

// source of choices: rapid, which finds the smallest counterexample, or a fixed seed, which is faster.
type source struct {
	testing.TB
	choose func(label string, low, high int) int
}

func (s *source) chance(label string, of int) bool { return s.choose(label, 0, of-1) == of-1 }

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
				other.primary = n.memoryNode
			}
		}
		old.primary, n.primary = n.memoryNode, nil
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
		case len(class.memory.keys) != keys:
			return fault("%d keys are remembered, of %d", len(class.memory.keys), keys)
		case sum(c.Keys[:]...) > keys || c.Keys[verdict.ByAge] > 0:
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
			if before == nil || !slices.ContainsFunc(before[i].Nodes, func(other ClassNode) bool { return other.Node == n.Node }) {
				total := uint64(0)
				for _, reads := range n.Reads {
					total += reads
				}
				if total == uint64(keys) {
					was = ClassNode{} // it was away for long enough to be forgotten
				}
			}
			fault := func(format string, args ...any) string {
				return fault("node %s: %s; copies %v", n.Node, fmt.Sprintf(format, args...), n.Copies)
			}
			missing, unreadable := 0, 0
			for key := range class.memory.keys {
				switch v, ok := spy.values[key]; {
				case !ok:
					missing++
				case v.Status == 500:
					unreadable++
				}
			}
			stale := n.Copies[verdict.Stale]
			switch {
			case sum(n.Copies[:]...) != keys:
				return fault("states of %d keys", keys)
			case n.Read != (n.Copies[verdict.Error] < keys):
				return fault("read: %t", n.Read)
			case !falling(n.StaleWindows) || n.StaleWindows[0] != stale:
				return fault("windows %v", n.StaleWindows)
			case n.Overdue > stale:
				return fault("%d overdue", n.Overdue)
			case sum(n.Convicted[:]...) != stale:
				return fault("convicted by %v", n.Convicted)
			case stale > 0 && n.OldestStale <= 0, n.OldestStale > w.last.Ended.Sub(began):
				return fault("the oldest episode is %s", n.OldestStale)
			case sum(n.Suppressed[:]...) > n.Copies[verdict.Missing]:
				return fault("suppressed are %v", n.Suppressed)
			case n.VersionLag < 0 || n.VersionLag > 0 && stale == 0:
				return fault("%v behind", n.VersionLag)
			case n.OverdueReads != was.OverdueReads+uint64(n.Overdue):
				return fault("overdue reads were %d, are %d", was.OverdueReads, n.OverdueReads)
			case (spy.frozen || spy.slow[0] < 0) && n.Copies[verdict.Error] != keys:
				return fault("it hangs")
			case !spy.frozen && spy.slow == [2]time.Duration{} && spy.twist == nil && (n.Copies[verdict.Missing] != missing || n.Copies[verdict.Error] != unreadable):
				return fault("%d are missing, %d unreadable", missing, unreadable)
			}
			for s := range verdict.NumStates {
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
						if n.Copies[verdict.Stale]+n.Copies[verdict.Undecided]+n.Copies[verdict.Error] > 0 {
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
				if got := w.states("a"); got[verdict.Stale] != 1 {
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
	held := map[*memoryNode]int{}
	later := func(most time.Duration, do func()) {
		time.AfterFunc(time.Duration(random.Int64N(int64(most))), func() {
			mu.Lock()
			defer mu.Unlock()
			do()
		})
	}
	var set func(m *memoryNode, version int, deleted bool)
	set = func(m *memoryNode, version int, deleted bool) {
		if off := cut.Load(); off != nil && off.memoryNode == m {
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
			m.values["k"] = cases.Value{Bytes: fmt.Appendf(nil, `{"n":"%d","v":%d}`, version, version)}
		}
		m.mu.Unlock()
		for _, n := range w.fleet {
			if n.primary == m {
				later(4*time.Millisecond, func() { set(n.memoryNode, version, deleted) })
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
			later(15*time.Millisecond, func() { set(n.memoryNode, version, deleted) })
			later(40*time.Millisecond, func() {
				if n.copies() == 0 {
					set(n.memoryNode, database, false)
				}
			})
		}
		mu.Unlock()
	}
}
