package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/group"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// clusterGroup is a Redis Cluster: every shard's primary and replicas, found from seeds through what the nodes announce.
type clusterGroup struct {
	members
	// known is closed once any node has reported its view.
	known chan struct{}
	// best is the view that counts for what others did not report; of the last survey in which any node reported one. nil:
	// none ever did.
	best *clusterView
	// views are what the nodes tell, those that are alike once.
	views *clusterViews
	// moving slots, as reported in the survey under way.
	moving map[int]bool
	// owners and moves by slot, since the process began. An owner is a primary's id.
	owners []string
	moves  []int
	// followed are the primaries that nodes replicate, by id, and replicated before they took over.
	followed map[string]string
	// primaryWait is how long a replica waits in this survey for its primary's answer.
	primaryWait time.Duration
	// reported is what Group gives of the Cluster; of the last survey.
	reported probes.Cluster
	// skipped parts of views that were logged.
	skipped map[string]bool
	// unaddressed are the ids of nodes that others know and whose address nobody tells; lost: of those that own slots.
	unaddressed, lost []string
	// collision of epochs that was logged last; empty: none.
	collision string
}

// mostSkippedLogged parts of views are logged.
const mostSkippedLogged = 100

func newClusterGroup(id probes.Identity, c nodeConfig, expected int, env *probes.Env) (*clusterGroup, error) {
	g := &clusterGroup{
		members: newMembers(id, c, expected, env), known: make(chan struct{}), views: newClusterViews(),
		owners: make([]string, clusterSlots), moves: make([]int, clusterSlots),
		moving: map[int]bool{}, followed: map[string]string{}, skipped: map[string]bool{},
	}
	g.setSeeds(c.Cluster)
	g.configured = true
	g.wrap = func(m *member) probes.Node {
		m.server.cluster, m.server.views, m.done = true, g.views, make(chan struct{})
		return &clusterNode{node: m.server, group: g, member: m}
	}
	return g, g.openSeeds()
}

// Survey implements probes.Members.
func (g *clusterGroup) Survey(ctx context.Context, scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error)) {
	g.primaryWait = group.Grace / 2
	if d, ok := ctx.Deadline(); ok {
		g.primaryWait = min(g.primaryWait, time.Until(d)/8)
	}
	g.SurveyAs(ctx, g, scanFor, visit)
}

// Begin implements group.Topology.
func (g *clusterGroup) Begin() []*member {
	all := g.members.Begin()
	g.Mu.Lock()
	defer g.Mu.Unlock()
	clear(g.moving)
	for _, m := range all {
		m.done = make(chan struct{})
	}
	return all
}

// Ask implements group.Topology: it asks a member for its view too.
func (g *clusterGroup) Ask(ctx context.Context, m *member, scan *probes.Scan) (probes.Survey, error) {
	s, view, refused, err := m.server.surveyCluster(ctx, scan)
	if err != nil {
		g.mark(m, &s, err)
		return s, err
	}
	g.Mu.Lock()
	defer g.Mu.Unlock()
	if refused != nil && m.refused == "" {
		g.Env.Log.Warn("a node does not tell its Cluster", "group", g.ID.Name, "node", m.server.id.Name, "err", refused)
	}
	if view != nil {
		g.logSkipped(m, view)
	}
	m.view, m.refused = view, ""
	if refused != nil {
		m.refused = refused.Error()
	}
	return s, nil
}

// logSkipped logs once what of a node's view can't be read.
func (g *clusterGroup) logSkipped(m *member, v *clusterView) {
	for _, what := range v.skipped {
		if len(g.skipped) == mostSkippedLogged || g.skipped[what] {
			continue
		}
		g.skipped[what] = true
		g.Env.Log.Warn("a part of a node's CLUSTER NODES can't be read, and is left out", "group", g.ID.Name, "node", m.server.id.Name, "part", what)
	}
}

// Learn implements group.Topology.
func (g *clusterGroup) Learn(m *member, s probes.Survey, err error) (sure bool) {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	defer close(m.done)
	if m.err = err; err != nil {
		return g.best != nil // the others tell what it should hold
	}
	m.Survey, m.Answered, m.seen = s, true, time.Now()
	if v := m.view; v != nil {
		g.foundAt(m, v.address)
		for slot := range v.moving {
			g.moving[slot] = true
		}
	}
	g.chooseView()
	return m.IsStill(&s)
}

// foundAt notes the address at which a member says that it is: it need not be asked there too.
func (g *clusterGroup) foundAt(m *member, address string) {
	if address == "" {
		return
	}
	if other := g.Find(address); other != nil && other != m && other.Candidate && !g.isSeed(other) {
		g.Drop(other)
	}
	if g.Find(address) == nil {
		g.Alias(address, m)
	}
}

