package probes

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// dnsGroup is one node for each address behind a DNS name.
type dnsGroup struct {
	id       Identity
	expected int
	opt      Options
	log      *slog.Logger
	names    *directory
	open     func(id Identity, at place) (Node, error)

	mu      sync.Mutex
	err     error        // of the directory, at the last survey
	members []*dnsMember // by name
	// aliases are addresses of members that are known by another one.
	aliases map[place]*dnsMember
	// bad addresses can't be asked at all.
	bad map[place]bool
	// leaving are nodes to close at the end of the survey.
	leaving []Node
	once
}

type dnsMember struct {
	node Node
	at   place
	// run is the run_id under which this member became a node of its own.
	run string
	// gone is since when the name no longer has it; zero: it has.
	gone time.Time
	// down: it did not answer the last time that it was asked.
	down bool
	// survey and answered are of the last survey.
	survey   Survey
	answered bool
}

func newDNSGroup(id Identity, name config.DNSName, expected int, opt Options, log *slog.Logger,
	open func(Identity, place) (Node, error),
) *dnsGroup {
	return &dnsGroup{
		id: id, expected: expected, opt: opt, log: log, open: open,
		names: newDirectory(name, opt, log.With("group", id.Name)), aliases: map[place]*dnsMember{}, bad: map[place]bool{},
		err: errNotAsked,
	}
}

// Survey implements Members: it asks those of a new answer too. Each settles whether it is a node of its own first.
func (g *dnsGroup) Survey(ctx context.Context, scanFor func(Identity) *Scan, visit func(Node, Survey, error)) {
	wave := g.begin(g.names.places(ctx))
	grace := memberGrace
	if d, ok := ctx.Deadline(); ok {
		grace = min(grace, time.Until(d)/4)
	}
	var asking, visits sync.WaitGroup
	asking.Add(len(wave))
	all := make(chan struct{})
	for _, m := range wave {
		visits.Go(func() {
			s, err := m.node.Survey(ctx, scanFor(m.node.Identity()))
			sure := g.learn(m, s, err)
			asking.Done()
			if !sure {
				await(all, grace)
			}
			if g.settle(m) {
				s.Left = g.left(m)
				visit(m.node, s, err)
			}
		})
	}
	visits.Go(func() {
		asking.Wait()
		close(all)
	})
	visits.Wait()
	g.once.end()
	g.closeLeft()
}

// begin opens what the name newly has, forgets what it has not had for too long, and gives the members to ask.
func (g *dnsGroup) begin(places []place, err error) []*dnsMember {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
	now := time.Now()
	for _, m := range g.members {
		m.answered = false
		switch {
		case slices.Contains(places, m.at):
			m.gone = time.Time{}
		case m.gone.IsZero():
			m.gone = now
		}
	}
	for _, p := range places {
		switch m := g.aliases[p]; {
		case m == nil:
			g.add(p)
		case !m.gone.IsZero():
			g.move(m, p)
		}
	}
	for _, m := range slices.Clone(g.members) {
		if !m.gone.IsZero() && now.Sub(m.gone) > g.opt.ForgetAfter {
			g.drop(m)
		}
	}
	return slices.Clone(g.members)
}

// add opens a member unless there is one.
func (g *dnsGroup) add(p place) {
	if g.bad[p] {
		return
	}
	id := memberOf(g.id, p.address())
	for _, m := range g.members {
		if m.at == p || m.node.Identity().Name == id.Name { // the latter was found here, and has moved
			return
		}
	}
	n, err := g.open(id, p)
	if err != nil {
		g.log.Warn("a member of the group can't be asked", "group", g.id.Name, "address", p.address(), "err", err)
		g.bad[p] = true
		return
	}
	g.members = append(g.members, &dnsMember{node: n, at: p})
	slices.SortFunc(g.members, func(a, b *dnsMember) int {
		return cmp.Compare(a.node.Identity().Name, b.node.Identity().Name)
	})
}

// move asks a member at another of its addresses, when the name has lost the one at which it was. It keeps its name.
func (g *dnsGroup) move(m *dnsMember, p place) {
	n, err := g.open(m.node.Identity(), p)
	if err != nil {
		return // as bad as where it was
	}
	g.leaving = append(g.leaving, m.node)
	delete(g.aliases, p)
	g.aliases[m.at] = m
	m.node, m.at, m.gone = n, p, time.Time{}
}

// learn notes what a member answered. sure: what the others answer can't change what this one is.
func (g *dnsGroup) learn(m *dnsMember, s Survey, err error) (sure bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.down = err != nil; m.down {
		return true
	}
	m.survey, m.answered = s, true
	return s.RunID == "" || m.run == s.RunID
}

// left: the name no longer has the member.
func (g *dnsGroup) left(m *dnsMember) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !m.gone.IsZero()
}

// settle decides whether a member is a node of its own; false: it is known by another address.
func (g *dnsGroup) settle(m *dnsMember) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	run := m.survey.RunID
	if !m.answered || run == "" || m.run == run {
		return true
	}
	if other := g.same(m, run); other != nil {
		g.drop(m)
		g.aliases[m.at] = other
		return false
	}
	m.run = run
	for p, k := range g.aliases { // another process now: its other addresses may be another's
		if k == m {
			delete(g.aliases, p)
		}
	}
	return true
}

// same finds the member that holds m's run_id by right: it had it first, or comes first.
func (g *dnsGroup) same(m *dnsMember, run string) *dnsMember {
	return holder(g.members, m, func(k *dnsMember) (own, told bool) { return k.run == run, k.answered && k.survey.RunID == run })
}

// drop takes a member out. Its other addresses are free again.
func (g *dnsGroup) drop(m *dnsMember) {
	g.members = slices.DeleteFunc(g.members, func(k *dnsMember) bool { return k == m })
	for p, k := range g.aliases {
		if k == m {
			delete(g.aliases, p)
		}
	}
	g.leaving = append(g.leaving, m.node)
}

func (g *dnsGroup) closeLeft() {
	g.mu.Lock()
	left := g.leaving
	g.leaving = nil
	g.mu.Unlock()
	for _, n := range left {
		n.Close()
	}
}

// Close implements Members. Lookups end first, so that no member comes after.
func (g *dnsGroup) Close() {
	g.names.close()
	for _, n := range g.Nodes() {
		n.Close()
	}
}

// Group implements Members.
func (g *dnsGroup) Group() (Group, bool) {
	out := groupWith(g.id, g.expected, g.Nodes())
	g.mu.Lock()
	defer g.mu.Unlock()
	out.Err = g.err
	return out, true
}

// Nodes implements Members.
func (g *dnsGroup) Nodes() []Node {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Node, 0, len(g.members))
	for _, m := range g.members {
		out = append(out, m.node)
	}
	return out
}

// pick gives the members whose last survey is the one that is wanted, of those that answer and that the name still has. It
// waits until there is one, or a survey has ended.
func (g *dnsGroup) pick(ctx context.Context, wanted func(Survey) bool) ([]Node, error) {
	var found []Node
	look := func() bool {
		found = nil
		for _, m := range g.members {
			if wanted(m.survey) && m.gone.IsZero() && !m.down {
				found = append(found, m.node)
			}
		}
		return len(found) > 0
	}
	err := g.found(ctx, &g.mu, look)
	return found, err
}
