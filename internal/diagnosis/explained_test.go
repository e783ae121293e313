package diagnosis

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// large is the estate with 625 copies of each class on each of its eight nodes, 5,000 in all.
func (e *Evidence) large() {
	for i := range e.Result.Classes {
		c := &e.Result.Classes[i]
		c.Keys = [verdict.NumReferences]int{verdict.ByMajority: 625}
		for k := range c.Nodes {
			c.Nodes[k].Copies = [verdict.NumStates]int{verdict.Fresh: 625}
		}
	}
}

// overdue copies of a class on a node, of those that it has.
func (e *Evidence) overdue(class int, node string, copies int) {
	n := e.on(class, node)
	n.Copies[verdict.Stale], n.Overdue, n.OldestStale = copies, copies, time.Minute
	n.Copies[verdict.Fresh] -= copies
}

// causes of what is wrong besides the copies, and is about the node and the way of invalidations that they name.
var elsewhere = map[Cause]func(e *Evidence){
	Network:  func(e *Evidence) { e.down("redis-3") },
	Queueing: func(e *Evidence) { e.Queues[0].Depth, e.Queues[0].ProcessedRate = num(15000), num(4) },
	Config: func(e *Evidence) {
		e.Settings[0].Nodes = map[string][]string{"allkeys-lru": {"redis-1", "redis-2"}, "noeviction": {"redis-3"}}
	},
	Version: func(e *Evidence) { e.Apps[0].Versions["app-3"] = "2.2.9" },
}

// TestOneCopyOfMany: one wrong copy, or key, of 5,000 brings no cause to stand, whatever kind it is.
func TestOneCopyOfMany(t *testing.T) {
	for name, change := range map[string]func(e *Evidence){
		"overdue":           func(e *Evidence) { e.overdue(0, "redis-3", 1) },
		"overdue, far back": func(e *Evidence) { e.overdue(0, "redis-3", 1); e.on(0, "redis-3").VersionLag = 9 },
		"three of a node":   func(e *Evidence) { e.overdue(0, "redis-3", 3); e.on(0, "redis-3").VersionLag = 9 },
		"survivor":          func(e *Evidence) { e.on(0, "redis-3").Survivors, e.on(0, "redis-3").StillSurvivors = 1, 1 },
		"stray":             func(e *Evidence) { e.on(0, "memcached-1").Strays = 1 },
		"immortal":          func(e *Evidence) { e.on(0, "redis-3").Immortal = 1 },
		"conflict":          func(e *Evidence) { e.Result.Classes[0].VersionConflicts = 1 },
	} {
		d := watch(5, func(_ int, e *Evidence) { e.large(); change(e) })[4]
		for _, s := range d.Scores {
			if s.Score >= standing.Value {
				t.Errorf("%s: %v; it says\n%s", name, d.Scores, strings.Join(d.Steps[6].Evidence, "\n"))
			}
		}
	}
}

// TestShareOfMany: 1% of a class stands, also where each node has less; so does one copy of a small class.
func TestShareOfMany(t *testing.T) {
	for name, c := range map[string]struct {
		cause  Cause
		change func(e *Evidence)
	}{
		"overdue everywhere": {Logic, func(e *Evidence) {
			e.large()
			for _, n := range e.Result.Nodes {
				e.overdue(0, n.Name, 7)
			}
		}},
		"strays":    {Config, func(e *Evidence) { e.large(); e.on(0, "memcached-1").Strays = 50 }},
		"survivors": {Logic, func(e *Evidence) { e.large(); e.on(0, "redis-3").Survivors, e.on(0, "redis-3").StillSurvivors = 50, 50 }},
		"conflicts": {Version, func(e *Evidence) { e.large(); e.Result.Classes[0].VersionConflicts = 7 }},
		"one of five keys": {Logic, func(e *Evidence) {
			for k := range e.Result.Classes[0].Nodes {
				e.Result.Classes[0].Nodes[k].Copies = [verdict.NumStates]int{verdict.Fresh: 5}
			}
			e.overdue(0, "redis-3", 1)
		}},
		"the only key of two nodes": {Logic, func(e *Evidence) {
			e.Result.Classes[0].Nodes = e.Result.Classes[0].Nodes[:2]
			for k := range e.Result.Classes[0].Nodes {
				e.Result.Classes[0].Nodes[k].Copies = [verdict.NumStates]int{verdict.Fresh: 1}
			}
			e.overdue(0, "app-1", 1)
		}},
	} {
		if d := watch(2, func(_ int, e *Evidence) { c.change(e) })[1]; d.Verdict != string(c.cause) || len(d.Causes) != 1 {
			t.Errorf("%s: %s, %v; it says\n%s", name, d.Verdict, d.Scores, strings.Join(d.Steps[6].Evidence, "\n"))
		}
	}
}

