package incident

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Status is /api/v1/status: the diagnosis and what it was made from. What is unknown is nil, never 0.
type Status struct {
	// SampledAt is when the sampling ended.
	SampledAt *time.Time          `json:"sampled_at"`
	Diagnosis diagnosis.Diagnosis `json:"diagnosis"`
	Queues    []QueueStatus       `json:"queues"`
	Nodes     []NodeStatus        `json:"nodes"`
	// Groups of nodes that find their members by themselves.
	Groups       []GroupView    `json:"groups"`
	Applications []AppStatus    `json:"applications"`
	Canaries     []CanaryStatus `json:"canaries"`
	// Events are the latest bad looks of the event checks, the newest first; nil: no class has event checks.
	Events []EventStatus `json:"events"`
}

// EventStatus is a copy without the effect of an invalidation.
type EventStatus struct {
	Class  string `json:"class"`
	Key    string `json:"key"`
	Node   string `json:"node"`
	Window string `json:"window"`
	// Result: waiting, survived or restored.
	Result    string    `json:"result"`
	EventTime time.Time `json:"event_time"`
	// VersionSeen of the copy, and VersionWanted by the invalidation; nil: unknown.
	VersionSeen   *string `json:"version_seen"`
	VersionWanted *string `json:"version_wanted"`
}

// QueueStatus is one queue.
type QueueStatus struct {
	Queue              string   `json:"queue"`
	Kind               string   `json:"kind"`
	Up                 bool     `json:"up"`
	Depth              *float64 `json:"depth"`
	Capacity           *float64 `json:"capacity"`
	TargetPerSecond    *float64 `json:"target_per_second"`
	OldestSeconds      *float64 `json:"oldest_message_age_seconds"`
	EnqueuedPerSecond  *float64 `json:"enqueued_per_second"`
	ProcessedPerSecond *float64 `json:"processed_per_second"`
	DrainSeconds       *float64 `json:"drain_seconds"`
	NeverDrains        *bool    `json:"never_drains"`
	BrokersDown        *int     `json:"brokers_down"`
	// Subscribers of a channel, and how many there should be.
	Subscribers         *float64      `json:"subscribers"`
	ExpectedSubscribers *float64      `json:"expected_subscribers"`
	Groups              []GroupStatus `json:"groups"`
	Sample              *SampleStatus `json:"sample"`
}

// GroupStatus is a consumer group.
type GroupStatus struct {
	Group      string   `json:"group"`
	State      *string  `json:"state"`
	Members    *float64 `json:"members"`
	Stalled    *bool    `json:"stalled"`
	LagSeconds *float64 `json:"lag_seconds"`
}

// SampleStatus is a look at a queue's newest messages. It names the most frequent key.
type SampleStatus struct {
	Messages       int      `json:"messages"`
	DistinctKeys   *int     `json:"distinct_keys"`
	TopKey         *string  `json:"top_key"`
	TopKeyMessages *int     `json:"top_key_messages"`
	Repeats        *float64 `json:"repeats"`
}

// NodeStatus is one cache node.
type NodeStatus struct {
	Layer             string   `json:"layer"`
	Node              string   `json:"node"`
	Kind              string   `json:"kind"`
	Group             *string  `json:"group"`
	Up                bool     `json:"up"`
	Loading           *bool    `json:"loading"`
	Error             *string  `json:"error"`
	Seconds           float64  `json:"scrape_duration_seconds"`
	Role              *string  `json:"role"`
	Version           *string  `json:"version"`
	EvictionPolicy    *string  `json:"eviction_policy"`
	UptimeSeconds     *float64 `json:"uptime_seconds"`
	Items             *float64 `json:"items"`
	MemoryUsed        *float64 `json:"memory_used_bytes"`
	MemoryLimit       *float64 `json:"memory_limit_bytes"`
	Evicted           *float64 `json:"evicted"`
	ReplicationLinkUp *bool    `json:"replication_link_up"`
	ReplicationBytes  *float64 `json:"replication_lag_bytes"`
	ReplicationSecond *float64 `json:"replication_lag_seconds"`
}

