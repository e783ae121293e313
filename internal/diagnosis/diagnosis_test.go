package diagnosis

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

var start = time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC)

func num(v float64) probes.Count { return probes.Count{Value: v, Known: true} }

// estate that is well: three instances, three Redis, two memcached, two classes, two queues, one of each of the rest.
func estate(at time.Time) Evidence {
	e := Evidence{
		At: at, Result: &consistency.Result{},
		Replicas: []Replica{{Layer: "l2", Node: "redis-2", LinkUp: true, LagBytes: num(0), LagSeconds: num(0)}},
		Queues: []Queue{
			{
				Name: "list", Kind: "redis_list", Up: true, Depth: num(12), Capacity: 20000, EnqueuedRate: num(100), ProcessedRate: num(100),
				Sample: &probes.MessageSample{Messages: 12, HasKeys: true, DistinctKeys: 8, TopKey: "user:1", TopKeyMessages: 3, Repeats: num(0)},
			},
			{
				Name: "topic", Kind: "kafka", Up: true, Depth: num(300), EnqueuedRate: num(100), ProcessedRate: num(100),
				Groups: []Group{{Name: "inv", State: "Stable", Members: num(3), Stalled: num(0), LagSeconds: num(0.4)}},
				Sample: &probes.MessageSample{Messages: 1000, HasKeys: true, DistinctKeys: 600, TopKey: "user:1", TopKeyMessages: 40, Repeats: num(5)},
			},
		},
		Apps:       []App{{Name: "web", Versions: map[string]string{"app-1": "2.3.1", "app-2": "2.3.1", "app-3": "2.3.1"}}},
		Histories:  []History{{Name: "history", Up: true, Attempts: 5000, Failures: 5, Window: time.Minute}},
		Settings:   []Setting{{Layer: "l2", Name: "eviction_policy", Nodes: map[string][]string{"allkeys-lru": {"redis-1", "redis-2", "redis-3"}}}},
		RoundTrips: []RoundTrip{{Name: "end", Layer: "l2", Node: "redis-1", Sent: 1}, {Name: "end", Layer: "l2", Node: "redis-2", Sent: 1}},
		Events: []Events{{Class: "user", Within: time.Minute, Nodes: []EventNode{
			{Layer: "l2", Node: "redis-1", Good: 100}, {Layer: "l2", Node: "redis-2", Good: 100}, {Layer: "l2", Node: "redis-3", Good: 100},
		}}},
		Configured: Configured{
			MaxStaleness: map[ClassLayer]time.Duration{}, TTL: map[string]time.Duration{"l1": time.Minute, "l2": time.Hour, "l3": 24 * time.Hour},
		},
	}
	for _, n := range []struct{ layer, name, kind string }{
		{"l1", "app-1", "http"},
		{"l1", "app-2", "http"},
		{"l1", "app-3", "http"},
		{"l2", "redis-1", "redis"},
		{"l2", "redis-2", "redis"},
		{"l2", "redis-3", "redis"},
		{"l3", "memcached-1", "memcached"},
		{"l3", "memcached-2", "memcached"},
	} {
		e.Result.Nodes = append(e.Result.Nodes, consistency.NodeResult{Identity: probes.Identity{Layer: n.layer, Name: n.name, Kind: n.kind}, Up: true})
	}
	for _, class := range []string{"user", "product"} {
		c := consistency.ClassResult{Class: class, HasVersion: class == "user"}
		if c.HasVersion {
			c.VersionKind = "integer"
		}
		for _, n := range e.Result.Nodes {
			cn := consistency.ClassNode{Layer: n.Layer, Node: n.Name, Read: true}
			cn.Copies[verdict.Fresh] = 20
			c.Nodes = append(c.Nodes, cn)
			e.Configured.MaxStaleness[ClassLayer{class, n.Layer}] = 5 * time.Second
		}
		e.Result.Classes = append(e.Result.Classes, c)
	}
	return e
}

func (e *Evidence) down(names ...string) {
	for i := range e.Result.Nodes {
		for _, name := range names {
			if n := &e.Result.Nodes[i]; n.Name == name {
				n.Up, n.Err = false, errors.New("connection refused")
			}
		}
	}
}

