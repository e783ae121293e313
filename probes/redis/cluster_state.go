package redis

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// What the views of a Cluster's nodes say together: who owns the slots, and whether there is one Cluster.

// countMoves counts the slots that changed their owner. A replica that takes over from its primary leaves them in their shard.
func (g *clusterGroup) countMoves() {
	type claim struct {
		id    string
		epoch int64
	}
	claims := make([]claim, clusterSlots)
	epochs := map[int64]string{}
	collision := ""
	for _, m := range g.All {
		v := m.view
		if !m.Answered || v == nil || !v.primary {
			continue
		}
		epoch := v.nodes[v.myself].epoch
		if other, taken := epochs[epoch]; taken && other != v.myself && epoch > 0 {
			collision = fmt.Sprintf("%s and %s in %d", other, v.myself, epoch)
		}
		epochs[epoch] = v.myself
		for slot := range claims {
			if v.claims(slot) && (claims[slot].id == "" || epoch > claims[slot].epoch) {
				claims[slot] = claim{v.myself, epoch}
			}
		}
	}
	if collision != "" && collision != g.collision {
		g.Env.Log.Warn("two primaries of the Cluster have the same config epoch", "group", g.ID.Name, "nodes", collision)
	}
	g.collision = collision
	for slot, c := range claims {
		if c.id == "" {
			continue
		}
		if old := g.owners[slot]; old != "" && old != c.id && g.followed[c.id] != old && g.followed[old] != c.id {
			g.moves[slot]++
		}
		g.owners[slot] = c.id
	}
	for _, m := range g.All {
		if !m.Answered || m.view == nil {
			continue
		}
		delete(g.followed, m.view.myself)
		if of := m.view.nodes[m.view.myself].of; of != "" {
			g.followed[m.view.myself] = of
		}
	}
	if len(g.followed) > mostPeers { // nodes that left, or tell another id each time
		maps.DeleteFunc(g.followed, func(id, _ string) bool { return g.best.nodes[id] == clusterPeer{} })
	}
}

// summarize the views: whether there is one Cluster, or several. Nodes that the others dropped and that own nothing have no
// say; views are those of nodes that own slots or replicate one that does.
func (g *clusterGroup) summarize(listed map[*member]bool) probes.Cluster {
	out := probes.Cluster{OK: true}
	claims := make([]int, clusterSlots)
	var takePart, idle []*clusterView
	told := false
	for _, m := range g.All {
		v := m.view
		if !m.Answered || v == nil {
			continue
		}
		owns := false
		for slot := range claims {
			if v.claims(slot) {
				owns = true
				claims[slot]++
			}
		}
		out.Answered++
		if !owns && len(listed) > 0 && !listed[m] {
			continue
		}
		told, out.OK = told || !v.mute, out.OK && (v.ok || v.mute)
		if owns || !v.primary {
			takePart = append(takePart, v)
		} else {
			idle = append(idle, v)
		}
	}
	if len(takePart) == 0 {
		takePart = idle // nobody owns anything yet
	}
	for _, n := range claims {
		out.Primaries = max(out.Primaries, n)
		if n > 1 {
			out.ContestedSlots++
		}
	}
	out.OK, out.Views = out.OK && told, g.countViews(takePart)
	return out
}

// countViews counts the views that don't agree. What a view does not tell agrees with anything.
func (g *clusterGroup) countViews(views []*clusterView) int {
	answered := map[string]bool{}
	for _, m := range g.All {
		if m.Answered && m.view != nil {
			answered[m.view.myself] = true
		}
	}
	shared := map[*clusterMap]bool{}
	for _, v := range views {
		shared[v.clusterMap] = true
	}
	known := map[string]bool{}
	takesPart := func(id string) bool {
		takes, asked := known[id]
		if !asked {
			takes = answered[id] || livesForAll(shared, id)
			known[id] = takes
		}
		return takes
	}
	distinct := map[string]*clusterMap{}
	var partial []*clusterMap
	for v := range shared {
		if v.isPartial(takesPart) {
			partial = append(partial, v)
		} else {
			distinct[v.ranks(takesPart)] = v
		}
	}
	all := slices.Collect(maps.Values(distinct))
	for _, v := range partial {
		if !slices.ContainsFunc(all, func(other *clusterMap) bool { return v.agrees(other, takesPart) }) {
			all = append(all, v)
		}
	}
	return len(all)
}

// livesForAll: all know the replica, and call it alive. A dead one is known differently until all have forgotten it.
func livesForAll(views map[*clusterMap]bool, id string) bool {
	for v := range views {
		if n, known := v.nodes[id]; !known || n.failed || n.suspected || n.of == "" {
			return false
		}
	}
	return true
}

// noteUnaddressed notes the nodes that others know and that can't be asked, because nobody tells where they are.
func (g *clusterGroup) noteUnaddressed() {
	g.unaddressed, g.lost = nil, nil
	noted := map[string]bool{}
	for _, m := range g.All {
		if m.view != nil {
			noted[m.view.myself] = true
		}
	}
	for _, t := range g.told(anyView) {
		for id, n := range t.nodes {
			if n.address != "" || n.failed || noted[id] || g.byID(id) != nil {
				continue
			}
			noted[id] = true
			g.unaddressed = append(g.unaddressed, id)
			if t.owning[id] {
				g.lost = append(g.lost, id)
			}
		}
	}
	slices.Sort(g.lost)
}

// mostNamed nodes are named in an error.
const mostNamed = 5

// Group implements probes.Members.
func (g *clusterGroup) Group() (probes.NodeGroup, bool) {
	out := g.Known()
	g.Mu.Lock()
	defer g.Mu.Unlock()
	state := g.reported
	out.Cluster = &state
	out.Unreached += len(g.unaddressed)
	if len(g.lost) > 0 {
		names := strings.Join(g.lost[:min(len(g.lost), mostNamed)], ", ")
		if more := len(g.lost) - mostNamed; more > 0 {
			names += fmt.Sprintf(" and %d more", more)
		}
		out.Err = fmt.Errorf("no node tells the address of %s, which owns slots; give the server cluster-announce-ip, or cluster-announce-hostname", names)
	}
	for _, m := range g.All {
		told := m.refused == "" || m.err != nil
		state.Refused = state.Refused || state.Answered == 0 && (!told || errors.Is(m.err, probes.ErrRefused))
		if !told {
			out.Err = errors.Join(out.Err, probes.Refusal(fmt.Errorf("%s does not tell its view: %s", m.server.id.Name, m.refused)))
		}
	}
	return out, true
}
