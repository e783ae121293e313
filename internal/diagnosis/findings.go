package diagnosis

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// finding is what one subject shows of a kind that has a weight.
type finding struct {
	weight  *Weight
	subject string
	// nodes that it is about, by name: copies on them may be stale for it.
	nodes []string
	// class whose copies or keys it counts; empty: it counts none.
	class string
	size  float64
	// early: it counts as a first sight however long it has been there.
	early bool
	// explained by this cause, which is about the same copies: it does not count.
	explained Cause
	// text in plain words.
	text string
}

// counts reports whether it has any weight, alone or with others of its class.
func (f *finding) counts() bool {
	return f.size > 0 && (f.weight.Over == classSum || f.weight.strength(f.size) > 0)
}

// on says which nodes it is about.
func (f *finding) on(nodes ...string) *finding {
	f.nodes = nodes
	return f
}

func (f finding) id() string { return f.weight.id(f.subject) }

// findings of a sampling, in the order of the table's causes. What Memory knows is in e.Past; without it the findings
// that need time are first sights.
func findings(e *Evidence) []finding {
	s := finder{e: e}
	if e.Result != nil {
		s.nodes()
		s.groups()
		s.canaries()
	}
	s.replicas()
	s.apps()
	for i := range e.Queues {
		s.queue(&e.Queues[i])
	}
	s.settings()
	s.histories()
	s.roundTrips()
	s.events()
	return s.found
}

// finder goes through the evidence and gathers what it finds.
type finder struct {
	e     *Evidence
	found []finding
}

func (s *finder) add(weight *Weight, subject string, size float64, format string, args ...any) *finding {
	s.found = append(s.found, finding{weight: weight, subject: subject, size: size, text: fmt.Sprintf(format, args...)})
	return &s.found[len(s.found)-1]
}

func (s *finder) nodes() {
	for i := range s.e.Result.Nodes {
		n := &s.e.Result.Nodes[i]
		// A deployment takes nodes away, and one that refuses is reached.
		if !n.Up && !n.Survey.Left && !n.Refuses() {
			s.add(nodeUnreached, n.Name, 1, "%s %s does not answer%s", n.Layer, n.Name, because(n.Err)).on(n.Name)
		}
	}
}

// because is an error's first line. Errors of probes hold no secrets and no cached values.
func because(err error) string {
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return ": " + line
}

func (s *finder) groups() {
	for _, g := range s.e.Result.Groups {
		switch {
		case len(g.Nodes) == 0 && errors.Is(g.Err, probes.ErrRefused):
		case g.Err != nil && len(g.Nodes) == 0:
			s.add(groupIncomplete, g.Name, 1, "%s %s: none of its nodes is known%s", g.Layer, g.Name, because(g.Err))
		case len(g.Nodes) < g.Expected:
			s.add(groupIncomplete, g.Name, float64(g.Expected-len(g.Nodes)), "%s %s: %d of %d expected nodes are known", g.Layer, g.Name, len(g.Nodes), g.Expected)
		}
		c := g.Cluster
		if c == nil || c.Answered == 0 {
			continue
		}
		at := g.Layer + " " + g.Name
		if !c.OK {
			s.add(clusterDown, g.Name, 1, "%s: a node says that the cluster is not ok", at).on(g.Nodes...)
		}
		if c.Views > 1 {
			s.add(dividedViews, g.Name, float64(c.Views-1), "%s: %d different views of the shards among %d nodes", at, c.Views, c.Answered).on(g.Nodes...)
		}
		if c.ContestedSlots > 0 || c.Primaries > 1 {
			s.add(splitBrain, g.Name, float64(max(c.Primaries-1, 1)), "%s: split brain, %d slots are claimed by %d primaries", at, c.ContestedSlots, c.Primaries).on(g.Nodes...)
		}
	}
}

func (s *finder) replicas() {
	for _, m := range s.e.Primaries {
		if m.Count > 1 {
			s.add(splitBrain, m.Group, float64(m.Count-1), "%s %s: split brain, %d primaries", m.Layer, m.Group, m.Count).on(s.e.nodesOf(m.Group)...)
		}
	}
	silent := map[string]bool{}
	if s.e.Result != nil {
		for i := range s.e.Result.Nodes {
			n := &s.e.Result.Nodes[i]
			silent[n.Name] = !n.Up
		}
	}
	for _, r := range s.e.Replicas {
		behind := ""
		if r.LagBytes.Known {
			behind = fmt.Sprintf(", %s bytes behind", Count(r.LagBytes.Value))
		}
		if !r.LinkUp && !silent[r.Node] { // a node that does not answer says nothing of its link
			s.add(linkDown, r.Node, 1, "%s %s: the link to its primary is down%s", r.Layer, r.Node, behind).on(r.Node)
		}
		if r.LagSeconds.Known && r.LagSeconds.Value > 0 {
			s.add(replicationLag, r.Node, r.LagSeconds.Value, "%s %s: replication is %s behind%s", r.Layer, r.Node, Duration(r.LagSeconds.Value), behind).on(r.Node)
		}
	}
}

