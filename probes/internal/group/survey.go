package group

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Grace is how long new members wait for the others to say who they are.
const Grace = time.Second

// candidateTime is how long a candidate is asked: one that hangs, as addresses behind another network do, must not hold up
// every survey for as long as it may last.
const candidateTime = 2 * time.Second

// mostWaves of new members are asked in one survey: what the last ones announce waits for the next.
const mostWaves = 16

const (
	// strangersAtOnce are the most members asked at once of those that did not answer when they were asked last: each costs its dial and
	// its lookup up to 50 KB, and a group may have a thousand. Those that did are all asked at once.
	strangersAtOnce = 100
	// longestTurn is how long one of them keeps the next waiting: it may hang until its time is up, and the next may be alive again.
	longestTurn = 50 * time.Millisecond
)

// Topology is a kind of group, as SurveyAs asks it. Ask, Learn and Settle are called for several members at once.
type Topology[M any] interface {
	// Begin gives the members to ask first.
	Begin() []M
	// Ask a member for its survey, with a step of SCAN where scan is not nil.
	Ask(ctx context.Context, m M, scan *probes.Scan) (probes.Survey, error)
	// Learn notes what a member answered. sure: what the others answer can't change what this one is.
	Learn(m M, s probes.Survey, err error) (sure bool)
	// Settle decides whether a member is a node of the group. It comes after Learn, and where that was not sure, after all
	// of the wave have answered or had the time to.
	Settle(m M) bool
	// Announced opens the members that are not known yet, and gives them. It may wait for as long as grace.
	Announced(ctx context.Context, grace time.Duration) []M
	// End forgets members that left, when all have been asked.
	End()
}

// Begin marks that nobody has answered yet, and gives all members.
func (g *Members[M]) Begin() []M {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	for _, m := range g.All {
		m.base().Answered = false
	}
	return slices.Clone(g.All)
}

// SurveyAs asks the members known, then those that these announced, as long as new ones turn up. Each is visited once it
// is settled that it is a node of its own.
func (g *Members[M]) SurveyAs(
	ctx context.Context, t Topology[M], scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error),
) {
	grace := Grace // new addresses wait for the known members, but not long for one that hangs
	if d, ok := ctx.Deadline(); ok {
		grace = min(grace, time.Until(d)/4)
	}
	var visits sync.WaitGroup
	turns := make(turns, strangersAtOnce)
	wave := t.Begin()
	for asked := 0; len(wave) > 0 && asked < mostWaves; asked++ {
		var asking sync.WaitGroup
		asking.Add(len(wave))
		all := make(chan struct{}) // closed when the whole wave has answered
		for _, m := range g.reachedFirst(wave) {
			n := m.base().Node
			done := turns.take(ctx, m.base().reached)
			visits.Go(func() {
				defer done()
				s, err := g.ask(ctx, t, m, scanFor(n.Identity()))
				if !s.Unasked { // else its keys are what it is asked for
					done()
				}
				sure := t.Learn(m, s, err)
				asking.Done()
				if !sure {
					Await(all, grace)
				}
				if t.Settle(m) && g.admit(m, err) {
					visit(n, s, err)
				}
				m.base().reached = answers(n, &s, err)
			})
		}
		visits.Go(func() {
			asking.Wait()
			close(all)
		})
		Await(all, grace)
		wave = t.Announced(ctx, grace)
	}
	visits.Wait()
	t.End()
	g.Mu.Lock()
	g.end(g.Env.ForgetAfter)
	g.Mu.Unlock()
	g.surveyed.Store(true)
	g.closeLeft()
}

// turns of the members that did not answer when they were asked last; each in it is one of them.
type turns chan struct{}

// take waits until a member may be asked, or ctx ends, when asking costs nothing. done is to be called once it was, and may be again.
func (t turns) take(ctx context.Context, reached bool) (done func()) {
	if reached {
		return func() {}
	}
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return func() {}
	}
	end := sync.OnceFunc(func() { <-t })
	late := time.AfterFunc(longestTurn, end)
	return func() {
		late.Stop()
		end()
	}
}

// reachedFirst gives a wave with those in front that answered when they were asked last: they wait for nobody.
func (*Members[M]) reachedFirst(wave []M) []M {
	var reached, strangers []M
	for _, m := range wave {
		if m.base().reached {
			reached = append(reached, m)
		} else {
			strangers = append(strangers, m)
		}
	}
	return append(reached, strangers...)
}

// answers reports whether a member is reached that was surveyed, and read if it is a node.
func answers(n probes.Node, s *probes.Survey, err error) bool {
	if a, ok := n.(probes.Answerer); ok && s.Unasked {
		return a.Answered()
	}
	return err == nil
}

// ask a member; a candidate for a part of the time.
func (g *Members[M]) ask(ctx context.Context, t Topology[M], m M, scan *probes.Scan) (s probes.Survey, err error) {
	g.Mu.Lock()
	candidate := m.base().Candidate
	g.Mu.Unlock()
	guarded := func() (err error) {
		s, err = t.Ask(ctx, m, scan)
		return err
	}
	if !candidate {
		err = probes.Guarded(guarded)
		return s, err
	}
	longest := candidateTime
	if d, ok := ctx.Deadline(); ok {
		longest = min(longest, time.Until(d)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	err = probes.Guarded(guarded)
	return s, err
}

// Await waits until done is closed, but no longer than longest.
func Await(done <-chan struct{}, longest time.Duration) {
	t := time.NewTimer(longest)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}
