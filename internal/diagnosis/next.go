package diagnosis

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/shell"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// next is a command to paste: what to look at for the cause that stands first. It holds no secrets.
func next(e *Evidence, w *weighing) string {
	if w == nil {
		return "cacheinv_exporter check-config"
	}
	for _, c := range Causes {
		if stands(w.score[c]) {
			if command := e.look(c, w.heaviest(c)); command != "" {
				return command
			}
		}
	}
	return cmp.Or(e.askRefusing(), e.check())
}

// askRefusing asks the first node that refuses, or queue that could not be queried; empty: there is none.
func (e *Evidence) askRefusing() string {
	if e.Result != nil {
		for i := range e.Result.Nodes {
			if n := &e.Result.Nodes[i]; n.Refuses() {
				return e.commands(n.Name).Ask
			}
		}
	}
	for i := range e.Queues {
		if q := &e.Queues[i]; !q.Up {
			return e.askQueue(q.Name, "", false)
		}
	}
	return ""
}

// heaviest finding of a cause.
func (w *weighing) heaviest(c Cause) finding {
	var top finding
	most, size := 0.0, 0.0
	for _, f := range w.found {
		part := w.part[f.weight]
		if f.weight.Cause != c || !f.counts() || f.explained != "" {
			continue
		}
		if part > most || part == most && f.weight == top.weight && f.size > size {
			top, most, size = f, part, f.size
		}
	}
	return top
}

func (e *Evidence) look(c Cause, f finding) string {
	queue, group, _ := strings.Cut(f.subject, "/")
	switch f.weight {
	case nodeUnreached, linkDown, replicationLag, isolatedNode:
		return e.ask(f.subject)
	case clusterDown, dividedViews, splitBrain:
		return e.askGroup(f.subject)
	case backlog, fallingBehind, oldMessages, stalledGroup, noMembers, underTarget:
		if e.recovers(queue) {
			return "cacheinv_exporter recover"
		}
		return e.askQueue(queue, group, false)
	case lostMessages:
		return cmp.Or(e.repairWorst(), e.askQueue(queue, group, false))
	case noCommits:
		group, _, _ = strings.Cut(group, inTopic)
		return e.askQueue(queue, group, false)
	case brokerDown, queueUnreached, rewound, deafInstances, loop:
		return e.askQueue(queue, group, f.weight == loop)
	case groupIncomplete:
		return e.askGroup(f.subject)
	case appUnreached, appVersionsDiffer:
		return e.askVersions(queue)
	case versionsExplain:
		if len(e.Apps) > 0 {
			return e.askVersions(minorities(e)[f.subject])
		}
	case settingsDiffer, serversDiffer:
		return e.askSetting(f.subject)
	case unexplainedStale:
		class, _, _ := strings.Cut(f.subject, "/")
		return cmp.Or(e.repair(class), e.check())
	case strayCopies, survivorCopies, immortalCopies:
		class, _, _ := strings.Cut(f.subject, "/")
		return "cacheinv_exporter check --class=" + shell.Quote(class)
	case versionConflicts:
		return "cacheinv_exporter check --class=" + shell.Quote(f.subject)
	}
	if c == Queueing {
		return ""
	}
	return e.check()
}

// check of the class that has the most wrong copies.
func (e *Evidence) check() string {
	worst := e.worst(func(n *consistency.ClassNode) int { return n.Copies[verdict.Stale] + n.Copies[verdict.Undecided] })
	if worst == nil {
		return "cacheinv_exporter check"
	}
	return "cacheinv_exporter check --class=" + shell.Quote(worst.Class)
}

// worst is the class with most copies of a kind; nil: there are none.
func (e *Evidence) worst(count func(*consistency.ClassNode) int) (worst *consistency.ClassResult) {
	if e.Result == nil {
		return nil
	}
	most := 0
	for i := range e.Result.Classes {
		c, copies := &e.Result.Classes[i], 0
		for k := range c.Nodes {
			copies += count(&c.Nodes[k])
		}
		if copies > most {
			worst, most = c, copies
		}
	}
	return worst
}

// repairWorst repairs the class that has the most stale copies; empty: none is stale.
func (e *Evidence) repairWorst() string {
	if worst := e.worst(func(n *consistency.ClassNode) int { return n.Copies[verdict.Stale] }); worst != nil {
		return e.repair(worst.Class)
	}
	return ""
}

