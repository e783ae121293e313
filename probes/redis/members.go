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
	// seeds are addresses that belong to the group whatever its members say, and seedSet the same; configured: by the
	// configuration's word, so that they are nodes at once. Mu guards them.
	seeds      []string
	seedSet    map[string]bool
	configured bool
}

// member is one server of a group. Mu of its group guards what can change.
type member struct {
	group.Member
	server *node
	// seen is when it last answered, or was last announced by one that did.
	seen time.Time
	// named: it was announced in the survey under way; down: by who calls it down.
	named, down bool
	// standing is what the last survey left open of a member that did not answer: whether its source still has it.
	standing standing
	// announced: somebody announced it in the last survey, and did not call it down.
	announced bool
	// err is of the last survey that it was asked for.
	err error

	// Of a member of a Cluster alone: view is the Cluster as it last reported it; refused is why it did not.
	view    *clusterView
	refused string
	// done is closed once it has answered, or failed to, in the survey under way.
	done chan struct{}
}

// standing of a member that does not answer.
type standing uint8

const (
	// expected is for a member that should answer.
	expected standing = iota
	// calledDown is for one that its source has, and calls down.
	calledDown
	// unnamed is for one that its source no longer has.
	unnamed
)

// judge what the sources said in this survey of those that did not answer.
func (g *members) judge() {
	for _, m := range g.All {
		switch {
		case m.Answered, g.configured && g.isSeed(m) && !m.down:
			m.standing = expected
		case !m.named && !g.isSeed(m):
			m.standing = unnamed
		case m.down:
			m.standing = calledDown
		default:
			m.standing = expected
		}
	}
}

// mark the survey of a member with what is known of one that does not answer.
func (g *members) mark(m *member, s *probes.Survey, err error) {
	if err == nil {
		return
	}
	g.Mu.Lock()
	defer g.Mu.Unlock()
	s.Left, s.CalledDown = m.standing == unnamed, m.standing == calledDown
}

func newMembers(id probes.Identity, c nodeConfig, expected int, env *probes.Env) members {
	return members{Members: group.NewMembers[*member](id, expected, env), config: c}
}

// setSeeds makes these addresses the seeds.
func (g *members) setSeeds(seeds []string) {
	g.seeds, g.seedSet = seeds, make(map[string]bool, len(seeds))
	for _, seed := range seeds {
		g.seedSet[seed] = true
	}
}

// openSeeds opens the members that are not known yet.
func (g *members) openSeeds() error {
	for _, seed := range g.seeds {
		switch {
		case g.Find(seed) != nil:
		case g.configured:
			if _, err := g.open(seed); err != nil {
				return err
			}
		default:
			if m, ok := g.TryOpen(seed, func() (*member, error) { return g.open(seed) }); ok {
				m.Candidate = true
			}
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
	g.Add(m)
	return m, nil
}

// discover gives the member at an announced address, or opens it as a candidate: found is then true. down: who announces it
// says that it is down.
func (g *members) discover(address string, down bool) (m *member, found bool) {
	if address == "" {
		return nil, false
	}
	m = g.Find(address)
	if m == nil {
		m, found = g.TryOpen(address, func() (*member, error) { return g.open(address) })
		if !found {
			return nil, false
		}
		m.Candidate = true
	}
	m.down = down && (m.down || !m.named) // only if nobody says otherwise
	m.named = true
	if !m.down {
		m.seen = time.Now()
	}
	return m, found
}

// forget drops candidates that nobody announces, and members that neither answered nor were announced as living for too long.
func (g *members) forget() {
	for _, m := range slices.Clone(g.All) {
		switch {
		case m.Answered, g.configured && g.isSeed(m):
		case m.Candidate && !m.named, !m.Candidate && time.Since(m.seen) > g.Env.ForgetAfter:
			g.Drop(m)
		}
	}
}

// isSeed: a seed is one of this member's addresses.
func (g *members) isSeed(m *member) bool { return g.IsAt(m, g.seedSet) }

// Begin implements group.Topology. A seed whose node was forgotten under another name is asked again.
func (g *members) Begin() []*member {
	g.Mu.Lock()
	_ = g.openSeeds() // they could be opened before
	for _, m := range g.All {
		m.named, m.down = false, false
	}
	g.Mu.Unlock()
	return g.Members.Begin()
}