// stale copies on a node in each class.
func (e *Evidence) stale(node string, copies, overdue int, age time.Duration) {
	for i := range e.Result.Classes {
		for k := range e.Result.Classes[i].Nodes {
			if n := &e.Result.Classes[i].Nodes[k]; n.Node == node {
				n.Copies[verdict.Stale], n.Copies[verdict.Fresh] = copies, 20-copies
				n.Overdue, n.OldestStale = overdue, age
			}
		}
	}
}

func (e *Evidence) on(class int, node string) *consistency.ClassNode {
	for k := range e.Result.Classes[class].Nodes {
		if n := &e.Result.Classes[class].Nodes[k]; n.Node == node {
			return n
		}
	}
	panic(node)
}

func (e *Evidence) cluster(c probes.Cluster) {
	e.Result.Groups = append(e.Result.Groups, probes.NodeGroup{Layer: "l2", Name: "cluster", Cluster: &c})
}

// watch plays samplings a second apart, of which change makes what it wants, and gives each one's diagnosis.
func watch(samplings int, change func(i int, e *Evidence)) []Diagnosis {
	m := NewMemory()
	var out []Diagnosis
	for i := range samplings {
		e := estate(start.Add(time.Duration(i) * time.Second))
		change(i, &e)
		out = append(out, m.Diagnose(&e))
	}
	return out
}

func (d Diagnosis) score(c Cause) float64 {
	for _, s := range d.Scores {
		if s.Cause == c {
			return s.Score
		}
	}
	return -1
}

// highest score; the first in the causes' order among equals.
func (d Diagnosis) highest() Cause {
	top, most := Cause(""), 0.0
	for _, s := range d.Scores {
		if s.Score > most {
			top, most = s.Cause, s.Score
		}
	}
	return top
}

