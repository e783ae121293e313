package group

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

func quietEnv(forget time.Duration) *probes.Env {
	return &probes.Env{ForgetAfter: forget, Log: slog.New(slog.DiscardHandler)}
}

// However many addresses are named, at other hosts each time, no more are known than there is room for, and who is left out is told.
func TestMembersHaveABound(t *testing.T) {
	var closed []string
	g := NewMembers[*Member](probes.Identity{Layer: "l2", Name: "g"}, 0, quietEnv(time.Hour))
	open := func(address string) bool {
		m, ok := g.TryOpen(address, func() (*Member, error) {
			return &Member{Node: closedNode{name: address, closed: &closed}, Address: address, Candidate: true}, nil
		})
		if ok {
			g.Add(m)
		}
		return ok
	}
	for i := range MostMembers {
		if !open(fmt.Sprint("a:", i)) {
			t.Fatalf("no room for the %dth", i)
		}
	}
	if open("b:1") || open("b:2") || open("b:1") {
		t.Error("there is room for more")
	}
	g.end(g.Env.ForgetAfter)
	if known := g.Known(); known.Unreached != MostMembers+2 || !errors.Is(known.Err, errTooMany) {
		t.Errorf("%d unreached, %v", known.Unreached, known.Err)
	}
	g.Drop(g.Find("a:7"))
	if g.Find("a:7") != nil || !open("b:1") || g.Find("b:1") == nil {
		t.Error("there is no room where one left")
	}
	g.end(g.Env.ForgetAfter)
	if known := g.Known(); known.Unreached != MostMembers || errors.Is(known.Err, errTooMany) {
		t.Errorf("afterwards: %d unreached, %v", known.Unreached, known.Err)
	}
}

// Aliases, and addresses that can't be asked, are forgotten when nobody names them any more.
func TestAddressesAreForgotten(t *testing.T) {
	g := NewMembers[*Member](probes.Identity{Layer: "l2", Name: "g"}, 0, quietEnv(0))
	m := &Member{Node: closedNode{name: "a:1", closed: new([]string)}, Address: "a:1"}
	g.Add(m)
	bad := errors.New("no")
	asked := 0
	survey := func(named ...string) {
		for _, address := range named {
			if g.Find(address) == nil {
				_, _ = g.TryOpen(address, func() (*Member, error) { asked++; return nil, bad })
			}
		}
		g.end(g.Env.ForgetAfter)
	}
	g.Alias("b:1", m)
	for range 3 {
		survey("a:1", "b:1", "bad:1")
	}
	if g.Find("b:1") != m || asked != 1 || len(g.refused) != 1 {
		t.Errorf("named each time: %v, asked %d times, refused %v", g.Find("b:1"), asked, g.refused)
	}
	survey("a:1") // b:1 was named just now
	survey("a:1")
	if g.Find("b:1") != nil || len(g.refused) != 0 || g.Find("a:1") != m {
		t.Errorf("named no more: %v, refused %v", g.Find("b:1"), g.refused)
	}
	for i := range 3 * MostMembers {
		survey(fmt.Sprint("bad:", i))
	}
	if len(g.refused) > 2 || len(g.aliases) > 0 {
		t.Errorf("%d refused, %d aliases", len(g.refused), len(g.aliases))
	}
}

// A name that stands for others at each answer keeps no more than there is room for; the present ones are always among them.
func TestNamesThatNameOthersEachTime(t *testing.T) {
	var closed []string
	g := NewDNS(probes.Identity{Layer: "l2", Name: "g"}, form.DNSName{Host: "many.test", Port: "1"}, 0, quietEnv(time.Hour), slog.New(slog.DiscardHandler),
		func(id probes.Identity, _ Address) (probes.Node, error) {
			return closedNode{name: id.Name, closed: &closed}, nil
		})
	const each = 400
	for round := range 10 {
		var answer []Address
		for i := range each {
			answer = append(answer, Address{Host: fmt.Sprintf("h%d-%d", round, i), Port: "1"})
		}
		g.update(answer, nil)
		for _, a := range answer {
			if m := g.members.Find(a.HostPort()); m == nil || !m.gone.IsZero() {
				t.Fatalf("round %d: %s is not asked", round, a.HostPort())
			}
		}
		if n := len(g.members.All); n > MostMembers {
			t.Fatalf("round %d: %d members", round, n)
		}
	}
	var answer []Address
	for i := range 2 * MostMembers {
		answer = append(answer, Address{Host: fmt.Sprint("x", i), Port: "1"})
	}
	g.update(answer, nil)
	g.members.end(time.Hour)
	if known, _ := g.Group(); len(known.Nodes) != MostMembers || known.Unreached != MostMembers || !errors.Is(known.Err, errTooMany) {
		t.Errorf("of too many at once: %d nodes, %d left out, %v", len(known.Nodes), known.Unreached, known.Err)
	}
}
