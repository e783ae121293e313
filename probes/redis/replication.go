package redis

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// replicationGroup is a primary and its replicas, found from seeds through what each says in INFO replication.
type replicationGroup struct {
	members
	// sentinels that give the seeds; nil: the configuration does.
	sentinels *sentinels
	// lineage holds the replication ids of the group's data, past ones too.
	lineage map[string]bool
}

func newReplicationGroup(id probes.Identity, c nodeConfig, expected int, env *probes.Env) (*replicationGroup, error) {
	g := &replicationGroup{members: newMembers(id, c, expected, env), lineage: map[string]bool{}}
	g.setSeeds(c.Replication)
	g.configured = true
	return g, g.openSeeds()
}

// Survey implements probes.Members.
func (g *replicationGroup) Survey(ctx context.Context, scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error)) {
	g.SurveyAs(ctx, g, scanFor, visit)
}

// Ask implements group.Topology.
func (g *replicationGroup) Ask(ctx context.Context, m *member, scan *probes.Scan) (probes.Survey, error) {
	s, err := m.server.Survey(ctx, scan)
	g.mark(m, &s, err)
	return s, err
}

// mostLineage is how many replication ids are remembered: each failover makes one.
const mostLineage = 1000

// Learn implements group.Topology.
func (g *replicationGroup) Learn(m *member, s probes.Survey, err error) (sure bool) {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	m.err = err
	if err != nil {
		return true
	}
	m.Survey, m.Answered, m.seen = s, true, time.Now()
	if r := s.Replication; r != nil && (g.isSeed(m) || s.Role == "primary" || g.lineage[r.ReplID] || g.lineage[r.ReplID2]) {
		if len(g.lineage) >= mostLineage {
			g.forgetLineage()
		}
		g.lineage[r.ReplID], g.lineage[r.ReplID2] = true, true
		delete(g.lineage, "")
	}
	return m.IsStill(&s) && !g.elsewhere(m)
}

// forgetLineage but for what members told last.
func (g *replicationGroup) forgetLineage() {
	past := g.lineage
	g.lineage = map[string]bool{}
	for _, m := range g.All {
		if r := m.Survey.Replication; r != nil && past[r.ReplID] {
			g.lineage[r.ReplID] = true
		}
	}
}

// elsewhere: a replica that follows a primary outside the group now, and holds that one's data.
func (g *replicationGroup) elsewhere(m *member) bool {
	r := m.Survey.Replication
	return m.Answered && m.Survey.Role == "replica" && r != nil && r.LinkUp && !g.isSeed(m) &&
		!g.lineage[r.ReplID] && !g.lineage[r.ReplID2] && !slices.ContainsFunc(r.Primaries, func(p probes.PrimaryLink) bool { return g.Find(p.Address) != nil })
}

// Settle implements group.Topology: a member is no node that is known by another name, or went elsewhere.
func (g *replicationGroup) Settle(m *member) bool {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	if !g.Identify(m) {
		return false
	}
	if g.elsewhere(m) {
		g.Env.Log.Info("a replica left the group for another primary", "group", g.ID.Name, "node", m.server.id.Name)
		g.Drop(m)
		return false
	}
	return true
}

// Announced implements group.Topology: it opens the addresses that members announce.
func (g *replicationGroup) Announced(context.Context, time.Duration) []*member {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	var found []*member
	for _, m := range slices.Clone(g.All) {
		r := m.Survey.Replication
		if !m.Answered || r == nil || g.elsewhere(m) {
			continue
		}
		announced := func(address string, down bool) {
			if k, isNew := g.discover(address, down); isNew {
				found = append(found, k)
			}
		}
		// A replica on its way elsewhere names its new primary before it holds that one's data.
		for _, p := range r.Primaries {
			if g.isSeed(m) || p.LinkUp {
				announced(p.Address, !p.LinkUp)
			}
		}
		for _, replica := range r.Replicas {
			announced(replica.Address, false)
		}
	}
	return found
}

// End implements group.Topology: it forgets members that no one has announced, and that have not answered, for too long. A
// primary lists the replicas that are connected: that one is not in a list does not say that it left.
func (g *replicationGroup) End() {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	for _, m := range g.All {
		m.announced = m.named && !m.down
	}
	g.forget()
}

// Group implements probes.Members.
func (g *replicationGroup) Group() (probes.NodeGroup, bool) {
	out := g.Known()
	out.Replication = true
	return out, true
}

// activeReplica gives a replica that takes writes and answered; nil: there is none.
func (g *replicationGroup) activeReplica() *member {
	for _, m := range g.All {
		if m.err == nil && m.Survey.Active {
			return m
		}
	}
	return nil
}

// Do implements commander, on the primary as last surveyed, one that answered then if there is one.
func (g *replicationGroup) Do(ctx context.Context, use func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error)) error {
	g.Mu.Lock()
	primary := g.primary()
	g.Mu.Unlock()
	if primary == nil {
		return errNoMember
	}
	return primary.server.Do(ctx, use)
}

var errNoMember = errors.New("the group has no member")

// primary as last surveyed, one that answered then if there is one; nil: there is no member. The caller holds Mu.
func (g *replicationGroup) primary() *member {
	var primary *member
	for _, m := range g.All {
		if m.Survey.Role == "primary" && (primary == nil || primary.err != nil && m.err == nil) {
			primary = m
		}
	}
	if primary == nil {
		primary = g.activeReplica()
	}
	if primary == nil && len(g.All) > 0 {
		primary = g.All[0] // nobody has answered as a primary yet
	}
	return primary
}