// scenarios with the cause that must stand first within two samplings.
var scenarios = map[string]struct {
	cause  Cause
	change func(i int, e *Evidence)
}{
	"nodes not reached":      {Network, func(_ int, e *Evidence) { e.down("redis-3") }},
	"instance not reached":   {Network, func(_ int, e *Evidence) { e.Apps[0].Down = []string{"app-9"} }},
	"replica's link is down": {Network, func(_ int, e *Evidence) { e.Replicas[0].LinkUp = false }},
	"a frozen replica": {Network, func(i int, e *Evidence) {
		e.Replicas[0].LagBytes, e.Replicas[0].LagSeconds = num(5000), num(float64(i+1))
	}},
	"cluster down": {Network, func(_ int, e *Evidence) { e.cluster(probes.Cluster{Answered: 6, Views: 1, Primaries: 1}) }},
	"two views":    {Network, func(_ int, e *Evidence) { e.cluster(probes.Cluster{Answered: 6, OK: true, Views: 2, Primaries: 1}) }},
	"split brain": {Network, func(_ int, e *Evidence) {
		e.cluster(probes.Cluster{Answered: 6, OK: true, Views: 1, Primaries: 2, ContestedSlots: 100})
	}},
	"two primaries": {Network, func(_ int, e *Evidence) { e.Primaries = []Primaries{{"l2", "pair", 2}} }},
	"nodes cut off from writes": {Network, func(_ int, e *Evidence) {
		e.stale("redis-3", 6, 0, time.Second)
		e.stale("memcached-2", 6, 0, time.Second)
	}},
	"a node cut off, one class, many versions behind": {Network, func(_ int, e *Evidence) {
		e.on(0, "redis-3").Copies[verdict.Stale] = 3
		e.on(0, "redis-3").VersionLag = 4
	}},
	"a node cut off, from which all instances fill": {Network, func(_ int, e *Evidence) {
		for _, n := range []string{"redis-3", "app-1", "app-2", "app-3"} {
			e.stale(n, 5, 2, time.Minute)
		}
	}},
	"a layer that nothing invalidates, with few copies elsewhere": {Logic, func(_ int, e *Evidence) {
		for _, n := range []string{"memcached-1", "memcached-2", "redis-1"} {
			e.stale(n, 5, 5, time.Minute)
		}
	}},
	"brokers down":  {Network, func(_ int, e *Evidence) { e.Queues[1].BrokersDown = 1 }},
	"queue gone":    {Network, func(_ int, e *Evidence) { e.Queues[0] = Queue{Name: "list", Kind: "redis_list"} }},
	"probe lost":    {Network, func(_ int, e *Evidence) { e.RoundTrips[0].Lost = 3 }},
	"probe unsent":  {Network, func(_ int, e *Evidence) { e.RoundTrips[0].Failed = 3 }},
	"queue backlog": {Queueing, func(_ int, e *Evidence) { e.Queues[0].Depth = num(15000); e.Queues[0].ProcessedRate = num(4) }},
	"kafka backlog": {Queueing, func(_ int, e *Evidence) {
		e.Queues[1].Depth = num(5000)
		e.Queues[1].Groups[0].LagSeconds = num(45)
	}},
	"stale by queue": {Queueing, func(_ int, e *Evidence) { e.Queues[0].Depth = num(15000); e.stale("redis-2", 6, 6, time.Minute) }},
	"old message": {Queueing, func(_ int, e *Evidence) {
		e.Queues[0].OldestSeconds, e.Queues[0].EnqueuedRate, e.Queues[0].ProcessedRate = num(300), num(0.04), num(0)
	}},
	"stalled group": {Queueing, func(_ int, e *Evidence) { e.Queues[1].Groups[0].Stalled = num(1) }},
	"stalled list":  {Queueing, func(_ int, e *Evidence) { e.Queues[0].Stalled = num(1) }},
	"a group without commits, that nobody runs": {Queueing, func(_ int, e *Evidence) {
		e.Queues[1].Groups = append(e.Queues[1].Groups, Group{Name: "typo", State: "Dead", Members: num(0), Uncommitted: []Uncommitted{{Topic: "inv", Messages: 50}}})
		e.Queues[1].EnqueuedRate = num(0)
	}},
	"a group without commits, whose members get messages": {Queueing, func(_ int, e *Evidence) { e.Queues[1].Groups[0].Uncommitted = []Uncommitted{{"inv", 50, true}} }},
	"a topic made anew, that nobody reads": {Queueing, func(_ int, e *Evidence) {
		g := &e.Queues[1].Groups[0]
		g.Committed, g.Members, g.Uncommitted = true, num(0), []Uncommitted{{"anew", 50, false}}
	}},
	"a loop in a list that keeps up": {Logic, func(_ int, e *Evidence) {
		q := &e.Queues[0]
		q.Traits.LengthOnly, q.EnqueuedRate = true, num(0)
		q.Sample = &probes.MessageSample{Messages: 500, HasKeys: true, DistinctKeys: 8, Repeats: num(400), Rate: num(120)}
	}},
	"all instances are deaf": {Queueing, func(_ int, e *Evidence) {
		e.unheard(0)
		for _, n := range []string{"app-1", "app-2", "app-3"} {
			e.stale(n, 6, 6, time.Minute)
		}
	}},
	"no members": {Queueing, func(_ int, e *Evidence) {
		e.Queues[1].Groups[0].Members, e.Queues[1].Groups[0].LagSeconds = num(0), num(40)
	}},
	"lost messages": {Queueing, func(i int, e *Evidence) {
		if i == 0 {
			e.Queues[1].Groups[0].Lost = 1000
		}
	}},
	"config drift": {Config, func(_ int, e *Evidence) {
		e.Settings[0].Nodes = map[string][]string{"allkeys-lru": {"redis-1", "redis-2"}, "noeviction": {"redis-3"}}
	}},
	"config drift with stale copies": {Config, func(_ int, e *Evidence) {
		e.Settings[0].Nodes = map[string][]string{"allkeys-lru": {"redis-1", "redis-2"}, "noeviction": {"redis-3"}}
		e.stale("redis-3", 6, 6, time.Minute)
	}},
	"server versions": {Config, func(_ int, e *Evidence) {
		e.Settings[0] = Setting{Layer: "l2", Name: "server_version", Nodes: map[string][]string{"7.0": {"redis-1"}, "7.2": {"redis-2"}}}
	}},
	"strays": {Config, func(_ int, e *Evidence) { e.on(0, "memcached-1").Strays = 1 }},
	"version drift": {Version, func(_ int, e *Evidence) {
		e.Apps[0].Versions["app-3"] = "2.2.9"
		e.stale("app-3", 6, 0, time.Second)
	}},
	"version drift, overdue": {Version, func(_ int, e *Evidence) {
		e.Apps[0].Versions["app-3"] = "2.2.9"
		e.stale("app-3", 6, 6, time.Minute)
	}},
	"version drift, and what is invalidated survives there": {Version, func(_ int, e *Evidence) {
		for i, n := range []string{"app-1", "app-2", "app-3"} {
			e.Events[0].Nodes[i].Layer, e.Events[0].Nodes[i].Node = "l1", n
		}
		e.Apps[0].Versions["app-3"] = "2.2.9"
		e.checks(2).Survived = 30
	}},
	"a group lacks nodes": {Network, func(_ int, e *Evidence) {
		e.Result.Groups = append(e.Result.Groups, probes.NodeGroup{Layer: "l2", Name: "pair", Nodes: []string{"pair/a:1"}, Expected: 3})
	}},
	"a group without nodes": {Network, func(_ int, e *Evidence) {
		e.Result.Groups = append(e.Result.Groups, probes.NodeGroup{Layer: "l2", Name: "main", Err: errors.New("no Sentinel tells its nodes")})
	}},
	"half of a probe's messages": {Logic, func(_ int, e *Evidence) {
		for i := range e.RoundTrips {
			e.RoundTrips[i].Sent, e.RoundTrips[i].Lost = 8, 4
		}
	}},
	"version conflicts":    {Version, func(_ int, e *Evidence) { e.Result.Classes[0].VersionConflicts = 3 }},
	"failed invalidations": {Logic, func(_ int, e *Evidence) { e.Histories[0].Failures = 1100 }},
	"failed invalidations leave stale copies on one node": {Logic, func(_ int, e *Evidence) {
		e.Histories[0].Failures = 1100
		e.stale("redis-3", 6, 0, time.Second)
	}},
	"loop": {Logic, func(_ int, e *Evidence) {
		e.Queues[1].EnqueuedRate, e.Queues[1].ProcessedRate = num(1000), num(1000)
		e.Queues[1].Sample.Repeats = num(333)
	}},
	"loop without versions": {Logic, func(i int, e *Evidence) {
		e.Queues[1].EnqueuedRate = probes.Count{Value: 500, Known: i > 0}
		e.Queues[1].Sample.Repeats, e.Queues[1].Sample.TopKeyMessages = probes.Count{}, 700
	}},
	"survivors":     {Logic, func(i int, e *Evidence) { e.survivors("redis-3", 5, 5*i) }},
	"one survivor":  {Logic, func(i int, e *Evidence) { e.survivors("redis-3", 1, i) }},
	"all are stale": {Logic, func(_ int, e *Evidence) { everywhereStale(e) }},
	"probe lost everywhere": {Logic, func(_ int, e *Evidence) {
		e.RoundTrips[0].Lost, e.RoundTrips[1].Lost = 3, 3
	}},
	"a node misses invalidations":          {Network, func(_ int, e *Evidence) { e.checks(1).Survived = 30 }},
	"nobody loses what is invalidated":     {Logic, func(_ int, e *Evidence) { e.eachCheck(func(n *EventNode) { n.Survived = 30 }) }},
	"old values are stored again":          {Logic, func(_ int, e *Evidence) { e.checks(0).Restored = 10 }},
	"invalidations are processed too late": {Queueing, func(_ int, e *Evidence) { e.eachCheck(func(n *EventNode) { n.Waiting = 40 }) }},
}

