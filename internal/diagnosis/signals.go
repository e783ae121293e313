package diagnosis

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// finding is one signal that one subject shows.
type finding struct {
	signal  string
	subject string
	size    float64
	// early: it counts as a first sight however long it has been there.
	early bool
	// text in plain words.
	text string
}

func (f finding) id() string { return f.signal + " " + f.subject }

// findings of a sampling, in the order of the table's causes. What Memory knows is in e.Past; without it the findings
// that need time are first sights.
func findings(e *Evidence) []finding {
	s := surveyor{e: e}
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
	s.probes()
	return s.found
}

type surveyor struct {
	e     *Evidence
	found []finding
}

func (s *surveyor) add(signal, subject string, size float64, format string, args ...any) *finding {
	s.found = append(s.found, finding{signal: signal, subject: subject, size: size, text: fmt.Sprintf(format, args...)})
	return &s.found[len(s.found)-1]
}

func (s *surveyor) nodes() {
	for i := range s.e.Result.Nodes {
		n := &s.e.Result.Nodes[i]
		if !n.Up && !n.Survey.Left { // a deployment takes nodes away
			s.add(nodeUnreached, n.Name, 1, "%s %s does not answer%s", n.Layer, n.Name, because(n.Err))
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

func (s *surveyor) groups() {
	for _, g := range s.e.Result.Groups {
		switch {
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
			s.add(clusterDown, g.Name, 1, "%s: a node says that the cluster is not ok", at)
		}
		if c.Views > 1 {
			s.add(dividedViews, g.Name, float64(c.Views-1), "%s: %d different views of the shards among %d nodes", at, c.Views, c.Answered)
		}
		if c.ContestedSlots > 0 || c.Masters > 1 {
			s.add(splitBrain, g.Name, float64(max(c.Masters-1, 1)), "%s: split brain, %d slots are claimed by %d primaries", at, c.ContestedSlots, c.Masters)
		}
	}
}

func (s *surveyor) replicas() {
	for _, m := range s.e.Masters {
		if m.Count > 1 {
			s.add(splitBrain, m.Group, float64(m.Count-1), "%s %s: split brain, %d primaries", m.Layer, m.Group, m.Count)
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
			behind = fmt.Sprintf(", %s bytes behind", count(r.LagBytes.Value))
		}
		if !r.LinkUp && !silent[r.Node] { // what does not answer does not tell of its link
			s.add(linkDown, r.Node, 1, "%s %s: the link to its primary is down%s", r.Layer, r.Node, behind)
		}
		if r.LagSeconds.Known && r.LagSeconds.Value > 0 {
			s.add(replicationLag, r.Node, r.LagSeconds.Value, "%s %s: replication is %s behind%s", r.Layer, r.Node, seconds(r.LagSeconds.Value), behind)
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
	for _, v := range slices.Sorted(maps.Keys(byValue)) {
		if len(byValue[v]) >= len(byValue[most]) {
			most = v
		}
	}
	out := maps.Clone(byValue)
	delete(out, most)
	return out
}

// told writes values and who has them: 2.2.9 on app-3; 2.3.1 on app-1, app-2.
func told(byValue map[string][]string) string {
	var parts []string
	for _, v := range slices.Sorted(maps.Keys(byValue)) {
		parts = append(parts, v+" on "+list(byValue[v]))
	}
	return strings.Join(parts, "; ")
}

func (s *surveyor) apps() {
	for _, a := range s.e.Apps {
		for _, n := range a.Down {
			s.add(appUnreached, a.Name+"/"+n, 1, "application %s: %s does not tell its version", a.Name, n)
		}
		if versions := byVersion(a); len(versions) > 1 {
			s.add(appVersionsDiffer, a.Name, float64(len(versions)-1), "application %s runs %d versions: %s", a.Name, len(versions), told(versions))
		}
	}
}

func (s *surveyor) settings() {
	for _, x := range s.e.Settings {
		if len(x.Nodes) < 2 {
			continue
		}
		name := settingsDiffer
		if x.Name == "server_version" {
			name = serversDiffer
		}
		s.add(name, x.Layer+"/"+x.Name, 1, "layer %s: %s differs: %s", x.Layer, x.Name, told(x.Nodes))
	}
}

// queueLimit is the depth from which a queue counts as backed up.
func (e *Evidence) queueLimit(q *Queue) float64 {
	least := limit("backlog_messages")
	if q.Capacity > 0 {
		size := float64(q.Capacity)
		return max(size*limit("backlog_capacity"), min(least, size*limit("backlog_small")))
	}
	most := least
	if q.Target > 0 {
		most = max(q.Target*limit("backlog_target"), limit("backlog_least"))
	}
	if oldest, known := oldest(q); known && oldest < limit("burst_seconds") && e.drainSeconds(q) < limit("burst_seconds") {
		most *= limit("burst_factor")
	}
	return most
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

// oldest is how long the message that waits longest has waited, by its age or by the groups' lag.
func oldest(q *Queue) (age float64, known bool) {
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

func (s *surveyor) queue(q *Queue) {
	if !q.Up && !q.Answered {
		s.add(queueUnreached, q.Name, 1, "queue %s did not answer", q.Name)
	}
	if q.BrokersDown > 0 {
		s.add(brokerDown, q.Name, float64(q.BrokersDown), "queue %s: %d Kafka brokers do not answer", q.Name, q.BrokersDown)
	}
	most := s.e.queueLimit(q)
	if q.Depth.Known && q.Depth.Value > 0 {
		depth := q.Depth.Value
		if depth >= most {
			s.add(backlog, q.Name, depth/most, "queue %s: %s messages wait, %.1f times its limit of %s", q.Name, count(depth), depth/most, count(most))
			if q.Target > 0 && q.ProcessedRate.Known {
				s.add(underTarget, q.Name, 1-q.ProcessedRate.Value/q.Target, "queue %s: %s messages/s are processed, the target is %s/s",
					q.Name, count(q.ProcessedRate.Value), count(q.Target))
			}
		}
		if growth, known := s.e.Past.Growth[q.Name]; known && growth > 0 {
			if ahead := depth + growth*limit("projection"); ahead >= most {
				s.add(fallingBehind, q.Name, ahead/most, "queue %s grows by %s messages/s, now %s", q.Name, count(growth), count(depth))
			}
		}
	}
	age, known := oldest(q)
	if known {
		s.add(oldMessages, q.Name, age, "queue %s: the oldest message has waited for %s", q.Name, seconds(age))
	}
	for _, g := range q.Groups {
		s.group(q, &g, known && age >= limit("idle_seconds"))
	}
	s.sample(q)
}

func (s *surveyor) group(q *Queue, g *Group, waits bool) {
	subject := q.Name + "/" + g.Name
	if g.Stalled.Known && g.Stalled.Value > 0 {
		s.add(stalledGroup, subject, 1, "queue %s: group %s commits nothing though messages wait", q.Name, g.Name)
	}
	if g.Members.Known && g.Members.Value == 0 && waits {
		s.add(noMembers, subject, 1, "queue %s: group %s has no members", q.Name, g.Name)
	}
	if lost := s.recent(lostMessages, subject, g.Lost); lost > 0 {
		s.add(lostMessages, subject, lost, "queue %s: group %s lost %s messages that were deleted before it processed them", q.Name, g.Name, count(lost))
	}
	if back := s.recent(rewound, subject, g.Rewound); back > 0 {
		s.add(rewound, subject, back, "queue %s: the commits of group %s went back by %s messages", q.Name, g.Name, count(back))
	}
}

// recent is what was told in the last minutes, this sampling's part included.
func (s *surveyor) recent(signal, subject string, now float64) float64 {
	return max(now, s.e.Past.Recent[signal+" "+subject])
}

func (s *surveyor) sample(q *Queue) {
	m := q.Sample
	if m == nil || float64(m.Messages) < limit("loop_messages") || q.EnqueuedRate.Known && q.EnqueuedRate.Value < limit("loop_rate") {
		return
	}
	rate := "at an unknown rate"
	if q.EnqueuedRate.Known {
		rate = fmt.Sprintf("at %s messages/s", count(q.EnqueuedRate.Value))
	}
	var f *finding
	switch {
	case m.Repeats.Known:
		f = s.add(loop, q.Name, m.Repeats.Value/float64(m.Messages), "queue %s: %s of the newest %d messages repeat a key without a higher version, %s",
			q.Name, count(m.Repeats.Value), m.Messages, rate)
	case m.HasKeys:
		share := float64(m.TopKeyMessages) / float64(m.Messages)
		f = s.add(loop, q.Name, share-(limit("loop_top_key")-signal(loop).Start), "queue %s: %d of the newest %d messages are for one key, %s",
			q.Name, m.TopKeyMessages, m.Messages, rate)
	default:
		return
	}
	f.early = !q.EnqueuedRate.Known
}

func (s *surveyor) histories() {
	for _, h := range s.e.Histories {
		if h.Up && h.Attempts > 0 && h.Failures >= limit("failures") {
			s.add(failedInval, h.Name, min(h.Failures/h.Attempts, 1), "history %s: %s of %s invalidations failed (%s) in the last %s", h.Name,
				count(h.Failures), count(h.Attempts), percent(h.Failures, h.Attempts), seconds(h.Window.Seconds()))
		}
	}
}

// probeOutcome is what one probe's invalidations came to on all nodes, over the last minutes.
type probeOutcome struct {
	lost, well []string
	// mixed: some were lost and some arrived on one node.
	mixed bool
	// messages that were lost, and all of them, on the node with the most.
	messages, all float64
}

func (s *surveyor) probes() {
	byName := map[string]*probeOutcome{}
	for _, p := range s.e.Probes {
		subject := p.Name + "/" + p.Node
		o := byName[p.Name]
		if o == nil {
			o = &probeOutcome{}
			byName[p.Name] = o
		}
		lost, arrived := s.recent(probeLostAll, subject, p.Lost), s.recent(probeArrived, subject, p.Sent-p.Lost-p.Failed)
		o.all = max(o.all, lost+arrived)
		switch {
		case lost > 0 && arrived > 0:
			o.mixed, o.messages = true, max(o.messages, lost)
		case lost > 0:
			o.lost, o.messages = append(o.lost, p.Node), max(o.messages, lost)
		case arrived > 0:
			o.well = append(o.well, p.Node)
		}
		if failed := s.recent(probeUnpublished, subject, p.Failed); failed > 0 {
			s.add(probeUnpublished, subject, failed, "probe %s: %s probes of %s could not be published or set up lately", p.Name, count(failed), p.Node)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		switch o := byName[name]; {
		case o.messages == 0:
		case o.mixed || len(o.well) == 0: // each message has its own fate, whatever the node
			s.add(probeLostAll, name, o.messages, "probe %s: up to %s of %s invalidations of a node were lost lately", name, count(o.messages), count(o.all))
		default:
			s.add(probeLostSome, name, o.messages, "probe %s: %s invalidations were lost lately on %s, and arrived on %s", name, count(o.messages), list(o.lost), list(o.well))
		}
	}
}

// staleNode is the staleness on one node, over all classes.
type staleNode struct {
	layer, node string
	// counted are the stale copies in fast layers, and the overdue ones elsewhere.
	counted, overdue, classes int
	// behind is how many versions the furthest copy is behind, where versions are integers.
	behind float64
	oldest time.Duration
	// alone: in each class, a peer in its layer that was compared has no such copy.
	alone bool
}

// counted copies of a class on a node: what the design does not allow, or a fast layer should not show for long.
func (e *Evidence) counted(class string, n *consistency.ClassNode) int {
	allowed, known := e.Estate.MaxStaleness[ClassLayer{class, n.Layer}]
	if known && allowed.Seconds() > limit("fast_layer") {
		return n.Overdue
	}
	return n.Copies[verdict.Stale]
}

func compared(n *consistency.ClassNode) int {
	return n.Copies[verdict.Fresh] + n.Copies[verdict.Stale] + n.Copies[verdict.Undecided]
}

// staleNodes by name, those with a counted copy alone, and the number of these copies.
func staleNodes(e *Evidence) (out map[string]*staleNode, total int) {
	out = map[string]*staleNode{}
	for i := range e.Result.Classes {
		c := &e.Result.Classes[i]
		clean := map[string]bool{}
		for k := range c.Nodes {
			if n := &c.Nodes[k]; compared(n) > 0 && e.counted(c.Class, n) == 0 {
				clean[n.Layer] = true
			}
		}
		for k := range c.Nodes {
			n := &c.Nodes[k]
			stale := e.counted(c.Class, n)
			if stale == 0 {
				continue
			}
			s := out[n.Node]
			if s == nil {
				s = &staleNode{layer: n.Layer, node: n.Node, alone: true}
				out[n.Node] = s
			}
			total += stale
			s.counted, s.overdue, s.classes = s.counted+stale, s.overdue+n.Overdue, s.classes+1
			s.oldest = max(s.oldest, n.OldestStale)
			if c.VersionKind == "integer" {
				s.behind = max(s.behind, n.VersionLag)
			}
			s.alone = s.alone && clean[n.Layer]
		}
	}
	return out, total
}

// StaleCopies are all copies that were stale in this sampling.
func (e *Evidence) StaleCopies() int {
	stale := 0
	if e.Result != nil {
		for i := range e.Result.Classes {
			for k := range e.Result.Classes[i].Nodes {
				stale += e.Result.Classes[i].Nodes[k].Copies[verdict.Stale]
			}
		}
	}
	return stale
}

// isolated reports whether a node looks cut off from invalidations by what it holds alone.
func (n *staleNode) isolated(growing bool) bool {
	return n.alone && float64(n.counted) >= limit("isolated_copies") &&
		(n.classes >= 2 || n.behind >= limit("isolated_versions") || growing)
}

func (s *surveyor) canaries() {
	stale, total := staleNodes(s.e)
	names := slices.Sorted(maps.Keys(stale))
	// Cut-off nodes, where hardly any stale copy is elsewhere. In layers of a shorter TTL there may be: they are filled from these.
	var cut []*staleNode
	longest := time.Duration(0)
	for _, name := range names {
		if n := stale[name]; n.isolated(s.e.Past.Growing[name]) {
			cut = append(cut, n)
			longest = max(longest, s.e.Estate.TTL[n.layer])
		}
	}
	elsewhere := 0
	for _, name := range names {
		if n := stale[name]; !slices.Contains(cut, n) && s.e.Estate.TTL[n.layer] >= longest {
			elsewhere += n.counted
		}
	}
	if float64(elsewhere) <= limit("isolated_elsewhere")*float64(total) {
		for _, n := range cut {
			s.add(isolatedNode, n.node, 1, "%s %s answers, but has %d stale copies in %d classes, the oldest for %s, that other nodes of its layer do not have",
				n.layer, n.node, n.counted, n.classes, seconds(n.oldest.Seconds()))
		}
	}
	// Nodes whose instance runs another version than most.
	if odd := minorities(s.e); total > 0 && !slices.ContainsFunc(names, func(n string) bool { return odd[n] == "" }) {
		for _, name := range names {
			s.add(versionsExplain, name, 1, "%s runs another version than most instances of %s, and has %d stale copies; no other node has any",
				name, odd[name], stale[name].counted)
		}
	}
	for i := range s.e.Result.Classes {
		c := &s.e.Result.Classes[i]
		if c.VersionConflicts > 0 {
			s.add(versionConflicts, c.Class, float64(c.VersionConflicts), "%s: %d keys have different content under the same highest version", c.Class, c.VersionConflicts)
		}
		for k := range c.Nodes {
			s.copies(c.Class, &c.Nodes[k])
		}
	}
}

// copies are the findings that a class on one node gives.
func (s *surveyor) copies(class string, n *consistency.ClassNode) {
	subject, at := class+"/"+n.Node, class+" on "+n.Layer+" "+n.Node
	switch {
	case n.StillSurvivors > 0:
		s.add(survivorCopies, subject, float64(n.StillSurvivors), "%s: %d copies survived a delete that reached another node", at, n.StillSurvivors)
	case n.Survivors > 0: // a delete may be on its way
		s.add(survivorCopies, subject, float64(n.Survivors), "%s: %d copies seem to have survived a delete that reached another node", at, n.Survivors).early = true
	}
	if n.Strays > 0 {
		s.add(strayCopies, subject, float64(n.Strays), "%s: %d copies that belong on another server of the pool", at, n.Strays)
	}
	if wrong := n.Immortal + n.OverLimit; wrong > 0 {
		s.add(immortalCopies, subject, float64(wrong), "%s: %d copies without expiry, %d with more than the layer's TTL", at, n.Immortal, n.OverLimit)
	}
	if n.Overdue > 0 {
		s.add(unexplainedStale, subject, float64(n.Overdue), "%s: %d copies are overdue, the oldest for %s", at, n.Overdue, seconds(n.OldestStale.Seconds()))
	}
}
