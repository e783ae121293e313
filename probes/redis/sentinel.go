package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/group"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// sentinelGrace is how long the other Sentinels are waited for once one has answered.
const sentinelGrace = 20 * time.Millisecond

// sentinels are asked for the addresses of a primary and its replicas.
type sentinels struct {
	config sentinelConfig
	// nodes speak to the Sentinels as to other servers.
	nodes []*node
	// reported are the addresses that they gave before the survey under way; done is closed when there is nothing more to
	// learn in this one.
	reported map[string]bool
	done     chan struct{}
	// calledDown are those of the seeds that every Sentinel which names them calls down.
	calledDown map[string]bool
	// failing is why no Sentinel gave an address in the last survey; empty: one did.
	failing string
	// refuses: one of them answered, and refused to tell.
	refuses bool
}

// newSentinelGroup gives a group that knows no member yet: its seeds are what Sentinels report.
func newSentinelGroup(id probes.Identity, c nodeConfig, expected int, env *probes.Env) (*sentinelGroup, error) {
	s := &sentinels{config: *c.Sentinel}
	for _, address := range s.config.Addresses {
		n, err := newNode(probes.Identity{}, nodeConfig{Address: address, Credentials: s.config.Credentials, TLS: s.config.TLS}, env)
		if err != nil {
			return nil, err
		}
		s.nodes = append(s.nodes, n)
	}
	return &sentinelGroup{replicationGroup: replicationGroup{members: newMembers(id, c, expected, env), sentinels: s, lineage: map[string]bool{}}}, nil
}

// sentinelGroup follows the failovers that Sentinels make.
type sentinelGroup struct {
	replicationGroup
}

// Close implements probes.Members.
func (g *sentinelGroup) Close() {
	for _, n := range g.sentinels.nodes {
		n.Close()
	}
	g.replicationGroup.Close()
}

// Group implements probes.Members. Its error says why no Sentinel reports the nodes.
func (g *sentinelGroup) Group() (probes.NodeGroup, bool) {
	out, _ := g.replicationGroup.Group()
	g.Mu.Lock()
	defer g.Mu.Unlock()
	if g.sentinels.failing != "" {
		out.Err = errors.New("no Sentinel tells its nodes: " + g.sentinels.failing)
		if g.sentinels.refuses {
			out.Err = probes.Refusal(out.Err)
		}
	}
	return out, true
}

// Do implements commander. Before the Sentinels were asked for the first time there is no member: they are being asked.
func (g *sentinelGroup) Do(ctx context.Context, use func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error)) error {
	if err := g.WaitFor(ctx, func() bool { return len(g.All) > 0 }); err != nil {
		return err
	}
	return g.replicationGroup.Do(ctx, use)
}

// Survey implements probes.Members: it asks the Sentinels and the members that are known at the same time.
func (g *sentinelGroup) Survey(ctx context.Context, scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error)) {
	asking, stop := context.WithCancel(ctx)
	g.sentinels.done = make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.askSentinels(asking)
	}()
	g.SurveyAs(ctx, g, scanFor, visit)
	stop()
	<-ended
}

// Begin implements group.Topology: it waits for the Sentinels only where no member is known.
func (g *sentinelGroup) Begin() []*member {
	g.Mu.Lock()
	none := len(g.All) == 0
	g.Mu.Unlock()
	if none {
		<-g.sentinels.done // soon after the survey's time ended at the latest
	}
	return g.replicationGroup.Begin()
}

// Announced implements group.Topology: it opens what the Sentinels and the members announce.
func (g *sentinelGroup) Announced(ctx context.Context, grace time.Duration) []*member {
	group.Await(g.sentinels.done, grace)
	g.Mu.Lock()
	var found []*member
	for _, seed := range g.seeds {
		if m, isNew := g.discover(seed, g.sentinels.calledDown[seed]); isNew {
			found = append(found, m)
		}
	}
	g.Mu.Unlock()
	return append(found, g.replicationGroup.Announced(ctx, grace)...)
}

// End implements group.Topology: it drops, besides, a member that doesn't answer and that the Sentinels no longer know.
func (g *sentinelGroup) End() {
	g.Mu.Lock()
	for _, m := range slices.Clone(g.All) {
		if g.IsAt(m, g.sentinels.reported) && !m.Answered && !g.isSeed(m) {
			g.Drop(m)
		}
	}
	g.sentinels.reported = g.seedSet
	g.judge()
	g.Mu.Unlock()
	g.replicationGroup.End()
}

// sentinelAnswer is what one Sentinel knows.
type sentinelAnswer struct {
	servers []announcedServer
	err     error
}

// announcedServer is a server as one Sentinel knows it. down: it calls it down, or has lost it.
type announcedServer struct {
	address string
	down    bool
}

