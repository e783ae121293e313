package diagnosis

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// leave stale and overdue copies of one class on a node, the oldest since the sampling of that number.
func (e *Evidence) leave(class int, node string, copies, now, since int) {
	n := e.on(class, node)
	n.Copies[verdict.Stale], n.Copies[verdict.Fresh] = copies, 20-copies
	n.Overdue, n.OldestStale = copies, time.Duration(now-since)*time.Second
}

// TestIsolatedWhileItsCopiesStay: a partition stays the cause of the copies that it left, for as long as one of them is there, and of no
// others.
func TestIsolatedWhileItsCopiesStay(t *testing.T) {
	const long = 300
	// A node misses the writes to one class without versions, for ten samplings.
	missed := func(i int, e *Evidence) { e.leave(1, "redis-3", min(i+1, 10), i, 0) }
	for name, c := range map[string]struct {
		change func(i int, e *Evidence)
		// settled from this sampling on, and until the last one, the verdict is want.
		settled int
		want    string
	}{
		"no writes any more": {missed, 4, "network"},
		"few of the copies are left": {func(i int, e *Evidence) {
			missed(i, e)
			if i > 100 {
				e.leave(1, "redis-3", 1, i, 0)
			}
		}, 4, "network"},
		"one of two classes is left": {func(i int, e *Evidence) {
			e.leave(1, "redis-3", 4, i, 0)
			if i < 100 {
				e.leave(0, "redis-3", 4, i, 0)
			}
		}, 4, "network"},
		"few of the copies are left, and peers have some in flight": {func(i int, e *Evidence) {
			if missed(i, e); i > 100 {
				e.leave(1, "redis-3", 2, i, 0)
				for k, n := range []string{"redis-1", "redis-2", "memcached-1"} {
					e.on(1, n).Copies[verdict.Stale] = (i + k) % 3
				}
			}
		}, 4, "network"},
		"the node is not read for a while": {func(i int, e *Evidence) {
			missed(i, e)
			if 100 <= i && i < 110 {
				n := e.on(1, "redis-3")
				n.Copies = [verdict.NumStates]int{verdict.Error: 20}
				n.Overdue, n.OldestStale = 0, 0
			}
		}, 112, "network"},
		"they are gone": {func(i int, e *Evidence) {
			if i < 100 {
				missed(i, e)
			}
		}, 100, "none"},
		"they were there once": {func(i int, e *Evidence) {
			switch {
			case i == 50:
				e.stale("redis-3", 5, 0, time.Second)
			case i > 50 && i < 60:
				e.on(1, "redis-3").Copies[verdict.Stale] = 1
				e.on(1, "redis-3").OldestStale = time.Duration(i-49) * time.Second
			}
		}, 0, "none"},
		"others came after them": {func(i int, e *Evidence) {
			if missed(i, e); i >= 100 {
				e.leave(1, "redis-3", 4, i, 95)
			}
		}, 104, "logic"},
		"its peers have such copies too": {func(i int, e *Evidence) {
			if missed(i, e); i >= 100 {
				for _, n := range []string{"redis-1", "redis-2"} {
					e.leave(1, n, 10, i, 95)
				}
			}
		}, 104, "logic"},
		"it never grew": {func(i int, e *Evidence) { e.leave(1, "redis-3", 10, i, -60) }, 4, "logic"},
		"its setting explained them": {func(i int, e *Evidence) {
			if missed(i, e); i < 100 {
				e.Settings[0].Nodes = map[string][]string{"allkeys-lru": {"redis-1", "redis-2"}, "noeviction": {"redis-3"}}
			}
		}, 104, "logic"},
	} {
		t.Run(name, func(t *testing.T) {
			for i, d := range watch(long, c.change) {
				if i >= c.settled && d.Verdict != c.want {
					t.Fatalf("sampling %d: verdict %s, want %s: %v; it says\n%s", i, d.Verdict, c.want, d.Scores, strings.Join(d.Steps[6].Evidence, "\n"))
				}
			}
		})
	}
}

