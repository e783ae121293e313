package redis

import (
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/group"
)

// members of a group of Redis servers, as far as all kinds of groups have them in common.
type members struct {
	*group.Members[*member]
	config nodeConfig
	// wrap makes a group's own node of a member; nil: it is its server.
	wrap func(*member) probes.Node
	// seeds are addresses that belong to the group whatever its members say. Mu guards them.
	seeds []string
}

// member is one server of a group. Mu of its group guards what can change.
type member struct {
	group.Member
	server *node
	// seen is when it last answered, or was last announced by one that did.
	seen time.Time
	// err is of the last survey that it was asked for.
	err error

	// Of a member of a Cluster alone: view is the Cluster as it last reported it; refused is why it did not.
	view    *clusterView
	refused string
	// done is closed once it has answered, or failed to, in the survey under way.
	done chan struct{}
}

func newMembers(id probes.Identity, c nodeConfig, expected int, env *probes.Env) members {
	return members{Members: group.NewMembers[*member](id, expected, env), config: c}
}

// openSeeds opens the members that are not known yet.
func (g *members) openSeeds() error {
	for _, seed := range g.seeds {
		if g.Find(seed) != nil {
			continue
		}
		if _, err := g.open(seed); err != nil {
			return err
		}
	}
	return nil
}

// open adds the member GROUP/HOST:PORT; nothing is asked yet.
func (g *members) open(address string) (*member, error) {
	c := g.config
	c.Address = address
	n, err := newNode(group.MemberIdentity(g.ID, address), c, g.Env)
	if err != nil {
		return nil, err
	}
	m := &member{Member: group.Member{Node: n, Address: n.url.Addr}, server: n, seen: time.Now()}
	if g.wrap != nil {
		m.Node = g.wrap(m)
	}
	g.All = append(g.All, m)
	return m, nil
}

// discover gives the member at an address, or opens it: found is then true.
func (g *members) discover(address string) (m *member, found bool) {
	if m := g.Find(address); m != nil {
		m.seen = time.Now()
		return m, false
	}
	return g.TryOpen(address, func() (*member, error) { return g.open(address) })
}

// isSeed: a seed is one of this member's addresses.
func (g *members) isSeed(m *member) bool {
	return slices.ContainsFunc(g.seeds, func(seed string) bool { return g.Find(seed) == m })
}

// Begin implements group.Topology. A seed whose node was forgotten under another name is asked again.
func (g *members) Begin() []*member {
	g.Mu.Lock()
	_ = g.openSeeds() // they could be opened before
	g.Mu.Unlock()
	return g.Members.Begin()
}