// chooseView sets best: of the views reported in this survey the one with the highest epoch, from a node for which all is in
// order, if there is one, and of which all could be read.
func (g *clusterGroup) chooseView() {
	var best *clusterView
	for _, m := range g.All {
		v := m.view
		if !m.Answered || v == nil {
			continue
		}
		if best == nil || v.betterThan(best) {
			best = v
		}
	}
	if best == nil {
		return
	}
	if g.best == nil {
		close(g.known)
	}
	g.best = best
}

// Settle implements group.Topology. A replica waits for its primary, which knows what the replica does not: which slots
// are moving.
func (g *clusterGroup) Settle(m *member) bool {
	g.Mu.Lock()
	if !g.Identify(m) {
		g.Mu.Unlock()
		return false
	}
	answered := g.primaryAnswered(m)
	g.Mu.Unlock()
	if answered != nil {
		group.Await(answered, g.primaryWait)
	}
	return true
}

// primaryAnswered gives a channel that is closed when a replica's primary has answered in this survey, or failed to; nil:
// there is nothing to wait for.
func (g *clusterGroup) primaryAnswered(m *member) <-chan struct{} {
	if !m.Answered || m.view == nil || m.view.primary {
		return nil
	}
	if primary := g.byID(m.view.shard(m.view.myself)); primary != nil {
		return primary.done
	}
	return nil
}

// byID gives the member that a node's id belongs to.
func (g *clusterGroup) byID(id string) *member {
	if id == "" {
		return nil
	}
	for _, m := range g.All {
		if m.view != nil && m.view.myself == id {
			return m
		}
	}
	if g.best != nil {
		return g.Find(g.best.nodes[id].address)
	}
	return nil
}

// toldMap is what nodes tell of each other. teller is the id of the only one that tells it, which says nothing of itself; empty where
// several do.
type toldMap struct {
	*clusterMap
	teller string
}

// told are the maps of the members that answered and whose view counts, each once; the largest come last, so that one node that
// tells of very many leaves room for what the others tell.
func (g *clusterGroup) told(counts func(*clusterView) bool) []toldMap {
	at := map[*clusterMap]int{}
	var out []toldMap
	for _, m := range g.All {
		if !m.Answered || m.view == nil || !counts(m.view) {
			continue
		}
		if i, known := at[m.view.clusterMap]; known {
			out[i].teller = ""
			continue
		}
		at[m.view.clusterMap] = len(out)
		out = append(out, toldMap{m.view.clusterMap, m.view.myself})
	}
	slices.SortStableFunc(out, func(a, b toldMap) int { return cmp.Compare(len(a.nodes), len(b.nodes)) })
	return out
}

func anyView(*clusterView) bool { return true }

// Announced implements group.Topology: it opens the nodes that members know.
func (g *clusterGroup) Announced(context.Context, time.Duration) []*member {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	var found []*member
	for _, t := range g.told(anyView) {
		for id, n := range t.nodes {
			if n.address == "" || id == t.teller {
				continue
			}
			k, isNew := g.discover(n.address, n.failed)
			if isNew {
				found = append(found, k)
			}
			if k != nil && n.primary && t.owning[id] {
				k.Candidate = false // without it there are keys that nobody looks at
			}
		}
	}
	return found
}

// End implements group.Topology: it notes who owns which slots, and forgets members that left, at once where no node
// knows them any more.
func (g *clusterGroup) End() {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	g.countMoves()
	reporting := g.told(func(v *clusterView) bool { return v.ok || v.mute })
	listed, reported := map[*member]bool{}, len(reporting) > 0
	for _, t := range reporting {
		for id, n := range t.nodes {
			if id != t.teller {
				listed[g.Find(n.address)] = true
			}
		}
	}
	delete(listed, nil)
	used := map[*clusterMap]bool{}
	for _, t := range g.told(anyView) {
		used[t.clusterMap] = true
		if len(t.skipped) > 0 {
			reported = false // who is not listed may be in what can't be read
		}
	}
	for _, m := range slices.Clone(g.All) {
		switch {
		case g.isSeed(m), listed[m], m.Answered && m.Survey.Role == "primary":
		case reported && len(listed) > 0:
			g.Drop(m)
		}
	}
	g.forget()
	g.judge()
	g.noteUnaddressed()
	g.reported = g.summarize(listed)
	if g.best != nil {
		used[g.best.clusterMap] = true
	}
	g.views.keep(used)
}

