package redis

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/group"
)

// all is the members of a group of Redis servers: their names, and which of them are one.
type members struct {
	id       probes.Identity // the group's layer and name
	expected int             // min_nodes
	config   nodeConfig
	opt      *probes.Env
	log      *slog.Logger
	// wrap makes a group's own node of a member; nil: it is its node.
	wrap func(*member) probes.Node

	mu sync.Mutex
	// seeds are addresses that belong to the group whatever its members say.
	seeds []string
	all   []*member // in the order in which they were found
	// aliases are addresses of members that are known by another name.
	aliases map[string]*member
	// left are nodes to close at the end of the survey.
	left []*node
	// bad addresses can't be asked at all.
	bad map[string]bool
}

type member struct {
	node *node
	// face is what the fleet sees.
	face probes.Node
	// run is the run_id under which this member became a node of its own.
	run string
	// seen is when it last answered, or was last announced by one that did.
	seen time.Time
	// survey is the last one answered; answered and err are of the survey under way.
	survey   probes.Survey
	answered bool
	err      error
	// view is a Cluster's as this member last told it, and refused what it said instead.
	view    *clusterView
	refused string
	// asked is closed once the member has answered, or failed to, in the survey under way.
	asked chan struct{}
}

func newMembers(id probes.Identity, c nodeConfig, expected int, opt *probes.Env, log *slog.Logger) members {
	return members{id: id, expected: expected, config: c, opt: opt, log: log, aliases: map[string]*member{}, bad: map[string]bool{}}
}

// openSeeds opens the members that are not known yet.
func (r *members) openSeeds() error {
	for _, seed := range r.seeds {
		if r.find(seed) != nil {
			continue
		}
		if _, err := r.open(seed); err != nil {
			return err
		}
	}
	return nil
}

// open adds the member GROUP/HOST:PORT; nothing is asked yet.
func (r *members) open(address string) (*member, error) {
	c := r.config
	c.Address = address
	n, err := newNode(group.MemberIdentity(r.id, address), c, r.opt)
	if err != nil {
		return nil, err
	}
	m := &member{node: n, face: n, seen: time.Now(), asked: make(chan struct{})}
	if r.wrap != nil {
		m.face = r.wrap(m)
	}
	r.all = append(r.all, m)
	return m, nil
}

// discover gives the member at an address, or opens it: found is then true.
func (r *members) discover(address string) (m *member, found bool) {
	if m := r.find(address); m != nil {
		m.seen = time.Now()
		return m, false
	}
	if r.bad[address] {
		return nil, false
	}
	m, err := r.open(address)
	if err != nil {
		r.log.Warn("a member of the group can't be asked", "group", r.id.Name, "address", address, "err", err)
		r.bad[address] = true
		return nil, false
	}
	return m, true
}

// find gives the member at an address, also under another name.
func (r *members) find(address string) *member {
	for _, m := range r.all {
		if m.node.url.Addr == address {
			return m
		}
	}
	return r.aliases[address]
}

// rooted: a seed is one of this member's addresses.
func (r *members) rooted(m *member) bool {
	return slices.ContainsFunc(r.seeds, func(seed string) bool { return r.find(seed) == m })
}

// same finds the member that holds m's run_id by right: it had it first, or was found first.
func (r *members) same(m *member, run string) *member {
	return group.Holder(r.all, m, func(k *member) (own, told bool) { return k.run == run, k.answered && k.survey.RunID == run })
}

// identify gives a member that answered its name; false: it is known by another one.
func (r *members) identify(m *member) bool {
	run := m.survey.RunID
	if run == "" || m.run == run {
		return true
	}
	if other := r.same(m, run); other != nil {
		r.drop(m)
		r.aliases[m.node.url.Addr] = other
		return false
	}
	if m.run != "" { // another process: what was known of its addresses was the old one's
		r.free(m)
	}
	m.run = run
	return true
}

// free the other addresses of a member: if something announces them, they are asked.
func (r *members) free(m *member) {
	for a, k := range r.aliases {
		if k == m {
			delete(r.aliases, a)
		}
	}
}

// drop takes a member out, and frees its other addresses.
func (r *members) drop(m *member) {
	r.all = slices.DeleteFunc(r.all, func(k *member) bool { return k == m })
	r.free(m)
	r.left = append(r.left, m.node)
}

// begin gives the members to ask; a seed whose node was forgotten under another name is asked again.
func (r *members) begin() []*member {
	_ = r.openSeeds() // they could be opened before
	for _, m := range r.all {
		m.answered, m.asked = false, make(chan struct{})
	}
	return slices.Clone(r.all)
}

// topology is a kind of group, as its roster's survey asks it.
type topology interface {
	// begin gives the members to ask first.
	begin() []*member
	// ask one.
	ask(ctx context.Context, m *member, scan *probes.Scan) (probes.Survey, error)
	// learn notes what a member answered. sure: what the others answer can't change what this one is.
	learn(m *member, s probes.Survey, err error) (sure bool)
	// settle decides whether a member is a node of the group.
	settle(m *member) bool
	// announced opens the members that are not known yet.
	announced(ctx context.Context, grace time.Duration) []*member
	// end forgets members that left.
	end()
}

// surveyAs asks the members known, then those that these announced, as long as new ones turn up.
func (r *members) surveyAs(ctx context.Context, p topology, scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error)) {
	grace := group.Grace // new addresses wait for the known members, but not long for one that hangs
	if d, ok := ctx.Deadline(); ok {
		grace = min(grace, time.Until(d)/4)
	}
	var visits sync.WaitGroup
	for wave := p.begin(); len(wave) > 0; wave = p.announced(ctx, grace) {
		var asking sync.WaitGroup
		asking.Add(len(wave))
		all := make(chan struct{})
		for _, m := range wave {
			visits.Go(func() {
				s, err := p.ask(ctx, m, scanFor(m.node.id))
				sure := p.learn(m, s, err)
				close(m.asked)
				asking.Done()
				if !sure {
					group.Await(all, grace)
				}
				if p.settle(m) {
					visit(m.face, s, err)
				}
			})
		}
		visits.Go(func() {
			asking.Wait()
			close(all)
		})
		group.Await(all, grace)
	}
	visits.Wait()
	p.end()
}

// closeLeft closes the nodes that left.
func (r *members) closeLeft() {
	r.mu.Lock()
	left := r.left
	r.left = nil
	r.mu.Unlock()
	for _, n := range left {
		n.Close()
	}
}

// known gives the group as known now.
func (r *members) known() probes.Group {
	out := probes.Group{Layer: r.id.Layer, Name: r.id.Name, Expected: r.expected}
	for _, n := range r.Nodes() {
		out.Nodes = append(out.Nodes, n.Identity().Name)
	}
	return out
}

// Nodes implements Members.
func (r *members) Nodes() []probes.Node {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]probes.Node, 0, len(r.all))
	for _, m := range r.all {
		out = append(out, m.face)
	}
	return out
}

// Close implements Members.
func (r *members) Close() {
	for _, n := range r.Nodes() {
		n.Close()
	}
}
