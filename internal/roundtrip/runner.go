// Package roundtrip runs round trips, which the configuration calls invalidation probes: it writes keys of its own on the
// nodes, publishes their invalidation as the application does, and watches how long each node still serves the old version.
//
// [Start] gives a [Runner], which plays a round of each configured round trip in its interval until it is closed. What came of
// each node goes to an [Observer].
package roundtrip

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// surveyEvery is how often the nodes are asked who they are; surveyAgain how soon after one that proved outdated.
	surveyEvery = 10 * time.Second
	surveyAgain = time.Second
	// surveyLongest bounds one survey, and firstSurvey how long the first rounds wait for theirs.
	surveyLongest = 5 * time.Second
	firstSurvey   = time.Second
	// setupLongest is how long a node may need to be written, and then again a replica to follow.
	setupLongest = 2 * time.Second
	// sweepLongest is how long keys that are still there may take to be deleted.
	sweepLongest = time.Second
	// keptBeyond is how much longer than two timeouts a key may stay behind after a crash.
	keptBeyond = 10 * time.Second
)

// Reason why a round trip failed on a node.
type Reason string

// The reasons.
const (
	// Lost is a round trip whose node still served the old version after the timeout.
	Lost Reason = "lost"
	// Publish is one whose message could not be published.
	Publish Reason = "publish"
	// Setup is one whose node could not be written, or not be asked any more.
	Setup Reason = "setup"
)

// Observer is told what comes of round trips, from several goroutines. name is that of the round trip.
type Observer interface {
	// Nodes are those that a round trip watches, each time that it is known anew. all: there are no others; before the first
	// survey groups may have some that are not known yet.
	Nodes(name string, nodes []probes.Identity, all bool)
	// Sent: the message was published, and the node held the old version then. It is told with what came of it, Gone or
	// Failed, which follows at once; a round trip that Close cuts off before is not told at all.
	Sent(name string, node probes.Identity)
	// Gone: the node no longer served the old version this long after the publishing began.
	Gone(name string, node probes.Identity, after time.Duration)
	// Failed with a reason; timeout is the round trip's. err says why it could not be published or set up; nil: it was lost.
	Failed(name string, node probes.Identity, reason Reason, timeout time.Duration, err error)
}

// Runner runs the round trips of one configuration until Close.
type Runner struct {
	observer   Observer
	log        *slog.Logger
	fleet      *probes.Fleet
	roundTrips []*roundTrip
	// instance is in all ids, so that no two runners have a key in common.
	instance string

	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup
	outdate chan struct{}
	// settled is closed after the first survey.
	settled chan struct{}

	mu    sync.Mutex
	nodes map[string]*watchedNode
}

// roundTrip is one that is configured.
type roundTrip struct {
	config.RoundTrip
	publisher probes.Publisher
	round     uint64 // belongs to the goroutine that begins rounds
	slots     chan struct{}
	told      failures
}

// Start the round trips of cfg, with connections of their own to the nodes that they need; nil where there are none. What they
// share with the rest of the process is in env.
func Start(cfg *config.Config, env *probes.Env, observer Observer) (*Runner, error) {
	if len(cfg.RoundTrips) == 0 {
		return nil, nil
	}
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails
	r := &Runner{
		observer: observer, log: env.Log, instance: hex.EncodeToString(id[:]), nodes: map[string]*watchedNode{},
		outdate: make(chan struct{}, 1), settled: make(chan struct{}),
	}
	r.life, r.end = context.WithCancel(context.Background())
	fleet, err := needed(cfg).OpenFleet(env)
	if err != nil {
		return nil, err
	}
	r.fleet = fleet
	for _, c := range cfg.RoundTrips {
		p := &roundTrip{RoundTrip: c, slots: make(chan struct{}, mostRounds(c)), told: failures{by: map[string]Reason{}}}
		if p.publisher, err = c.Publish.Open(fleet, env); err != nil {
			r.Close()
			return nil, fmt.Errorf("probe %s: publish: %w", c.Name, err)
		}
		r.roundTrips = append(r.roundTrips, p)
	}
	for _, n := range fleet.Nodes() {
		r.learn(n, probes.Survey{}, errNotAsked)
	}
	r.announce(false)
	r.running.Go(r.follow)
	for _, p := range r.roundTrips {
		r.running.Go(func() { r.run(p) })
	}
	return r, nil
}

// mostRounds that may be under way: those of a timeout, and those that are set up or cleaned up beside them.
func mostRounds(c config.RoundTrip) int {
	return int((c.Timeout+2*setupLongest+2*lookLongest+sweepLongest)/c.Interval) + 3
}