// unheard is a channel that so many of the three instances have subscribed to.
func (e *Evidence) unheard(subscribers float64) {
	e.Queues = append(e.Queues, Queue{Name: "bus", Kind: "redis_channel", Up: true, Subscribers: num(subscribers), ExpectedSubscribers: 3})
}

// checks on one of the three Redis.
func (e *Evidence) checks(i int) *EventNode { return &e.Events[0].Nodes[i] }

func (e *Evidence) eachCheck(change func(n *EventNode)) {
	for i := range e.Events[0].Nodes {
		change(&e.Events[0].Nodes[i])
	}
}

func (e *Evidence) survivors(node string, all, still int) {
	n := e.on(0, node)
	n.Survivors, n.StillSurvivors = all, still
}

func everywhereStale(e *Evidence) {
	for _, n := range e.Result.Nodes {
		e.stale(n.Name, 4, 4, time.Minute)
	}
}

func TestScenarios(t *testing.T) {
	for name, s := range scenarios {
		t.Run(name, func(t *testing.T) {
			d := watch(2, s.change)[1]
			if d.highest() != s.cause || d.Verdict != string(s.cause) || len(d.Causes) != 1 || d.Causes[0].Cause != s.cause {
				t.Errorf("verdict %s, scores %v, want %s; it says\n%s", d.Verdict, d.Scores, s.cause, strings.Join(d.Steps[6].Evidence, "\n"))
			}
			if d.Next == "" || len(d.Steps) != 7 || !strings.Contains(d.Steps[6].Evidence[0], string(s.cause)) {
				t.Errorf("next %q, steps %v", d.Next, d.Steps)
			}
		})
	}
}