// minorities are the instances of each application that run another version than most of them, with the application.
func minorities(e *Evidence) map[string]string {
	out := map[string]string{}
	for _, a := range e.Apps {
		for _, nodes := range others(byVersion(a)) {
			for _, n := range nodes {
				out[n] = a.Name
			}
		}
	}
	return out
}

func byVersion(a App) map[string][]string {
	out := map[string][]string{}
	for _, n := range slices.Sorted(maps.Keys(a.Versions)) {
		out[a.Versions[n]] = append(out[a.Versions[n]], n)
	}
	return out
}

// others are all values but the one that most nodes have; of several such ones, all but the last in order, so that of two
// versions the newer is taken for the rule.
func others(byValue map[string][]string) map[string][]string {
	most := ""
	for _, v := range slices.SortedFunc(maps.Keys(byValue), compareVersions) {
		if len(byValue[v]) >= len(byValue[most]) {
			most = v
		}
	}
	out := maps.Clone(byValue)
	delete(out, most)
	return out
}

// unlikeMost are the values but the one that most nodes have; all of them where no single one is that of most.
func unlikeMost(byValue map[string][]string) map[string][]string {
	few := others(byValue)
	for v, nodes := range byValue {
		if _, ok := few[v]; ok {
			continue
		}
		for _, other := range few {
			if len(other) == len(nodes) {
				return byValue
			}
		}
	}
	return few
}

// nodesWith any of the values.
func nodesWith(byValue map[string][]string) (nodes []string) {
	for _, v := range slices.Sorted(maps.Keys(byValue)) {
		nodes = append(nodes, byValue[v]...)
	}
	return nodes
}

// nodesOf a group.
func (e *Evidence) nodesOf(group string) (nodes []string) {
	if e.Result != nil {
		for i := range e.Result.Nodes {
			if n := &e.Result.Nodes[i]; n.Group == group {
				nodes = append(nodes, n.Name)
			}
		}
	}
	return nodes
}

// whoHas writes values and who has them: 2.2.9 on app-3; 2.3.1 on app-1, app-2.
func whoHas(byValue map[string][]string) string {
	var parts []string
	for _, v := range slices.SortedFunc(maps.Keys(byValue), compareVersions) {
		parts = append(parts, v+" on "+list(byValue[v]))
	}
	return strings.Join(parts, "; ")
}

func (s *finder) apps() {
	for _, a := range s.e.Apps {
		for _, n := range a.Down {
			s.add(appUnreached, a.Name+"/"+n, 1, "application %s: %s does not answer", a.Name, n).on(n)
		}
		if versions := byVersion(a); len(versions) > 1 {
			s.add(appVersionsDiffer, a.Name, float64(len(versions)-1), "application %s runs %d versions: %s", a.Name, len(versions), whoHas(versions)).
				on(nodesWith(others(versions))...)
		}
	}
}

func (s *finder) settings() {
	for _, x := range s.e.Settings {
		if len(x.Nodes) < 2 {
			continue
		}
		weight := settingsDiffer
		if x.Name == "server_version" {
			weight = serversDiffer
		}
		s.add(weight, x.Layer+"/"+x.Name, 1, "layer %s: %s differs: %s", x.Layer, x.Name, whoHas(x.Nodes)).on(nodesWith(unlikeMost(x.Nodes))...)
	}
}

// queueLimit is the depth from which a queue counts as backed up.
func (e *Evidence) queueLimit(q *Queue) float64 {
	if own := q.Limits.Messages; own > 0 {
		return own
	}
	least := backlogMessages.Value
	if q.Capacity > 0 {
		size := float64(q.Capacity)
		return max(size*backlogCapacity.Value, min(least, size*backlogSmall.Value))
	}
	most := least
	if q.Target > 0 {
		most = max(q.Target*backlogTarget.Value, backlogLeast.Value)
	}
	if age, known := oldestWait(q); known && age < burstSeconds.Value && e.drainSeconds(q) < burstSeconds.Value {
		most *= burstFactor.Value
	}
	return most
}

// SubscribersExpected of a channel; 0: not known.
func (e *Evidence) SubscribersExpected(q *Queue) float64 {
	if q.App == "" {
		return q.ExpectedSubscribers
	}
	for _, a := range e.Apps {
		if a.Name == q.App && a.Instances.Known {
			return a.Instances.Value
		}
	}
	return 0
}

