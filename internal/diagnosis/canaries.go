package diagnosis

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// staleNode is the staleness on one node, over all classes.
type staleNode struct {
	layer, node string
	// counted are the stale copies in fast layers, and the overdue ones elsewhere.
	counted, overdue, classes int
	// compared copies of these classes on it, and nodes that could have such copies as well as it.
	compared, nodes int
	// share of the compared copies that are counted, in the class where that is most.
	share float64
	// behind is how many versions the furthest copy is behind, where versions are integers.
	behind float64
	oldest time.Duration
	// alone: in each class, a peer in its layer that was compared has no such copy.
	alone bool
}

// counted copies of a class on a node: what the design does not allow, or a fast layer should not show for long.
func (e *Evidence) counted(class string, n *consistency.ClassNode) int {
	allowed, known := e.Configured.MaxStaleness[ClassLayer{class, n.Layer}]
	if known && allowed.Seconds() > fastLayer.Value {
		return n.Overdue
	}
	return n.Copies[verdict.Stale]
}

// staleNodes by name, those with a counted copy alone, and the number of these copies.
func staleNodes(e *Evidence) (out map[string]*staleNode, total int) {
	out = map[string]*staleNode{}
	for i := range e.Result.Classes {
		c := &e.Result.Classes[i]
		clean, compared := map[string]bool{}, map[string]int{} // by layer
		for k := range c.Nodes {
			if n := &c.Nodes[k]; n.Compared() > 0 {
				clean[n.Layer] = clean[n.Layer] || e.counted(c.Class, n) == 0
				compared[n.Layer]++
			}
		}
		for k := range c.Nodes {
			n := &c.Nodes[k]
			stale := e.counted(c.Class, n)
			if stale == 0 {
				continue
			}
			s := out[n.Node]
			if s == nil {
				s = &staleNode{layer: n.Layer, node: n.Node, alone: true}
				out[n.Node] = s
			}
			total += stale
			s.counted, s.overdue, s.classes = s.counted+stale, s.overdue+n.Overdue, s.classes+1
			s.compared, s.nodes = s.compared+n.Compared(), max(s.nodes, e.alike(n.Layer, compared))
			s.share = max(s.share, share(stale, n.Compared()))
			s.oldest = max(s.oldest, n.OldestStale)
			if c.VersionKind == "integer" {
				s.behind = max(s.behind, n.VersionLag)
			}
			s.alone = s.alone && clean[n.Layer]
		}
	}
	return out, total
}

// alike is how many of the compared nodes, given by layer, copies may be on as well as on one of this layer: layers of a shorter TTL are
// filled from longer ones.
func (e *Evidence) alike(layer string, compared map[string]int) int {
	nodes := 0
	for other, n := range compared {
		if e.Configured.TTL[other] >= e.Configured.TTL[layer] {
			nodes += n
		}
	}
	return nodes
}

// StaleCopies are all copies that were stale in this sampling.
func (e *Evidence) StaleCopies() int {
	stale := 0
	if e.Result != nil {
		for i := range e.Result.Classes {
			for k := range e.Result.Classes[i].Nodes {
				stale += e.Result.Classes[i].Nodes[k].Copies[verdict.Stale]
			}
		}
	}
	return stale
}

// share of copies, or keys, in all of them; of few it is a share of least_copies.
func share(part, all int) float64 {
	return float64(part) / max(float64(all), leastCopies.Value)
}

// isolated reports whether a node is cut off from invalidations: it looks so now, or did before and still has copies of then. A
// partition explains its copies also where nothing was written since, and where others of them are gone.
func (n *staleNode) isolated(past *Past) bool {
	return n.looksIsolated(past.Growing[n.node]) || past.Isolated[n.node] && n.share >= nodeShare.Value
}

// looksIsolated by what it holds alone in this sampling, and whether that grows.
func (n *staleNode) looksIsolated(growing bool) bool {
	return n.alone && n.tooManyForChance() && n.share >= nodeShare.Value &&
		(n.classes >= 2 || n.behind >= isolatedVersions.Value || growing)
}

// tooManyForChance: deletes that miss now this node, now that one, would hardly have missed this one alone so often. That the second and
// each further one of k that were missed is on the node of the first has a chance of 1 in nodes^(k-1). A node that has nothing else has
// no more to show.
func (n *staleNode) tooManyForChance() bool {
	missed := n.counted
	if n.behind >= isolatedVersions.Value { // one copy has missed more than one
		missed++
	}
	return float64(n.counted) >= isolatedCopies.Value &&
		(n.counted == n.compared || math.Pow(float64(n.nodes), float64(missed-1)) > isolatedOdds.Value)
}

