package diagnosis

import "testing"

// TestEventShares: a score follows the share of the checks that is bad, and few checks bring it nowhere near certainty.
func TestEventShares(t *testing.T) {
	network := func(good, survived float64) float64 {
		return watch(4, func(i int, e *Evidence) {
			e.eachCheck(func(n *EventNode) { *n = EventNode{Layer: n.Layer, Node: n.Node} })
			if i == 0 {
				e.checks(0).Good, e.checks(0).Survived = good, survived
				e.checks(1).Good, e.checks(2).Good = good, good
			}
		})[3].score(Network)
	}
	few, some, many := network(0, 2), network(95, 5), network(50, 50)
	if few != 0 || some <= standing.Value || many <= some || many >= 0.95 {
		t.Errorf("2 of 2 give %v, 5 of 100 %v, 50 of 100 %v", few, some, many)
	}
	if few := network(1, 5); few >= strongScore.Value {
		t.Errorf("5 of 6 copies give %v", few)
	}
}

// TestEventsByLayer: a layer in which nobody loses its copies says nothing of another.
func TestEventsByLayer(t *testing.T) {
	d := watch(2, func(_ int, e *Evidence) {
		e.Events[0].Nodes = append(e.Events[0].Nodes, EventNode{Layer: "l3", Node: "memcached-1", Survived: 100})
	})[1]
	if d.Verdict != string(Logic) || d.score(Network) != 0 {
		t.Errorf("verdict %s, %v", d.Verdict, d.Scores)
	}
}