// clusterNode is one server of a Cluster.
type clusterNode struct {
	*node
	group  *clusterGroup
	member *member
}

// Place implements probes.Placer. A node that answered is taken at its word, so that two primaries that both claim a slot are
// compared; of another one the others' word counts.
func (n *clusterNode) Place(key string) probes.Placement {
	g, m, slot := n.group, n.member, slotOf(key)
	g.Mu.Lock()
	defer g.Mu.Unlock()
	out := probes.Placement{Moving: g.moving[slot], Moves: g.moves[slot]}
	v, id := g.best, ""
	if m.view != nil {
		id = m.view.myself
	}
	switch {
	case m.Answered && m.view != nil:
		v = m.view
	case v == nil:
		return out // nobody has reported anything: what is asked here fails, and that shows
	case v.nodes[id] == clusterPeer{}:
		for known, peer := range v.nodes {
			if peer.address != "" && g.Find(peer.address) == m {
				id = known
			}
		}
	}
	if shard := v.shard(id); shard == "" || shard != g.ownerIn(v, slot, shard) {
		out.Holding = probes.Elsewhere
	}
	return out
}

// ownerIn a view, of a slot. Where a part of the view can't be read, the shard's primary is asked whether the slot is its own.
func (g *clusterGroup) ownerIn(v *clusterView, slot int, shard string) string {
	if owner := v.owner(slot); owner != "" || len(v.skipped) == 0 {
		return owner
	}
	if p := g.byID(shard); p != nil && p.Answered && p.view != nil && p.view.myself == shard && p.view.claims(slot) {
		return shard
	}
	return ""
}

// Read asks, besides, another node for the keys that have gone ahead of their slot.
func (n *clusterNode) Read(ctx context.Context, keys []probes.Key, visit func(int, probes.Raw)) error {
	var redirects []redirect
	if err := n.read(ctx, keys, visit, func(r redirect) { redirects = append(redirects, r) }); err != nil {
		return err
	}
	for len(redirects) > 0 {
		address := redirects[0].address
		var at []int // in keys
		var wanted []probes.Key
		rest := redirects[:0:0]
		for _, r := range redirects {
			if r.address == address {
				at, wanted = append(at, r.key), append(wanted, keys[r.key])
			} else {
				rest = append(rest, r)
			}
		}
		redirects = rest
		n.readRedirected(ctx, address, wanted, func(i int, r probes.Raw) { visit(at[i], r) })
	}
	return nil
}

// readRedirected asks the node that takes over the keys' slot. What it doesn't answer is an error of this key alone.
func (n *clusterNode) readRedirected(ctx context.Context, address string, keys []probes.Key, visit func(int, probes.Raw)) {
	n.group.Mu.Lock()
	m := n.group.Find(address)
	n.group.Mu.Unlock()
	visited := make([]bool, len(keys))
	err := errSlotMoved
	if m != nil {
		p := &pipeline{node: m.server, keys: keys, asking: true, tellsExpiry: m.server.tellsExpiry(), visit: func(i int, r probes.Raw) {
			visited[i] = true
			visit(i, r)
		}}
		commands := p.commands()
		err = m.server.link.Do(ctx, func() []wire.Request { return []wire.Request{{Commands: commands, Read: p.read}} })
	}
	for i, done := range visited {
		if !done {
			visit(i, probes.Raw{Err: fmt.Errorf("the key's slot is being moved, and the node that takes it did not give the key: %w", err)})
		}
	}
}

var errSlotMoved = errors.New("the slot has moved since the survey; the next one follows")

// slotServer is the primary that owns a slot.
type slotServer struct {
	group *clusterGroup
	slot  int
}

// Do implements commander. It waits for the Cluster to be known.
func (s slotServer) Do(ctx context.Context, use func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error)) error {
	g := s.group
	select {
	case <-g.known:
	case <-ctx.Done():
		return fmt.Errorf("no node of the Cluster has told who owns the slot: %w", probes.NoAnswer(ctx))
	}
	g.Mu.Lock()
	m := g.byID(g.slotOwner(s.slot))
	g.Mu.Unlock()
	if m == nil {
		return fmt.Errorf("no node of the Cluster owns slot %d", s.slot)
	}
	return m.server.Do(ctx, use)
}

// slotOwner is the id of the primary that owns a slot, as far as anybody told; empty: nobody did. The caller holds Mu.
func (g *clusterGroup) slotOwner(slot int) string {
	if id := g.owners[slot]; id != "" || g.best == nil {
		return id
	}
	return g.best.owner(slot)
}