func (s *finder) canaries() {
	stale, total := staleNodes(s.e)
	names := slices.Sorted(maps.Keys(stale))
	s.isolatedNodes(stale, names, total)
	// Nodes whose instance runs another version than most.
	if odd := minorities(s.e); total > 0 && !slices.ContainsFunc(names, func(n string) bool { return odd[n] == "" }) {
		for _, name := range names {
			if stale[name].share >= nodeShare.Value {
				s.add(versionsExplain, name, 1, "%s runs another version than most instances of %s, and has %d stale copies; no other node has any",
					name, odd[name], stale[name].counted).on(name)
			}
		}
	}
	for i := range s.e.Result.Classes {
		c := &s.e.Result.Classes[i]
		keys, compared := 0, 0
		for _, n := range c.Keys {
			keys += n
		}
		for k := range c.Nodes {
			compared += c.Nodes[k].Compared()
		}
		if c.VersionConflicts > 0 {
			s.add(versionConflicts, c.Class, share(c.VersionConflicts, keys), "%s: %d keys have different content under the same highest version",
				c.Class, c.VersionConflicts).class = c.Class
		}
		for k := range c.Nodes {
			s.copies(c.Class, compared, &c.Nodes[k])
		}
	}
}

// isolatedNodes where hardly any stale copy is elsewhere. In layers of a shorter TTL there may be: they are filled from these.
func (s *finder) isolatedNodes(stale map[string]*staleNode, names []string, total int) {
	var cut []*staleNode
	ttl := time.Duration(0) // the longest of theirs
	for _, name := range names {
		if n := stale[name]; n.isolated(&s.e.Past) {
			cut = append(cut, n)
			ttl = max(ttl, s.e.Configured.TTL[n.layer])
		}
	}
	counted, overdue := 0, 0 // elsewhere
	for _, name := range names {
		if n := stale[name]; !slices.Contains(cut, n) && s.e.Configured.TTL[n.layer] >= ttl {
			counted, overdue = counted+n.counted, overdue+n.overdue
		}
	}
	few := func(copies int) bool { return float64(copies) <= isolatedElsewhere.Value*float64(total) }
	for _, n := range cut {
		// Copies that are left of a partition may be few, and those in flight on other nodes as many.
		if few(counted) || s.e.Past.Isolated[n.node] && few(overdue) {
			s.add(isolatedNode, n.node, 1, "%s %s answers, but has %d stale copies in %d classes, the oldest for %s, that other nodes of its layer do not have",
				n.layer, n.node, n.counted, n.classes, Duration(n.oldest.Seconds())).on(n.node)
		}
	}
}

// copies are the findings that a class, of which so many copies were compared, gives on one node.
func (s *finder) copies(class string, compared int, n *consistency.ClassNode) {
	at := class + " on " + n.Layer + " " + n.Node
	add := func(weight *Weight, copies int, format string, args ...any) *finding {
		f := s.add(weight, class+"/"+n.Node, share(copies, compared), "%s: %s", at, fmt.Sprintf(format, args...)).on(n.Node)
		f.class = class
		return f
	}
	switch {
	case n.StillSurvivors > 0:
		add(survivorCopies, n.StillSurvivors, "%d copies survived a delete that reached another node", n.StillSurvivors)
	case n.Survivors > 0: // a delete may be on its way
		add(survivorCopies, n.Survivors, "%d copies seem to have survived a delete that reached another node", n.Survivors).early = true
	}
	if n.Strays > 0 { // who has another server list leaves the key's own server as it was
		add(strayCopies, n.Strays, "%d copies that belong on another server of the pool", n.Strays).on(s.e.poolOf(n.Node)...)
	}
	if wrong := n.Immortal + n.OverLimit; wrong > 0 {
		add(immortalCopies, wrong, "%d copies without expiry, %d with more than the layer's TTL", n.Immortal, n.OverLimit)
	}
	if n.Overdue > 0 {
		add(unexplainedStale, n.Overdue, "%d copies are overdue, the oldest for %s", n.Overdue, Duration(n.OldestStale.Seconds()))
	}
}

// poolOf a node: the nodes of its group, itself among them.
func (e *Evidence) poolOf(node string) []string {
	for i := range e.Result.Nodes {
		if n := &e.Result.Nodes[i]; n.Name == node && n.Group != "" {
			return e.nodesOf(n.Group)
		}
	}
	return []string{node}
}
