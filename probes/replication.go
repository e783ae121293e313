package probes

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// memberGrace is how long new members wait for the others to say who they are.
const memberGrace = time.Second

// replicationGroup is a primary and its replicas, found from seeds through what each says in INFO replication.
type replicationGroup struct {
	id     Identity // the group's layer and name
	config config.Redis
	opt    Options
	log    *slog.Logger

	mu      sync.Mutex
	members []*member // in the order in which they were found
	// aliases are addresses of members that are known by another name.
	aliases map[string]*member
	// lineage holds the replication ids of the group's data, past ones too.
	lineage map[string]bool
	// left are nodes to close at the end of the survey.
	left []*redisNode
	// bad addresses can't be asked at all.
	bad map[string]bool
}

type member struct {
	node *redisNode
	seed bool
	// run is the run_id under which this member became a node of its own.
	run string
	// seen is when it last answered, or was last announced by one that did.
	seen time.Time
	// survey is the last one answered; answered and err are of the survey under way.
	survey   Survey
	answered bool
	err      error
}

func newReplicationGroup(id Identity, c config.Redis, opt Options, log *slog.Logger) (*replicationGroup, error) {
	g := &replicationGroup{
		id: id, config: c, opt: opt, log: log,
		aliases: map[string]*member{}, lineage: map[string]bool{}, bad: map[string]bool{},
	}
	for _, seed := range c.Replication {
		if g.find(seed) != nil {
			continue
		}
		if _, err := g.open(seed); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// open adds the member GROUP/HOST:PORT; nothing is asked yet.
func (g *replicationGroup) open(address string) (*member, error) {
	c := g.config
	c.Address = address
	n, err := newRedisNode(Identity{Layer: g.id.Layer, Name: g.id.Name + "/" + address, Kind: "redis", Group: g.id.Name}, c, g.opt)
	if err != nil {
		return nil, err
	}
	m := &member{node: n, seed: slices.Contains(g.config.Replication, address), seen: time.Now()}
	g.members = append(g.members, m)
	return m, nil
}

// find gives the member at an address, also under another name.
func (g *replicationGroup) find(address string) *member {
	for _, m := range g.members {
		if m.node.url.Addr == address {
			return m
		}
	}
	return g.aliases[address]
}

// survey asks the members known, then those that these announced, as long as new ones turn up.
func (g *replicationGroup) survey(ctx context.Context, scanFor func(Identity) *Scan, visit func(Node, Survey, error)) {
	grace := memberGrace // new addresses wait for the known members, but not long for one that hangs
	if d, ok := ctx.Deadline(); ok {
		grace = min(grace, time.Until(d)/4)
	}
	var visits sync.WaitGroup
	for wave := g.begin(); len(wave) > 0; wave = g.announced() {
		var asking sync.WaitGroup
		asking.Add(len(wave))
		all := make(chan struct{})
		for _, m := range wave {
			visits.Go(func() {
				s, err := m.node.Survey(ctx, scanFor(m.node.id))
				sure := g.learn(m, s, err)
				asking.Done()
				if !sure {
					await(all, grace)
				}
				if g.settle(m) {
					visit(m.node, s, err)
				}
			})
		}
		visits.Go(func() {
			asking.Wait()
			close(all)
		})
		await(all, grace)
	}
	visits.Wait()
	g.end()
}

func await(all <-chan struct{}, longest time.Duration) {
	t := time.NewTimer(longest)
	defer t.Stop()
	select {
	case <-all:
	case <-t.C:
	}
}

// begin gives the members to ask; a seed whose node was forgotten under another name is asked again.
func (g *replicationGroup) begin() []*member {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, seed := range g.config.Replication {
		if g.find(seed) == nil {
			_, _ = g.open(seed) // it could be opened before
		}
	}
	for _, m := range g.members {
		m.answered = false
	}
	return slices.Clone(g.members)
}

// learn notes what a member answered. sure: what the others answer can't change what this one is.
func (g *replicationGroup) learn(m *member, s Survey, err error) (sure bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m.err = err
	if err != nil {
		return true
	}
	m.survey, m.answered, m.seen = s, true, time.Now()
	if r := s.Replication; r != nil && (g.rooted(m) || s.Role == "primary" || g.lineage[r.ReplID] || g.lineage[r.ReplID2]) {
		g.lineage[r.ReplID], g.lineage[r.ReplID2] = true, true
		delete(g.lineage, "")
	}
	return m.run != "" && m.run == s.RunID && !g.elsewhere(m)
}

// rooted: the configuration itself names this member, by one of its addresses.
func (g *replicationGroup) rooted(m *member) bool {
	if m.seed {
		return true
	}
	for _, seed := range g.config.Replication {
		if g.aliases[seed] == m {
			return true
		}
	}
	return false
}

// elsewhere: a replica that follows a primary outside the group now, and holds that one's data.
func (g *replicationGroup) elsewhere(m *member) bool {
	r := m.survey.Replication
	return m.answered && m.survey.Role == "replica" && r != nil && r.LinkUp && !g.rooted(m) &&
		!g.lineage[r.ReplID] && !g.lineage[r.ReplID2] && g.find(r.Primary) == nil
}

// settle decides whether a member is a node of the group; false: it is known by another name, or went elsewhere.
func (g *replicationGroup) settle(m *member) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Contains(g.members, m) {
		return false
	}
	if !m.answered {
		return true
	}
	if run := m.survey.RunID; run != "" && m.run != run {
		if other := g.same(m, run); other != nil {
			g.drop(m)
			g.aliases[m.node.url.Addr] = other
			return false
		}
		m.run = run
	}
	if g.elsewhere(m) {
		g.log.Info("a replica left the group for another primary", "group", g.id.Name, "node", m.node.id.Name)
		g.drop(m)
		return false
	}
	return true
}

// same finds the member that holds m's run_id by right: it had it first, or was found first.
func (g *replicationGroup) same(m *member, run string) *member {
	var before *member
	past := false
	for _, k := range g.members {
		switch {
		case k == m:
			past = true
		case k.run == run:
			return k
		case !past && before == nil && k.answered && k.survey.RunID == run:
			before = k
		}
	}
	return before
}

// drop takes a member out. Its other addresses are free again: if something announces them, they are asked.
func (g *replicationGroup) drop(m *member) {
	g.members = slices.DeleteFunc(g.members, func(k *member) bool { return k == m })
	for a, k := range g.aliases {
		if k == m {
			delete(g.aliases, a)
		}
	}
	g.left = append(g.left, m.node)
}

// announced opens the addresses that members announce and that are not known yet.
func (g *replicationGroup) announced() []*member {
	g.mu.Lock()
	defer g.mu.Unlock()
	var found []*member
	for _, m := range slices.Clone(g.members) {
		r := m.survey.Replication
		if !m.answered || r == nil || g.elsewhere(m) {
			continue
		}
		var addresses []string
		// A replica on its way elsewhere names its new primary before it holds that one's data.
		if r.Primary != "" && (g.rooted(m) || r.LinkUp) {
			addresses = append(addresses, r.Primary)
		}
		for _, replica := range r.Replicas {
			addresses = append(addresses, replica.Address)
		}
		for _, a := range addresses {
			if k := g.find(a); k != nil {
				k.seen = time.Now()
				continue
			}
			if g.bad[a] {
				continue
			}
			k, err := g.open(a)
			if err != nil {
				g.log.Warn("a member of the group can't be asked", "group", g.id.Name, "address", a, "err", err)
				g.bad[a] = true
				continue
			}
			found = append(found, k)
		}
	}
	return found
}

// end forgets members that nobody has heard of for too long, and closes what left.
func (g *replicationGroup) end() {
	g.mu.Lock()
	for _, m := range slices.Clone(g.members) {
		if !m.answered && !g.rooted(m) && time.Since(m.seen) > g.opt.ForgetAfter {
			g.drop(m)
		}
	}
	left := g.left
	g.left = nil
	g.mu.Unlock()
	for _, n := range left {
		n.Close()
	}
}

func (g *replicationGroup) group() Group {
	out := Group{Layer: g.id.Layer, Name: g.id.Name}
	for _, n := range g.nodes() {
		out.Nodes = append(out.Nodes, n.Identity().Name)
	}
	return out
}

func (g *replicationGroup) nodes() []Node {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Node, 0, len(g.members))
	for _, m := range g.members {
		out = append(out, m.node)
	}
	return out
}

// Do implements RedisServer on the primary as last surveyed, one that answered then if there is one.
func (g *replicationGroup) Do(ctx context.Context, use func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error)) error {
	g.mu.Lock()
	var primary *member
	for _, m := range g.members {
		if m.survey.Role == "primary" && (primary == nil || primary.err != nil && m.err == nil) {
			primary = m
		}
	}
	if primary == nil && len(g.members) > 0 {
		primary = g.members[0] // nobody has answered as a primary yet
	}
	g.mu.Unlock()
	if primary == nil {
		return errors.New("the group has no member")
	}
	return primary.node.Do(ctx, use)
}