// TestADeafInstance: it is cut off, which the channel's missing subscriber tells, too; with a queue that is backed up nobody can say.
func TestADeafInstance(t *testing.T) {
	for name, c := range map[string]struct {
		waits   float64
		verdict Cause
	}{"nothing waits": {0, Network}, "a queue is backed up": {15000, Queueing}} {
		d := watch(2, func(_ int, e *Evidence) {
			e.unheard(2)
			e.Queues[0].Depth = num(c.waits)
			e.stale("app-3", 6, 6, time.Minute)
		})[1]
		if d.Verdict != string(c.verdict) || d.score(Queueing) <= standing.Value || d.score(Logic) > standing.Value {
			t.Errorf("%s: verdict %s, scores %v, want %s; it says\n%s", name, d.Verdict, d.Scores, c.verdict, strings.Join(d.Steps[6].Evidence, "\n"))
		}
	}
}

// TestQueuesThatAreWell: what looks like a fault of a queue and is none.
func TestQueuesThatAreWell(t *testing.T) {
	for name, change := range map[string]func(i int, e *Evidence){
		"members that began behind all messages": func(_ int, e *Evidence) {
			e.Queues[1].Groups[0].Uncommitted = []Uncommitted{{"inv", 50, false}}
		},
		"members that began behind all messages of one topic": func(_ int, e *Evidence) {
			g := &e.Queues[1].Groups[0]
			g.Committed, g.Uncommitted = true, []Uncommitted{{"anew", 50, false}}
		},
		"a group without commits in an empty log": func(_ int, e *Evidence) {
			e.Queues[1].Groups = append(e.Queues[1].Groups, Group{Name: "new", State: "Dead", Members: num(0)})
		},
		"repeats in a list that stands still": func(_ int, e *Evidence) {
			q := &e.Queues[0]
			q.Traits.LengthOnly, q.EnqueuedRate = true, num(0)
			q.Sample = &probes.MessageSample{Messages: 500, HasKeys: true, DistinctKeys: 8, Repeats: num(400), Rate: num(0.2)}
		},
		"a list that is not stalled": func(_ int, e *Evidence) { e.Queues[0].Stalled = num(0) },
	} {
		if d := watch(11, change)[10]; d.Verdict != None {
			t.Errorf("%s: %s, %v", name, d.Verdict, d.Steps[6].Evidence)
		}
	}
}

// TestOwnLimits: what a queue's own limits allow is well, and what they do not is the cause, whatever its capacity is.
func TestOwnLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		limits     QueueLimits
		depth, age float64
		want       string
	}{
		"deep, by the table":          {QueueLimits{}, 3000, 1, "queue"},
		"deep, and that is usual":     {QueueLimits{Messages: 4000}, 3000, 1, None},
		"not deep, by the table":      {QueueLimits{}, 300, 1, None},
		"deeper than it may be":       {QueueLimits{Messages: 50}, 300, 1, "queue"},
		"old, by the table":           {QueueLimits{}, 12, 150, "queue"},
		"old, and that is usual":      {QueueLimits{OldestSeconds: 900}, 12, 150, None},
		"not old, by the table":       {QueueLimits{}, 12, 30, None},
		"older than it may be":        {QueueLimits{OldestSeconds: 60}, 12, 30, "queue"},
		"limits of the other kind":    {QueueLimits{OldestSeconds: 900, DrainSeconds: 900}, 3000, 1, "queue"},
		"a depth does not excuse age": {QueueLimits{Messages: 4000}, 12, 150, "queue"},
	} {
		d := watch(11, func(_ int, e *Evidence) {
			q := &e.Queues[0]
			q.Limits, q.Depth, q.OldestSeconds, q.Capacity, q.ProcessedRate = tt.limits, num(tt.depth), num(tt.age), 0, num(0)
			q.EnqueuedRate = num(0)
		})[10]
		if d.Verdict != tt.want {
			t.Errorf("%s: %s, want %s", name, d.Verdict, tt.want)
		}
	}
}