// TestExplained: copies count for logic but where a cause stands that is about them. Where it is about something else, both stand.
func TestExplained(t *testing.T) {
	for _, cause := range []Cause{Network, Queueing, Config, Version} {
		for _, node := range []string{"redis-1", "redis-3", "app-3", "memcached-2"} {
			want := cause != Queueing // the way of all invalidations
			switch {
			case node == "redis-3" && (cause == Network || cause == Config), node == "app-3" && cause == Version:
				want = false
			}
			d := watch(2, func(_ int, e *Evidence) { elsewhere[cause](e); e.overdue(0, node, 4) })[1]
			if d.score(cause) <= standing.Value || stands(d.score(Logic)) != want {
				t.Errorf("%s, copies on %s: %v; logic should stand: %v; it says\n%s", cause, node, d.Scores, want, strings.Join(d.Steps[6].Evidence, "\n"))
			}
			text := "unexplained_stale of user/" + node + " does not count: " + string(cause) + " stands"
			if strings.Contains(strings.Join(d.Steps[6].Evidence, "\n"), text) == want {
				t.Errorf("%s, copies on %s: it says\n%s", cause, node, strings.Join(d.Steps[6].Evidence, "\n"))
			}
		}
	}
}

// Some copies are explained, and some are not.
func TestExplainedInPart(t *testing.T) {
	d := watch(2, func(_ int, e *Evidence) {
		elsewhere[Config](e)
		e.overdue(0, "redis-3", 8)
		e.overdue(0, "redis-1", 4)
	})[1]
	text := strings.Join(d.Steps[6].Evidence, "\n")
	if !stands(d.score(Config)) || !stands(d.score(Logic)) || !strings.Contains(text, "user on l2 redis-1: 4 copies are overdue") ||
		strings.Contains(text, "user on l2 redis-3: 8 copies are overdue") {
		t.Errorf("%v; it says\n%s", d.Scores, text)
	}
	alone := watch(2, func(_ int, e *Evidence) { elsewhere[Config](e); e.overdue(0, "redis-1", 4) })[1]
	if d.score(Logic) != alone.score(Logic) {
		t.Errorf("logic is %v with the copies that config explains, %v without", d.score(Logic), alone.score(Logic))
	}
}

// Layers of a shorter TTL are filled from a node that a cause is about, if it has stale copies of the class; others are not.
func TestFilledFromExplained(t *testing.T) {
	for name, c := range map[string]struct {
		change func(e *Evidence)
		want   bool
	}{
		"from the node":        {func(e *Evidence) { e.overdue(0, "redis-3", 4); e.overdue(0, "app-1", 4) }, false},
		"another class":        {func(e *Evidence) { e.overdue(0, "redis-3", 4); e.overdue(1, "app-1", 4) }, true},
		"a layer that lasts":   {func(e *Evidence) { e.overdue(0, "redis-3", 4); e.overdue(0, "memcached-1", 4) }, true},
		"nothing on the node":  {func(e *Evidence) { e.overdue(0, "app-1", 4) }, true},
		"conflicts of a class": {func(e *Evidence) { e.Result.Classes[0].VersionConflicts = 9; e.overdue(0, "memcached-1", 4) }, false},
		"... of another class": {func(e *Evidence) { e.Result.Classes[1].VersionConflicts = 9; e.overdue(0, "memcached-1", 4) }, true},
	} {
		d := watch(2, func(_ int, e *Evidence) { elsewhere[Config](e); c.change(e) })[1]
		if stands(d.score(Logic)) != c.want {
			t.Errorf("%s: %v; it says\n%s", name, d.Scores, strings.Join(d.Steps[6].Evidence, "\n"))
		}
	}
}