// askSentinels makes seeds of what those that answer know. One that doesn't answer is waited for only while none has.
func (g *sentinelGroup) askSentinels(ctx context.Context) {
	s := g.sentinels
	answers := make(chan sentinelAnswer, len(s.nodes))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, n := range s.nodes {
		go func() {
			var known []announcedServer
			err := probes.Guarded(func() (err error) {
				known, err = s.ask(ctx, n)
				return err
			})
			answers <- sentinelAnswer{known, err}
		}()
	}
	var told [][]announcedServer
	var errs []error
	var late <-chan time.Time
	waiting := len(s.nodes)
	for enough := false; waiting > 0 && !enough; {
		select {
		case a := <-answers:
			waiting--
			if a.err != nil {
				errs = append(errs, a.err)
				continue
			}
			told = append(told, a.servers)
			if late == nil {
				late = time.After(sentinelGrace)
			}
		case <-late:
			enough = true
		}
	}
	seeds, down := seedsOf(told)
	g.Mu.Lock()
	if len(seeds) > 0 {
		g.setSeeds(seeds)
		s.calledDown = down
	}
	g.logChange(seeds, errs)
	g.Mu.Unlock()
	close(s.done)
	cancel()
	for range waiting {
		<-answers
	}
}

// seedsOf what each Sentinel tells: the primaries come first, then the others of each in turn, so that one which tells very many
// leaves room for the rest. down are those that every Sentinel which names them calls down.
func seedsOf(told [][]announcedServer) (seeds []string, down map[string]bool) {
	down = map[string]bool{}
	longest := 0
	for _, servers := range told {
		longest = max(longest, len(servers))
	}
	for i := range longest {
		for _, servers := range told {
			if i >= len(servers) {
				continue
			}
			k := servers[i]
			others, known := down[k.address]
			if !known && len(seeds) > group.MostMembers { // one more than there is room for, so that it shows
				continue
			}
			if !known {
				seeds = append(seeds, k.address)
			}
			down[k.address] = k.down && (others || !known)
		}
	}
	return seeds, down
}

// logChange logs when no Sentinel reports a node any more, and when one does again.
func (g *sentinelGroup) logChange(seeds []string, errs []error) {
	failing := ""
	if len(seeds) == 0 {
		failing = errors.Join(errs...).Error()
	}
	switch s := g.sentinels; {
	case failing != "" && s.failing == "":
		g.Env.Log.Warn("no Sentinel tells the group's nodes", "group", g.ID.Name, "err", failing)
	case failing == "" && s.failing != "":
		g.Env.Log.Info("Sentinels tell the group's nodes again", "group", g.ID.Name)
	}
	g.sentinels.failing, g.sentinels.refuses = failing, errors.Is(errors.Join(errs...), probes.ErrRefused)
}

// Ask one Sentinel, in one round trip.
func (s *sentinels) ask(ctx context.Context, n *node) ([]announcedServer, error) {
	var primary, replicas any
	var refused error
	ask := wire.Request{
		// REPLICAS is a newer name of SLAVES.
		Commands: appendCommand(appendCommand(nil, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.config.Master), "SENTINEL", "SLAVES", s.config.Master),
		Read: func(x *wire.Exchange) error {
			p, err := readReply(x)
			var said errReply
			if err != nil && !errors.As(err, &said) {
				return err
			}
			r, err := readReply(x)
			var unknown errReply
			if err != nil && !errors.As(err, &unknown) {
				return err
			}
			x.Deliver(func() {
				primary, replicas = p, r
				if said != "" {
					refused = probes.Refusal(said)
				}
			})
			if said.word() == "NOAUTH" {
				return probes.Refusal(errors.New("it refused (NOAUTH); give sentinel a password or password_file of its own"))
			}
			return nil
		},
	}
	err := n.link.Do(ctx, func() []wire.Request { return []wire.Request{ask} })
	if err == nil {
		err = refused
	}
	at, isList := primary.([]any)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", n.url.Addr, err)
	case !isList || len(at) != 2:
		return nil, fmt.Errorf("%s knows no master %q; write the name of one into sentinel.master", n.url.Addr, s.config.Master)
	}
	known := sentinelServers(at, replicas)
	if len(known) == 0 {
		return nil, fmt.Errorf("%s tells no usable address of the master %q", n.url.Addr, s.config.Master)
	}
	return known, nil
}

// sentinelServers takes the primary and its replicas out of a Sentinel's answers. One without a usable address is left out.
func sentinelServers(primary []any, replicas any) []announcedServer {
	var out []announcedServer
	add := func(host, port any, down bool) {
		h, _ := host.(string)
		p, _ := port.(string)
		if at := announcedAddress(h, p); at != "" {
			out = append(out, announcedServer{at, down})
		}
	}
	add(primary[0], primary[1], false)
	list, _ := replicas.([]any)
	for _, item := range list {
		f, _ := replyFields(item)
		flags, _ := f["flags"].(string)
		down := slices.ContainsFunc(strings.Split(flags, ","), func(flag string) bool {
			return flag == "s_down" || flag == "o_down" || flag == "disconnected"
		})
		add(f["ip"], f["port"], down)
	}
	return out
}