// A message that is stuck is no queue that is behind; where as few come in, it is.
func TestStuckMessage(t *testing.T) {
	for name, c := range map[string]struct {
		depth, rate float64 // messages, and what comes in a second on the average
		want        string
	}{
		"one of many": {1, 20, None}, "one of a hundred": {1, 1.0 / 9, None}, "one of fifty": {1, 1.0 / 18, "queue"}, "all": {10, 0.01, "queue"},
		"a partition of twelve": {1500, 20, "queue"}, "nothing comes in": {1, 0, "queue"},
	} {
		d := watch(400, func(i int, e *Evidence) {
			q := &e.Queues[0]
			q.Depth, q.Capacity, q.Limits.Messages, q.OldestSeconds = num(c.depth), 0, 1e6, num(float64(600+i))
			if q.EnqueuedRate = num(0); i%10 == 0 { // in bursts
				q.EnqueuedRate, q.Enqueued = num(10*c.rate), 10*c.rate
			}
		})
		for _, one := range d[300:] {
			if one.Verdict != c.want {
				t.Errorf("%s: %s, want %s", name, one.Verdict, c.want)
				break
			}
		}
	}
}

// TestSeveral: a partition with a backlog that it caused shows both, network first.
func TestSeveral(t *testing.T) {
	d := watch(2, func(_ int, e *Evidence) {
		e.down("redis-3")
		e.Queues[0].Depth = num(18000)
		e.Queues[0].OldestSeconds = num(900)
		e.Apps[0].Versions["app-3"] = "2.2.9"
	})[1]
	if d.Verdict != "network" || d.highest() != Network || len(d.Causes) != 3 || d.Causes[1].Cause != Queueing || d.Causes[2].Cause != Version {
		t.Errorf("verdict %s, causes %v", d.Verdict, d.Causes)
	}
}

// TestNotForLong: what a healthy busy system shows now and then, each for one sampling, and all at once.
func TestNotForLong(t *testing.T) {
	transients := map[string]func(e *Evidence){
		"a slow answer":          func(e *Evidence) { e.down("redis-2", "app-1") },
		"stale copies in flight": func(e *Evidence) { e.stale("redis-2", 5, 0, 0) },
		"an overdue copy":        func(e *Evidence) { e.stale("redis-2", 1, 1, 6*time.Second) },
		"a consumer restarts":    func(e *Evidence) { e.Queues[1].Groups[0].Members = num(0); e.Queues[1].Depth = num(900) },
		"a rebalance":            func(e *Evidence) { e.Queues[1].Groups[0].State = "PreparingRebalance"; e.Queues[1].BrokersDown = 1 },
		"a short burst":          func(e *Evidence) { e.Queues[1].Depth = num(3000); e.Queues[0].Depth = num(1200) },
		"version skew":           func(e *Evidence) { e.Apps[0].Versions["app-2"] = "2.3.2"; e.Result.Classes[0].VersionConflicts = 2 },
		"replication hiccup":     func(e *Evidence) { e.Replicas[0].LinkUp = false; e.Replicas[0].LagSeconds = num(0.3) },
		"a failover":             func(e *Evidence) { e.cluster(probes.Cluster{Answered: 6, Views: 3, Primaries: 2, ContestedSlots: 9}) },
		"one failed": func(e *Evidence) {
			e.Histories[0] = History{Name: "history", Up: true, Attempts: 4, Failures: 1, Window: time.Minute}
		},
		"one probe lost":        func(e *Evidence) { e.RoundTrips[0].Lost = 1 },
		"one bad copy":          func(e *Evidence) { e.Events[0].Nodes = []EventNode{{Layer: "l2", Node: "redis-1", Survived: 1}} },
		"one bad copy of each":  func(e *Evidence) { e.eachCheck(func(n *EventNode) { n.Survived, n.Restored, n.Waiting = 1, 1, 1 }) },
		"a survivor":            func(e *Evidence) { e.on(0, "redis-2").Survivors = 1 },
		"deletes on their way":  func(e *Evidence) { e.on(1, "redis-1").Survivors = 9 },
		"a stray":               func(e *Evidence) { e.on(0, "memcached-1").Strays = 1 },
		"repeats at a low rate": func(e *Evidence) { e.Queues[0].EnqueuedRate = num(2); e.Queues[0].Sample.Repeats = num(12) },
	}
	fine := func(t *testing.T, d Diagnosis) {
		t.Helper()
		for _, s := range d.Scores {
			if s.Score > standing.Value {
				t.Fatalf("%v; it says\n%s", d.Scores, strings.Join(d.Steps[6].Evidence, "\n"))
			}
		}
		if d.Verdict != None || len(d.Causes) != 0 {
			t.Fatalf("verdict %s", d.Verdict)
		}
	}
	for name, change := range transients {
		t.Run(name, func(t *testing.T) {
			for _, d := range watch(9, func(i int, e *Evidence) {
				if i%3 == 1 {
					change(e)
				}
			}) {
				if name == "one probe lost" && d.score(Logic) > standing.Value {
					break // three in a minute are no transient
				}
				fine(t, d)
			}
		})
	}
	t.Run("all at once", func(t *testing.T) {
		for _, d := range watch(3, func(i int, e *Evidence) {
			if i == 1 {
				for name, change := range transients {
					if name != "one failed" {
						change(e)
					}
				}
			}
		}) {
			fine(t, d)
		}
	})
	t.Run("busy", func(t *testing.T) {
		for _, d := range watch(200, func(i int, e *Evidence) {
			e.Queues[1].Depth = num(float64(100 + i*37%600))
			e.Queues[1].EnqueuedRate = num(float64(900 + i*91%300))
			e.on(i%2, "redis-1").Copies[verdict.Stale] = i % 3
			e.stale([]string{"app-1", "app-2", "app-3"}[i%3], 4, 0, 2*time.Second)
		}) {
			fine(t, d)
		}
	})
}