// A few copies on one node, where deletes that miss any node could have left them by chance, do not isolate it. More do, and so do few where
// the node has no other.
func TestIsolatedByChance(t *testing.T) {
	for name, c := range map[string]struct {
		class, copies int
		nodes         []string // which are compared
		change        func(*Evidence)
		want          string
	}{
		"3 copies, 5 nodes":  {1, 3, []string{"redis-1", "redis-2", "redis-3", "memcached-1", "memcached-2"}, nil, "logic"},
		"4 copies, 5 nodes":  {1, 4, []string{"redis-1", "redis-2", "redis-3", "memcached-1", "memcached-2"}, nil, "network"},
		"3 copies, 3 nodes":  {1, 3, []string{"redis-1", "redis-2", "redis-3"}, nil, "logic"},
		"4 copies, 3 nodes":  {1, 4, []string{"redis-1", "redis-2", "redis-3"}, nil, "network"},
		"5 copies, 2 nodes":  {1, 5, []string{"redis-2", "redis-3"}, nil, "logic"},
		"6 copies, 2 nodes":  {1, 6, []string{"redis-2", "redis-3"}, nil, "network"},
		"a shorter TTL's":    {1, 5, []string{"app-1", "app-2", "app-3", "redis-2", "redis-3"}, nil, "logic"},
		"all of its 3":       {1, 3, []string{"redis-2", "redis-3"}, func(e *Evidence) { e.on(1, "redis-3").Copies[verdict.Fresh] = 0 }, "network"},
		"all of its 2":       {1, 2, []string{"redis-2", "redis-3"}, func(e *Evidence) { e.on(1, "redis-3").Copies[verdict.Fresh] = 0 }, "logic"},
		"2 versions behind":  {0, 3, []string{"redis-1", "redis-2", "redis-3"}, func(e *Evidence) { e.on(0, "redis-3").VersionLag = 2 }, "network"},
		"a version behind":   {0, 3, []string{"redis-1", "redis-2", "redis-3"}, func(e *Evidence) { e.on(0, "redis-3").VersionLag = 1 }, "logic"},
		"nobody is compared": {1, 9, []string{"redis-3"}, nil, "logic"},
	} {
		t.Run(name, func(t *testing.T) {
			d := watch(10, func(i int, e *Evidence) {
				for k := range e.Result.Classes {
					for j := range e.Result.Classes[k].Nodes {
						if n := &e.Result.Classes[k].Nodes[j]; !slices.Contains(c.nodes, n.Node) {
							n.Copies = [verdict.NumStates]int{}
						}
					}
				}
				if e.leave(c.class, "redis-3", min(c.copies, i+1), i, 0); c.change != nil {
					c.change(e)
				}
			})
			if got := d[9]; got.Verdict != c.want {
				t.Errorf("verdict %s, want %s: %v; it says\n%s", got.Verdict, c.want, got.Scores, strings.Join(got.Steps[6].Evidence, "\n"))
			}
		})
	}
}

// A copy in flight on the same node in each sampling is none of those that a partition left.
func TestIsolatedEndsOnABusyNode(t *testing.T) {
	for i, d := range watch(200, func(i int, e *Evidence) {
		if i < 20 {
			e.leave(1, "redis-3", i+1, i, 0)
			return
		}
		n := e.on(1, "redis-3")
		n.Copies[verdict.Stale], n.OldestStale = 1, 1500*time.Millisecond
	}) {
		if i > 22 && d.Verdict != None {
			t.Fatalf("sampling %d: verdict %s: %v", i, d.Verdict, d.Scores)
		}
	}
}

// Nodes that are no longer sampled are forgotten.
func TestIsolatedIsForgotten(t *testing.T) {
	m := NewMemory()
	for i := range 20 {
		e := estate(start.Add(time.Duration(i) * time.Second))
		e.leave(1, "redis-3", min(i+1, 10), i, 0)
		m.Diagnose(&e)
	}
	if len(m.isolated) != 1 {
		t.Fatalf("it remembers %v", m.isolated)
	}
	e := estate(start.Add(20 * time.Second))
	e.Result.Nodes, e.Result.Classes = e.Result.Nodes[:3], nil
	if m.Diagnose(&e); len(m.isolated) != 0 {
		t.Errorf("it still remembers %v", m.isolated)
	}
}