// drainSeconds until a queue is empty, by how it shrinks or by what is processed, whichever is sooner; +Inf where neither is
// seen.
func (e *Evidence) drainSeconds(q *Queue) float64 {
	out := math.Inf(1)
	if growth, known := e.Past.Growth[q.Name]; known && growth < 0 {
		out = q.Depth.Value / -growth
	}
	if q.ProcessedRate.Known && q.ProcessedRate.Value > 0 {
		out = min(out, q.Depth.Value/q.ProcessedRate.Value)
	}
	return out
}

// oldestWait is how long the message that waits longest has waited, by its age or by the groups' lag.
func oldestWait(q *Queue) (age float64, known bool) {
	if q.OldestSeconds.Known {
		age, known = q.OldestSeconds.Value, true
	}
	for _, g := range q.Groups {
		if g.LagSeconds.Known {
			age, known = max(age, g.LagSeconds.Value), true
		}
	}
	return age, known
}

// fewWait: of what came in since the oldest message did, hardly any waits. The last minutes tell how many come in, for they may come in
// bursts; where only this sampling is known, it does.
func (e *Evidence) fewWait(q *Queue, age float64) bool {
	known := e.Past.Recent[cameIn(q.Name)]
	rate := known / recentSeconds.Value
	if known == q.Enqueued {
		rate = q.EnqueuedRate.Value
	}
	return q.Depth.Known && q.Depth.Value < fewWait.Value*rate*age
}

func (s *finder) queue(q *Queue) {
	if !q.Up && !q.Answered && !errors.Is(q.Err, probes.ErrRefused) {
		s.add(queueUnreached, q.Name, 1, "queue %s did not answer", q.Name)
	}
	if q.BrokersDown > 0 {
		s.add(brokerDown, q.Name, float64(q.BrokersDown), "queue %s: %d Kafka brokers do not answer", q.Name, q.BrokersDown)
	}
	if wanted := s.e.SubscribersExpected(q); q.Subscribers.Known && q.Subscribers.Value < wanted {
		s.add(deafInstances, q.Name, wanted-q.Subscribers.Value, "queue %s: %s of %s subscribers are there",
			q.Name, Count(q.Subscribers.Value), Count(wanted))
	}
	most := s.e.queueLimit(q)
	if q.Depth.Known && q.Depth.Value > 0 {
		depth := q.Depth.Value
		if depth >= most {
			s.add(backlog, q.Name, depth/most, "queue %s: %s messages wait, %.1f times its limit of %s", q.Name, Count(depth), depth/most, Count(most))
			if q.Target > 0 && q.ProcessedRate.Known {
				s.add(underTarget, q.Name, 1-q.ProcessedRate.Value/q.Target, "queue %s: %s messages/s are processed, the target is %s/s",
					q.Name, Count(q.ProcessedRate.Value), Count(q.Target))
			}
		}
		if growth, known := s.e.Past.Growth[q.Name]; known && growth > 0 {
			if ahead := depth + growth*projectionSeconds.Value; ahead >= most {
				s.add(fallingBehind, q.Name, ahead/most, "queue %s grows by %s messages/s, now %s", q.Name, Count(growth), Count(depth))
			}
		}
	}
	age, known := oldestWait(q)
	if known && !s.e.fewWait(q, age) {
		s.add(oldMessages, q.Name, age*oldestLimit.Value/cmp.Or(q.Limits.OldestSeconds, oldestLimit.Value), "queue %s: the oldest message has waited for %s", q.Name, Duration(age))
	}
	if q.Stalled.Known && q.Stalled.Value > 0 {
		s.add(stalledGroup, q.Name, 1, "queue %s: nothing is taken from it though messages wait", q.Name)
	}
	for _, g := range q.Groups {
		s.group(q, &g, known && age >= idleSeconds.Value)
	}
	s.sample(q)
}

func (s *finder) group(q *Queue, g *Group, waits bool) {
	subject := q.Name + "/" + g.Name
	if g.Stalled.Known && g.Stalled.Value > 0 {
		s.add(stalledGroup, subject, 1, "queue %s: group %s commits nothing though messages wait", q.Name, g.Name)
	}
	s.uncommitted(q, g)
	if g.Members.Known && g.Members.Value == 0 && waits {
		s.add(noMembers, subject, 1, "queue %s: group %s has no members", q.Name, g.Name)
	}
	if lost := s.recent(lostMessages.id(subject), g.Lost); lost > 0 {
		s.add(lostMessages, subject, lost, "queue %s: group %s lost %s messages that were deleted before it processed them", q.Name, g.Name, Count(lost))
	}
	if back := s.recent(rewound.id(subject), g.Rewound); back > 0 {
		s.add(rewound, subject, back, "queue %s: the commits of group %s went back by %s messages", q.Name, g.Name, Count(back))
	}
}

// inTopic stands between a group and a topic in a finding's subject; no name of either has it.
const inTopic = "\n"