// A bulk import of distinct keys is no loop, and a consumer that commits every five seconds has no backlog.
func TestImportAndSlowCommits(t *testing.T) {
	for _, d := range watch(60, func(i int, e *Evidence) {
		q := &e.Queues[1]
		q.EnqueuedRate, q.ProcessedRate = num(1000), num(1000)
		q.Depth, q.Groups[0].LagSeconds = num(float64(i%5)*1000), num(float64(i%5))
		q.Sample = &probes.MessageSample{Messages: 1000, HasKeys: true, DistinctKeys: 1000, TopKeyMessages: 1, Repeats: num(0)}
	}) {
		if d.Verdict != None {
			t.Fatalf("verdict %s: %v\n%s", d.Verdict, d.Scores, strings.Join(d.Steps[6].Evidence, "\n"))
		}
	}
}

func TestUnknown(t *testing.T) {
	for name, e := range map[string]Evidence{
		"nothing":      {},
		"all are down": {Result: &consistency.Result{Nodes: []consistency.NodeResult{{Err: errors.New("refused")}}}, Queues: []Queue{{Name: "q"}}},
	} {
		d := Diagnose(e)
		if d.Verdict != Nothing || d.Scores != nil || d.Causes == nil || len(d.Steps) != 7 || d.Next == "" {
			t.Errorf("%s: %+v", name, d)
		}
	}
	// A part that is not there weighs nothing, and is named.
	d := watch(2, func(_ int, e *Evidence) {
		e.Queues, e.Apps = nil, nil
		e.Unknown = []Unknown{{Part: "queue", Why: "not back in time"}, {Part: "app_version", Why: SwitchedOff}, {Part: "history", Why: "not configured"}}
	})[1]
	text := fmt.Sprint(d.Steps)
	if d.Verdict != Nothing || !strings.Contains(text, "not back in time") || !strings.Contains(text, "app_version") {
		t.Errorf("%s: %s", d.Verdict, text)
	}
}

// TestEachWeightCounts: without its row of the table, each scenario's cause would not stand, or not so high.
func TestEachWeightCounts(t *testing.T) {
	more := map[string]func(i int, e *Evidence){
		fallingBehind.Name: func(i int, e *Evidence) { e.Queues[0].Depth = num(float64(i) * 80) },
		underTarget.Name: func(_ int, e *Evidence) {
			e.Queues[1].Target, e.Queues[1].ProcessedRate, e.Queues[1].Depth = 100, num(10), num(3000)
		},
		rewound.Name:        func(_ int, e *Evidence) { e.Queues[1].Groups[0].Rewound = 1000 },
		immortalCopies.Name: func(_ int, e *Evidence) { e.on(0, "redis-1").Immortal = 10 },
		deafInstances.Name:  func(_ int, e *Evidence) { e.unheard(2) },
	}
	plays := map[string]func(i int, e *Evidence){}
	for name, s := range scenarios {
		plays[name] = s.change
	}
	for name, change := range more {
		plays[name] = change
	}
	scores := func() map[string][]Score {
		out := map[string][]Score{}
		for name, change := range plays {
			out[name] = watch(11, change)[10].Scores
		}
		return out
	}
	with := scores()
	for _, s := range Weights {
		weight := s.Value
		s.Value = 0
		without := scores()
		s.Value = weight
		lower := 0
		for name := range plays {
			for k := range with[name] {
				if with[name][k].Cause == s.Cause && without[name][k].Score < with[name][k].Score-0.05 {
					lower++
				}
			}
		}
		if lower == 0 {
			t.Errorf("%s could be left out of the table, and no scenario would tell", s.Name)
		}
	}
}

