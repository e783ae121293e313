package group

import (
	"slices"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

type closedNode struct {
	probes.Node
	name   string
	closed *[]string
}

func (n closedNode) Identity() probes.Identity { return probes.Identity{Name: n.name} }

func (n closedNode) Close() { *n.closed = append(*n.closed, n.name) }

func TestMembersOfTwoAddresses(t *testing.T) {
	var closed []string
	g := NewMembers[*Member](probes.Identity{Layer: "l2", Name: "g"}, 0, &probes.Env{})
	add := func(address, run string) *Member {
		m := &Member{Node: closedNode{name: address, closed: &closed}, Address: address, Answered: true, Survey: probes.Survey{RunID: run}}
		g.Add(m)
		return m
	}
	a, b, other := add("a:1", "one"), add("b:1", "one"), add("c:1", "two")
	// In whatever order they are settled, the first keeps the name, and is known at both addresses.
	if g.Identify(b) || !g.Identify(a) || !g.Identify(other) || g.Find("b:1") != a || g.Find("a:1") != a {
		t.Errorf("members %v, b:1 is %v", g.Known().Nodes, g.Find("b:1"))
	}
	g.closeLeft()
	if !slices.Equal(closed, []string{"b:1"}) || !slices.Equal(g.Known().Nodes, []string{"a:1", "c:1"}) {
		t.Errorf("closed %v of %v", closed, g.Known().Nodes)
	}
	// One whose own the run_id is keeps it, though a new one came before.
	late := add("d:1", "two")
	g.All = []*Member{late, a, other}
	if g.Identify(late) || g.Find("d:1") != other {
		t.Errorf("d:1 is %v", g.Find("d:1"))
	}
	// Another process at the same address: the other addresses may be another server's.
	a.Survey.RunID = "three"
	if !g.Identify(a) || a.Run != "three" || g.Find("b:1") != nil || g.Find("d:1") != other {
		t.Errorf("b:1 is %v, d:1 is %v", g.Find("b:1"), g.Find("d:1"))
	}
	// What did not answer is what it was; what tells no run_id is a node of its own.
	a.Answered, a.Survey.RunID = false, "two"
	if !g.Identify(a) || a.Run != "three" || !g.Identify(add("e:1", "")) {
		t.Error("a member went without a reason")
	}
}