// TestNodeScores: each finding is told of the nodes that it is about, and of no others.
func TestNodeScores(t *testing.T) {
	group := func(e *Evidence, name string, members ...string) {
		for i := range e.Result.Nodes {
			if n := &e.Result.Nodes[i]; slices.Contains(members, n.Name) {
				n.Group = name
			}
		}
	}
	cluster := func(e *Evidence, c probes.Cluster) {
		e.cluster(c)
		e.Result.Groups[0].Nodes = []string{"redis-1", "redis-2"}
	}
	for name, c := range map[string]struct {
		cause  Cause
		nodes  []string
		change func(i int, e *Evidence)
	}{
		"healthy":      {"", nil, func(int, *Evidence) {}},
		"down":         {Network, []string{"redis-3"}, func(_ int, e *Evidence) { e.down("redis-3") }},
		"link":         {Network, []string{"redis-2"}, func(_ int, e *Evidence) { e.Replicas[0].LinkUp = false }},
		"lag":          {Network, []string{"redis-2"}, func(_ int, e *Evidence) { e.Replicas[0].LagSeconds = num(30) }},
		"isolated":     {Network, []string{"redis-3"}, func(_ int, e *Evidence) { e.stale("redis-3", 6, 6, time.Minute) }},
		"instance":     {Network, []string{"app-2"}, func(_ int, e *Evidence) { e.Apps[0].Down = []string{"app-2"} }},
		"no node":      {Network, nil, func(_ int, e *Evidence) { e.Apps[0].Down = []string{"web-9"} }},
		"a lost probe": {Network, []string{"redis-1"}, func(_ int, e *Evidence) { e.RoundTrips[0].Lost = 3 }},
		"broker":       {Network, nil, func(_ int, e *Evidence) { e.Queues[1].BrokersDown = 1 }},
		"cluster":      {Network, []string{"redis-1", "redis-2"}, func(_ int, e *Evidence) { cluster(e, probes.Cluster{Answered: 6, Views: 1}) }},
		"views":        {Network, []string{"redis-1", "redis-2"}, func(_ int, e *Evidence) { cluster(e, probes.Cluster{Answered: 6, OK: true, Views: 2}) }},
		"contested slots": {Network, []string{"redis-1", "redis-2"}, func(_ int, e *Evidence) {
			cluster(e, probes.Cluster{Answered: 6, OK: true, Views: 1, ContestedSlots: 9})
		}},
		"two primaries": {Network, []string{"redis-1", "redis-2"}, func(_ int, e *Evidence) {
			group(e, "pair", "redis-1", "redis-2")
			e.Primaries = []Primaries{{"l2", "pair", 2}}
		}},
		"setting": {Config, []string{"redis-3"}, func(_ int, e *Evidence) { elsewhere[Config](e) }},
		"one against one": {Config, []string{"redis-1", "redis-2"}, func(_ int, e *Evidence) {
			e.Settings[0].Nodes = map[string][]string{"allkeys-lru": {"redis-1"}, "noeviction": {"redis-2"}}
		}},
		"strays": {Config, []string{"memcached-1", "memcached-2"}, func(_ int, e *Evidence) {
			group(e, "pool", "memcached-1", "memcached-2")
			e.on(0, "memcached-1").Strays = 4
		}},
		"version": {Version, []string{"app-3"}, func(_ int, e *Evidence) { elsewhere[Version](e) }},
		"queue":   {Queueing, nil, func(_ int, e *Evidence) { elsewhere[Queueing](e) }},
	} {
		t.Run(name, func(t *testing.T) {
			d := watch(2, c.change)[1]
			got := map[string]float64{}
			for _, n := range d.Nodes {
				if n.Cause != c.cause || n.Score > d.score(n.Cause) || n.Layer == "" {
					t.Errorf("%+v, where %s has %v", n, n.Cause, d.score(n.Cause))
				}
				got[n.Node] = n.Score
			}
			if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, c.nodes) {
				t.Errorf("%s is about %v, want %v", c.cause, got, c.nodes)
			}
			for n, score := range got {
				if !stands(score) {
					t.Errorf("%s: %v", n, score)
				}
			}
		})
	}
	if d := Diagnose(Evidence{At: start, Queues: []Queue{{Name: "q", Up: true}}}); d.Nodes != nil {
		t.Errorf("no node was sampled: %v", d.Nodes)
	}
}