// needed is the part of a configuration that the round trips use.
func needed(cfg *config.Config) *config.Config {
	out := &config.Config{}
	for _, l := range cfg.Layers {
		covered := slices.ContainsFunc(cfg.RoundTrips, func(p config.RoundTrip) bool { return slices.Contains(p.Layers, l.Name) })
		if !covered {
			l.Nodes = slices.DeleteFunc(slices.Clone(l.Nodes), func(n config.Node) bool {
				return !slices.ContainsFunc(cfg.RoundTrips, func(p config.RoundTrip) bool { return p.Publish.On() == n.Name })
			})
		}
		out.Layers = append(out.Layers, l)
	}
	return out
}

// Close ends all round trips and deletes their keys. What is under way then is counted as nothing.
func (r *Runner) Close() {
	r.end()
	r.running.Wait()
	for _, p := range r.roundTrips {
		p.publisher.Close()
	}
	r.fleet.Close()
}

// run begins a round at every interval.
func (r *Runner) run(p *roundTrip) {
	first := time.NewTimer(firstSurvey)
	defer first.Stop()
	select {
	case <-r.settled:
	case <-first.C:
	case <-r.life.Done():
		return
	}
	tick := time.NewTicker(p.Interval)
	defer tick.Stop()
	for {
		p.round++
		select {
		case p.slots <- struct{}{}:
			id := fmt.Sprintf("%s-%d", r.instance, p.round)
			r.running.Go(func() {
				defer func() { <-p.slots }()
				r.play(p, id)
			})
		default:
			r.log.Warn("an invalidation probe did not begin: too many are under way", "probe", p.Name)
		}
		select {
		case <-tick.C:
		case <-r.life.Done():
			return
		}
		if r.life.Err() != nil {
			return
		}
	}
}

// follow asks the nodes who they are.
func (r *Runner) follow() {
	for first := true; ; first = false {
		r.survey()
		if first {
			close(r.settled)
		}
		if !pause.For(r.life, surveyAgain) {
			return
		}
		next := time.NewTimer(surveyEvery - surveyAgain)
		select {
		case <-next.C:
		case <-r.outdate:
		case <-r.life.Done():
		}
		next.Stop()
		if r.life.Err() != nil {
			return
		}
	}
}

func (r *Runner) survey() {
	ctx, cancel := context.WithTimeout(r.life, surveyLongest)
	defer cancel()
	r.fleet.Survey(ctx, func(probes.Identity) *probes.Scan { return nil }, r.learn)
	there := map[string]bool{}
	for _, n := range r.fleet.Nodes() {
		there[n.Identity().Name] = true
	}
	r.mu.Lock()
	for name := range r.nodes {
		if !there[name] {
			delete(r.nodes, name)
		}
	}
	r.mu.Unlock()
	if r.life.Err() == nil {
		r.announce(true)
	}
}

// errNotAsked stands for the survey that is still to come.
var errNotAsked = fmt.Errorf("not asked yet")

// learn what a node told. One that did not answer keeps the role that it had.
func (r *Runner) learn(n probes.Node, s probes.Survey, err error) {
	d, ok := n.(probes.Writable)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	name := n.Identity().Name
	known := r.nodes[name]
	if known == nil || known.Writable != d {
		known = newNode(r, d)
		r.nodes[name] = known
	}
	if err == nil {
		known.replica.Store(s.Follows())
	}
}

// announce the nodes of each round trip.
func (r *Runner) announce(all bool) {
	for _, p := range r.roundTrips {
		var ids []probes.Identity
		for _, n := range r.of(p) {
			ids = append(ids, n.Identity())
		}
		r.observer.Nodes(p.Name, ids, all)
	}
}

// of gives the nodes of a round trip's layers, by name.
func (r *Runner) of(p *roundTrip) []*watchedNode {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*watchedNode
	for _, n := range r.nodes {
		if slices.Contains(p.Layers, n.Identity().Layer) {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, compareNames)
	return out
}

// outdated has the nodes asked who they are soon.
func (r *Runner) outdated() {
	select {
	case r.outdate <- struct{}{}:
	default:
	}
}

// failures of a round trip, so that the log tells of changes alone.
type failures struct {
	mu sync.Mutex
	by map[string]Reason
}

// change notes how it ended on a node; true: it is another than the last.
func (f *failures) change(node string, now Reason) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.by[node]
	f.by[node] = now
	return before != now
}