// CanaryStatus is a class of canaries.
type CanaryStatus struct {
	Class         string        `json:"class"`
	DivergentKeys int           `json:"divergent_keys"`
	Compared      int           `json:"compared"`
	Stale         int           `json:"stale"`
	Overdue       int           `json:"overdue"`
	Undecided     int           `json:"undecided"`
	Layers        []LayerStatus `json:"layers"`
	// KeysRead, and those of them that differ: with a copy that is stale or undecided. Keys holds them one by one, at most
	// 1,000 that differ, first, and --canary.max-key-series others.
	KeysRead      int         `json:"keys_read"`
	KeysDiffering int         `json:"keys_differing"`
	Keys          []KeyStatus `json:"keys"`
}

// LayerStatus is a class in one layer.
type LayerStatus struct {
	Layer string         `json:"layer"`
	Nodes []CopiesStatus `json:"nodes"`
}

// CopiesStatus is a class on one node. Where no copy was read, all but the states is nil.
type CopiesStatus struct {
	Node          string         `json:"node"`
	States        map[string]int `json:"states"`
	Overdue       *int           `json:"overdue"`
	OldestSeconds *float64       `json:"oldest_stale_seconds"`
	Survivors     *int           `json:"survivors"`
	Strays        *int           `json:"strays"`
}

// NewStatus of a sampling's report; nil: nothing could be sampled, or nobody says what it points to. digests show the
// contents of copies.
func NewStatus(r *diagnosis.Report, digests Digests) *Status {
	if r == nil {
		return &Status{Diagnosis: diagnosis.Diagnose(diagnosis.Evidence{})}
	}
	e := &r.Evidence
	s := &Status{SampledAt: new(e.At.UTC()), Diagnosis: r.Diagnosis, Queues: []QueueStatus{}}
	for i := range e.Queues {
		s.Queues = append(s.Queues, newQueueStatus(e, &e.Queues[i]))
	}
	slices.SortFunc(s.Queues, func(a, b QueueStatus) int { return strings.Compare(a.Queue, b.Queue) })
	s.Applications = newAppStatuses(e)
	s.Events = newEventStatuses(e)
	if e.Result == nil {
		return s
	}
	replicas := map[string]*diagnosis.Replica{}
	for i := range e.Replicas {
		replicas[e.Replicas[i].Node] = &e.Replicas[i]
	}
	s.Nodes, s.Canaries = []NodeStatus{}, []CanaryStatus{}
	for i := range e.Result.Nodes {
		n := &e.Result.Nodes[i]
		s.Nodes = append(s.Nodes, newNodeStatus(n, replicas[n.Name]))
	}
	s.Groups = newGroupViews(e)
	for i := range e.Result.Classes {
		c := newCanaryStatus(&e.Result.Classes[i])
		c.addKeys(&e.Result.Classes[i], digests)
		s.Canaries = append(s.Canaries, c)
	}
	return s
}

// ChecksEvents reports whether a class has event checks.
func (s *Status) ChecksEvents() bool { return s.Events != nil }

func newEventStatuses(e *diagnosis.Evidence) (out []EventStatus) {
	for i := range e.Events {
		c := &e.Events[i]
		if out == nil {
			out = []EventStatus{}
		}
		for _, b := range slices.Backward(c.Bad) {
			out = append(out, EventStatus{
				Class: c.Class, Key: b.Key, Node: b.Node, Window: b.Window, Result: b.Result.String(), EventTime: b.Event.UTC(),
				VersionSeen: shown(b.VersionSeen), VersionWanted: shown(b.VersionWanted),
			})
		}
	}
	return out
}

// known gives a pointer to a count, or nil.
func known(c probes.Count) *float64 {
	if !c.Known || math.IsNaN(c.Value) || math.IsInf(c.Value, 0) {
		return nil
	}
	return &c.Value
}

// orNil gives a pointer to what was reported or configured, or nil where that is nothing.
func orNil[T comparable](v T) *T {
	var nothing T
	if v == nothing {
		return nil
	}
	return &v
}

// shown gives a text that a server told, as it can be shown, or nil where that is nothing.
func shown(text string) *string { return orNil(probes.Shown(text)) }