// uncommitted are the messages of which a group has committed none. A group whose members are there may have begun behind all that do
// not grow.
func (s *finder) uncommitted(q *Queue, g *Group) {
	members := g.Members.Known && g.Members.Value > 0
	if g.Committed {
		for _, t := range g.Uncommitted {
			f := s.add(noCommits, q.Name+"/"+g.Name+inTopic+t.Topic, 1, "queue %s: group %s has committed nothing in topic %s, and %s messages are in its log; "+
				"was the topic made anew? start the group, or leave the topic out of topics", q.Name, g.Name, t.Topic, Count(t.Messages))
			f.early = members && !t.Growing
		}
		return
	}
	all, growing := 0.0, false
	for _, t := range g.Uncommitted {
		all, growing = all+t.Messages, growing || t.Growing
	}
	if all > 0 {
		f := s.add(noCommits, q.Name+"/"+g.Name, 1, "queue %s: group %s has committed nothing, and %s messages are in the log; check its name in groups, or start it",
			q.Name, g.Name, Count(all))
		f.early = members && !growing
	}
}

// recent is what was reported under an id in the last minutes, this sampling's part included.
func (s *finder) recent(id string, now float64) float64 {
	return max(now, s.e.Past.Recent[id])
}

func (s *finder) sample(q *Queue) {
	m := q.Sample
	if m == nil || float64(m.Messages) < loopMessages.Value {
		return
	}
	in := q.EnqueuedRate
	if q.Traits.LengthOnly && m.Rate.Known && m.Rate.Value > in.Value {
		in = m.Rate // a list that keeps up, or is trimmed, does not grow
	}
	if in.Known && in.Value < loopRate.Value {
		return
	}
	rate := "at an unknown rate"
	if in.Known {
		rate = fmt.Sprintf("at %s messages/s", Count(in.Value))
	}
	var f *finding
	switch {
	case m.Repeats.Known:
		f = s.add(loop, q.Name, m.Repeats.Value/float64(m.Messages), "queue %s: %s of the newest %d messages repeat a key without a higher version, %s",
			q.Name, Count(m.Repeats.Value), m.Messages, rate)
	case m.HasKeys:
		share := float64(m.TopKeyMessages) / float64(m.Messages)
		f = s.add(loop, q.Name, share-(loopTopKey.Value-loop.Start), "queue %s: %d of the newest %d messages are for one key, %s",
			q.Name, m.TopKeyMessages, m.Messages, rate)
	default:
		return
	}
	f.early = !in.Known
}

func (s *finder) histories() {
	for _, h := range s.e.Histories {
		if h.Up && h.Attempts > 0 && h.Failures >= leastFailures.Value {
			s.add(failedInval, h.Name, min(h.Failures/h.Attempts, 1), "history %s: %s of %s invalidations failed (%s) in the last %s", h.Name,
				Count(h.Failures), Count(h.Attempts), percent(h.Failures, h.Attempts), Duration(h.Window.Seconds()))
		}
	}
}

// roundTripOutcome is what one probe's invalidations came to on all nodes, over the last minutes.
type roundTripOutcome struct {
	lost, well []string
	// mixed: some were lost and some arrived on one node.
	mixed bool
	// messages that were lost, and all of them, on the node with the most.
	messages, all float64
}

func (s *finder) roundTrips() {
	byName := map[string]*roundTripOutcome{}
	for _, p := range s.e.RoundTrips {
		subject := p.Name + "/" + p.Node
		o := byName[p.Name]
		if o == nil {
			o = &roundTripOutcome{}
			byName[p.Name] = o
		}
		lost, came := s.recent(probeLostAll.id(subject), p.Lost), s.recent(arrived(subject), p.Sent-p.Lost-p.Failed)
		o.all = max(o.all, lost+came)
		switch {
		case lost > 0 && came > 0:
			o.mixed, o.messages = true, max(o.messages, lost)
		case lost > 0:
			o.lost, o.messages = append(o.lost, p.Node), max(o.messages, lost)
		case came > 0:
			o.well = append(o.well, p.Node)
		}
		if failed := s.recent(probeUnpublished.id(subject), p.unreached()); failed > 0 {
			s.add(probeUnpublished, subject, failed, "probe %s: %s probes of %s could not be published or set up lately", p.Name, Count(failed), p.Node)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		switch o := byName[name]; {
		case o.messages == 0:
		case o.mixed || len(o.well) == 0: // each message has its own fate, whatever the node
			s.add(probeLostAll, name, o.messages, "probe %s: up to %s of %s invalidations of a node were lost lately", name, Count(o.messages), Count(o.all))
		default:
			s.add(probeLostSome, name, o.messages, "probe %s: %s invalidations were lost lately on %s, and arrived on %s", name, Count(o.messages), list(o.lost), list(o.well)).
				on(o.lost...)
		}
	}
}