// TestMonotonic: scores stay within 0 and 1, and what is added to a cause's evidence never lowers its score.
func TestMonotonic(t *testing.T) {
	type worse struct {
		cause  Cause
		change func(e *Evidence, n int)
	}
	changes := []worse{
		{Network, func(e *Evidence, n int) { e.down("redis-1", []string{"redis-2", "redis-3", "app-1"}[n%3]) }},
		{Network, func(e *Evidence, n int) {
			e.Replicas[0].LagSeconds = num(e.Replicas[0].LagSeconds.Value + float64(n))
		}},
		{Network, func(e *Evidence, _ int) { e.Replicas[0].LinkUp = false }},
		{Queueing, func(e *Evidence, n int) { e.Queues[0].Depth = num(e.Queues[0].Depth.Value + float64(n*700)) }},
		{Queueing, func(e *Evidence, n int) {
			e.Queues[1].OldestSeconds, e.Queues[1].EnqueuedRate = num(e.Queues[1].OldestSeconds.Value+float64(n*40)), num(0)
		}},
		{Queueing, func(e *Evidence, n int) { e.Queues[1].Groups[0].Lost += float64(n) }},
		{Config, func(e *Evidence, n int) { e.on(0, "memcached-1").Strays += n }},
		{Config, func(e *Evidence, _ int) {
			e.Settings[0].Nodes = map[string][]string{"a": {"redis-1", "redis-2"}, "b": {"redis-3"}}
		}},
		{Version, func(e *Evidence, n int) { e.Apps[0].Versions[fmt.Sprintf("app-%d", n%2+1)] = "1" }},
		{Version, func(e *Evidence, n int) { e.Result.Classes[0].VersionConflicts += n }},
		{Logic, func(e *Evidence, n int) { e.Histories[0].Failures = min(e.Histories[0].Failures+float64(n*100), 5000) }},
		{Logic, func(e *Evidence, n int) {
			e.Queues[1].Sample.Repeats = num(min(e.Queues[1].Sample.Repeats.Value+float64(n*50), 1000))
		}},
		{Logic, func(e *Evidence, n int) { e.on(1, "redis-3").Survivors += n; e.on(1, "redis-3").StillSurvivors += n }},
	}
	rapid.Check(t, func(t *rapid.T) {
		type step struct{ change, n int }
		var done []step
		play := func(steps []step) Diagnosis {
			return watch(2, func(_ int, e *Evidence) {
				for _, s := range steps {
					changes[s.change].change(e, s.n)
				}
			})[1]
		}
		before := play(nil)
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			s := step{rapid.IntRange(0, len(changes)-1).Draw(t, "change"), rapid.IntRange(0, 20).Draw(t, "n")}
			done = append(done, s)
			after := play(done)
			for k := range after.Scores {
				if v := after.Scores[k].Score; v < 0 || v > 1 {
					t.Fatalf("score %v", after.Scores[k])
				}
			}
			own := changes[s.change].cause
			// Two things other than its own evidence may lower a score: a strong cause before it, and what explains it. A cause that is
			// all but certain may lose a piece to another of its own: the broken link of a replica that is down now.
			if after.score(own) < min(before.score(own)-0.0011, 0.9) {
				t.Fatalf("%v lowered %s from %v to %v", s, own, before.Scores, after.Scores)
			}
			before = after
		}
	})
}

// What still holds a key while its delete waits in a queue has survived nothing.
func TestDeletesOnTheirWay(t *testing.T) {
	waits := func(_ int, e *Evidence) {
		e.survivors("redis-3", 5, 5)
		e.Queues[0].OldestSeconds = num(4)
	}
	if d := watch(4, waits)[3]; d.score(Logic) > standing.Value {
		t.Errorf("%v; it says\n%s", d.Scores, strings.Join(d.Steps[6].Evidence, "\n"))
	}
}
