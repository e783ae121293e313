package group

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// DNS is one node for each address behind a DNS name.
type DNS struct {
	id       probes.Identity
	expected int
	Options  *probes.Env
	log      *slog.Logger
	Resolver *Resolver
	open     func(id probes.Identity, at Address) (probes.Node, error)

	mu      sync.Mutex
	err     error        // of the directory, at the last survey
	members []*dnsMember // by name
	// aliases are addresses of members that are known by another one.
	aliases map[Address]*dnsMember
	// bad addresses can't be asked at all.
	bad map[Address]bool
	// leaving are nodes to close at the end of the survey.
	leaving []probes.Node
	Once
}

type dnsMember struct {
	node probes.Node
	at   Address
	// run is the run_id under which this member became a node of its own.
	run string
	// gone is since when the name no longer has it; zero: it has.
	gone time.Time
	// down: it did not answer the last time that it was asked.
	down bool
	// survey and answered are of the last survey.
	survey   probes.Survey
	answered bool
}

func NewDNS(id probes.Identity, name form.DNSName, expected int, opt *probes.Env, log *slog.Logger,
	open func(probes.Identity, Address) (probes.Node, error),
) *DNS {
	return &DNS{
		id: id, expected: expected, Options: opt, log: log, open: open,
		Resolver: NewResolver(name, opt, log.With("group", id.Name)), aliases: map[Address]*dnsMember{}, bad: map[Address]bool{},
		err: errNotAsked,
	}
}

// Survey implements Members: it asks those of a new answer too. Each settles whether it is a node of its own first.
func (g *DNS) Survey(ctx context.Context, scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error)) {
	wave := g.begin(g.Resolver.Addresses(ctx))
	grace := Grace
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
				Await(all, grace)
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
	g.Once.End()
	g.closeLeft()
}

// begin opens what the name newly has, forgets what it has not had for too long, and gives the members to ask.
func (g *DNS) begin(places []Address, err error) []*dnsMember {
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
		if !m.gone.IsZero() && now.Sub(m.gone) > g.Options.ForgetAfter {
			g.drop(m)
		}
	}
	return slices.Clone(g.members)
}

// add opens a member unless there is one.
func (g *DNS) add(p Address) {
	if g.bad[p] {
		return
	}
	id := MemberIdentity(g.id, p.HostPort())
	for _, m := range g.members {
		if m.at == p || m.node.Identity().Name == id.Name { // the latter was found here, and has moved
			return
		}
	}
	n, err := g.open(id, p)
	if err != nil {
		g.log.Warn("a member of the group can't be asked", "group", g.id.Name, "address", p.HostPort(), "err", err)
		g.bad[p] = true
		return
	}
	g.members = append(g.members, &dnsMember{node: n, at: p})
	slices.SortFunc(g.members, func(a, b *dnsMember) int {
		return cmp.Compare(a.node.Identity().Name, b.node.Identity().Name)
	})
}

// move asks a member at another of its addresses, when the name has lost the one at which it was. It keeps its name.
func (g *DNS) move(m *dnsMember, p Address) {
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
func (g *DNS) learn(m *dnsMember, s probes.Survey, err error) (sure bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.down = err != nil; m.down {
		return true
	}
	m.survey, m.answered = s, true
	return s.RunID == "" || m.run == s.RunID
}

// left: the name no longer has the member.
func (g *DNS) left(m *dnsMember) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !m.gone.IsZero()
}

// settle decides whether a member is a node of its own; false: it is known by another address.
func (g *DNS) settle(m *dnsMember) bool {
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
func (g *DNS) same(m *dnsMember, run string) *dnsMember {
	return Holder(g.members, m, func(k *dnsMember) (own, told bool) { return k.run == run, k.answered && k.survey.RunID == run })
}

// drop takes a member out. Its other addresses are free again.
func (g *DNS) drop(m *dnsMember) {
	g.members = slices.DeleteFunc(g.members, func(k *dnsMember) bool { return k == m })
	for p, k := range g.aliases {
		if k == m {
			delete(g.aliases, p)
		}
	}
	g.leaving = append(g.leaving, m.node)
}

func (g *DNS) closeLeft() {
	g.mu.Lock()
	left := g.leaving
	g.leaving = nil
	g.mu.Unlock()
	for _, n := range left {
		n.Close()
	}
}

// Close implements Members. Lookups end first, so that no member comes after.
func (g *DNS) Close() {
	g.Resolver.Close()
	for _, n := range g.Nodes() {
		n.Close()
	}
}

// Group implements Members.
func (g *DNS) Group() (probes.Group, bool) {
	out := Describe(g.id, g.expected, g.Nodes())
	g.mu.Lock()
	defer g.mu.Unlock()
	out.Err = g.err
	return out, true
}

// Nodes implements Members.
func (g *DNS) Nodes() []probes.Node {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]probes.Node, 0, len(g.members))
	for _, m := range g.members {
		out = append(out, m.node)
	}
	return out
}

// Pick gives the members whose last survey is the one that is wanted, of those that answer and that the name still has. It
// waits until there is one, or a survey has ended.
func (g *DNS) Pick(ctx context.Context, wanted func(probes.Survey) bool) ([]probes.Node, error) {
	var found []probes.Node
	look := func() bool {
		found = nil
		for _, m := range g.members {
			if wanted(m.survey) && m.gone.IsZero() && !m.down {
				found = append(found, m.node)
			}
		}
		return len(found) > 0
	}
	err := g.Wait(ctx, &g.mu, look)
	return found, err
}