// repair shows the plan of a class's repair, by who knows best which copies are right; empty: none of them is stale.
func (e *Evidence) repair(class string) string {
	if e.Result == nil {
		return ""
	}
	for i := range e.Result.Classes {
		c := &e.Result.Classes[i]
		stale, old := 0, 0
		for k := range c.Nodes {
			stale, old = stale+c.Nodes[k].Copies[verdict.Stale], old+c.Nodes[k].Convicted[verdict.ByAge]
		}
		if c.Class != class || stale == 0 {
			continue
		}
		strategy := "majority"
		switch {
		case c.HasOrigin:
			strategy = "origin"
		case old > 0: // no copy need be right
			strategy = "delete"
		case c.HasVersion:
			strategy = "newest"
		}
		return "cacheinv_exporter repair --strategy=" + strategy + " --class=" + shell.Quote(class)
	}
	return ""
}

// recovers: what waits in the queue can be applied by recover, and is not applied soon without it.
func (e *Evidence) recovers(queue string) bool {
	for i := range e.Queues {
		q := &e.Queues[i]
		if q.Name != queue || q.Sample == nil || !q.Sample.HasKeys {
			continue
		}
		left, known := e.TimeToDrain(q)
		return !known || left > cmp.Or(q.Limits.DrainSeconds, drainsSoon.Value)
	}
	return false
}

// commands of a node: as configured, or of a server that a group found (GROUP/HOST:PORT).
func (e *Evidence) commands(node string) probes.NodeCommands {
	if n, ok := e.Configured.Nodes[node]; ok {
		return n.Commands("")
	}
	group, member, found := strings.Cut(node, "/")
	if n, ok := e.Configured.Nodes[group]; ok && found {
		return n.Commands(member)
	}
	return probes.NodeCommands{}
}

func (e *Evidence) ask(node string) string { return cmp.Or(e.commands(node).Ask, e.check()) }

// askGroup asks a node of the group for what it knows of it: one that answers, if there is one.
func (e *Evidence) askGroup(group string) string {
	if e.Result != nil {
		for i := range e.Result.Nodes {
			n := &e.Result.Nodes[i]
			if command := e.commands(n.Name).Group; n.Group == group && n.Up && command != "" {
				return command
			}
		}
	}
	return e.check()
}

func (e *Evidence) askQueue(queue, group string, newest bool) string {
	q, ok := e.Configured.Queues[queue]
	if !ok {
		return ""
	}
	return q.Command(probes.QueueLook{Newest: newest, Group: cmp.Or(group, e.slowest(queue)), Member: e.primary(q.On())})
}

// slowest group of a queue: one that is stalled, else the one with the largest lag in seconds.
func (e *Evidence) slowest(queue string) string {
	name, most := "", -1.0
	for _, q := range e.Queues {
		if q.Name != queue {
			continue
		}
		for _, g := range q.Groups {
			lag := g.LagSeconds.Value
			if g.Stalled.Known && g.Stalled.Value > 0 {
				lag += 1e9
			}
			if lag > most {
				name, most = g.Name, lag
			}
		}
	}
	return name
}

// primary is the address of a group's primary; empty where there is none, or the node is no group.
func (e *Evidence) primary(group string) string {
	if e.Result == nil || group == "" {
		return ""
	}
	for i := range e.Result.Nodes {
		if n := &e.Result.Nodes[i]; n.Group == group && n.Survey.Role == "primary" {
			return strings.TrimPrefix(n.Name, group+"/")
		}
	}
	return ""
}

func (e *Evidence) askVersions(app string) string {
	if a, ok := e.Configured.Versions[app]; ok {
		return cmp.Or(a.Command(), e.check())
	}
	return e.check()
}

// askSetting asks a node whose value is not most nodes'.
func (e *Evidence) askSetting(subject string) string {
	for _, x := range e.Settings {
		if x.Layer+"/"+x.Name != subject {
			continue
		}
		var odd []string
		for _, nodes := range others(x.Nodes) {
			odd = append(odd, nodes...)
		}
		slices.Sort(odd)
		for _, n := range odd {
			c := e.commands(n)
			if x.Name == "server_version" {
				return cmp.Or(c.Version, e.ask(n))
			}
			return cmp.Or(c.Settings, e.ask(n))
		}
	}
	return e.check()
}
