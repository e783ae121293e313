package redis

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// replicationGroup is a primary and its replicas, found from seeds through what each says in INFO replication.
type replicationGroup struct {
	members
	// sentinels, if any, tell the seeds.
	sentinels *sentinels
	// lineage holds the replication ids of the group's data, past ones too.
	lineage map[string]bool
}

func newReplicationGroup(id probes.Identity, c nodeConfig, expected int, opt *probes.Env, log *slog.Logger) (*replicationGroup, error) {
	g := &replicationGroup{members: newMembers(id, c, expected, opt, log), lineage: map[string]bool{}}
	g.seeds = c.Replication
	return g, g.openSeeds()
}

// Survey implements Members.
func (g *replicationGroup) Survey(ctx context.Context, scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error)) {
	g.surveyAs(ctx, g, scanFor, visit)
	g.closeLeft()
}

func (g *replicationGroup) begin() []*member {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.members.begin()
}

func (g *replicationGroup) ask(ctx context.Context, m *member, scan *probes.Scan) (probes.Survey, error) {
	return m.node.Survey(ctx, scan)
}

// learn notes what a member answered. sure: what the others answer can't change what this one is.
func (g *replicationGroup) learn(m *member, s probes.Survey, err error) (sure bool) {
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
	if !slices.Contains(g.all, m) {
		return false
	}
	if !m.answered {
		return true
	}
	if !g.identify(m) {
		return false
	}
	if g.elsewhere(m) {
		g.log.Info("a replica left the group for another primary", "group", g.id.Name, "node", m.node.id.Name)
		g.drop(m)
		return false
	}
	return true
}

// announced opens the addresses that members announce and that are not known yet.
func (g *replicationGroup) announced(context.Context, time.Duration) []*member {
	g.mu.Lock()
	defer g.mu.Unlock()
	var found []*member
	for _, m := range slices.Clone(g.all) {
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
			if k, isNew := g.discover(a); isNew {
				found = append(found, k)
			}
		}
	}
	return found
}

// end forgets members that nobody has heard of for too long.
func (g *replicationGroup) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range slices.Clone(g.all) {
		if !m.answered && !g.rooted(m) && time.Since(m.seen) > g.opt.ForgetAfter {
			g.drop(m)
		}
	}
}

// Group implements Members.
func (g *replicationGroup) Group() (probes.Group, bool) {
	out := g.members.known()
	out.Replication = true
	return out, true
}

// Do implements RedisServer on the primary as last surveyed, one that answered then if there is one.
func (g *replicationGroup) Do(ctx context.Context, use func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error)) error {
	g.mu.Lock()
	var primary *member
	for _, m := range g.all {
		if m.survey.Role == "primary" && (primary == nil || primary.err != nil && m.err == nil) {
			primary = m
		}
	}
	if primary == nil && len(g.all) > 0 {
		primary = g.all[0] // nobody has answered as a primary yet
	}
	g.mu.Unlock()
	if primary == nil {
		return errors.New("the group has no member")
	}
	return primary.node.Do(ctx, use)
}