func newQueueStatus(e *diagnosis.Evidence, q *diagnosis.Queue) QueueStatus {
	out := QueueStatus{
		Queue: q.Name, Kind: q.Kind, Up: q.Up, Depth: known(q.Depth), Capacity: orNil(float64(q.Capacity)), TargetPerSecond: orNil(q.Target),
		OldestSeconds: known(q.OldestSeconds), EnqueuedPerSecond: known(q.EnqueuedRate), ProcessedPerSecond: known(q.ProcessedRate),
		Groups: []GroupStatus{},
	}
	if q.Traits.LengthOnly {
		out.EnqueuedPerSecond = nil // a list's length says only the least there were
	}
	if q.Traits.Brokers && (q.Up || q.Answered) { // else no broker answered in time to say so
		out.BrokersDown = &q.BrokersDown
	}
	if q.Traits.AtOnce {
		out.Subscribers, out.ExpectedSubscribers = known(q.Subscribers), orNil(e.SubscribersExpected(q))
	}
	if drain, ok := e.TimeToDrain(q); ok {
		out.NeverDrains = new(math.IsInf(drain, 1))
		out.DrainSeconds = known(probes.Count{Value: drain, Known: true})
	}
	for _, g := range q.Groups {
		group := GroupStatus{Group: probes.Shown(g.Name), State: shown(g.State), Members: known(g.Members), LagSeconds: known(g.LagSeconds)}
		if g.Stalled.Known {
			group.Stalled = new(g.Stalled.Value > 0)
		}
		out.Groups = append(out.Groups, group)
	}
	if m := q.Sample; m != nil {
		out.Sample = &SampleStatus{Messages: m.Messages, Repeats: known(m.Repeats)}
		if m.HasKeys {
			out.Sample.DistinctKeys, out.Sample.TopKey, out.Sample.TopKeyMessages = &m.DistinctKeys, shown(m.TopKey), &m.TopKeyMessages
		}
	}
	return out
}

func newNodeStatus(n *consistency.NodeResult, r *diagnosis.Replica) NodeStatus {
	s := &n.Survey
	out := NodeStatus{Layer: n.Layer, Node: n.Name, Kind: n.Kind, Group: orNil(n.Group), Up: n.Up, Seconds: n.Took.Seconds()}
	if n.Err != nil {
		out.Error = shown(n.Err.Error())
	}
	if n.Up {
		if n.Traits.TellsLoading {
			out.Loading = &s.Loading
		}
		out.Role, out.Version, out.EvictionPolicy = shown(s.Role), shown(s.Version), shown(s.EvictionPolicy)
		out.UptimeSeconds, out.Items, out.Evicted = known(s.UptimeSeconds), known(s.Items), known(s.Evicted)
		out.MemoryUsed, out.MemoryLimit = known(s.MemoryUsed), known(s.MemoryLimit)
	}
	if r != nil {
		out.ReplicationLinkUp, out.ReplicationBytes, out.ReplicationSecond = &r.LinkUp, known(r.LagBytes), known(r.LagSeconds)
	}
	return out
}

func newCanaryStatus(c *consistency.ClassResult) CanaryStatus {
	out := CanaryStatus{Class: c.Class, DivergentKeys: c.Divergent[0], Layers: []LayerStatus{}}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		out.Compared += n.Compared()
		out.Stale, out.Overdue, out.Undecided = out.Stale+n.Copies[verdict.Stale], out.Overdue+n.Overdue, out.Undecided+n.Copies[verdict.Undecided]
		copies := CopiesStatus{Node: n.Node, States: map[string]int{}}
		for s := range verdict.NumStates {
			copies.States[s.String()] = n.Copies[s]
		}
		if n.Read {
			copies.Overdue, copies.OldestSeconds = &n.Overdue, new(n.OldestStale.Seconds())
			copies.Survivors, copies.Strays = &n.Survivors, &n.Strays
		}
		at := slices.IndexFunc(out.Layers, func(l LayerStatus) bool { return l.Layer == n.Layer })
		if at < 0 {
			at = len(out.Layers)
			out.Layers = append(out.Layers, LayerStatus{Layer: n.Layer})
		}
		out.Layers[at].Nodes = append(out.Layers[at].Nodes, copies)
	}
	return out
}
