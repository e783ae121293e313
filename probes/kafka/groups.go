package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// noCoordinator stands for the coordinator of a group until it is known.
const noCoordinator = -1

// group is a consumer group in one sampling. The next one takes over its coordinator and protocol.
type group struct {
	name string
	// coordinator is a broker's id.
	coordinator int32
	protocol    protocol
	// live: it had members, by the list of groups that the coordinator gave last; valid where listed.
	live, listed bool
	// unlisted: it is configured by name, and on no broker's list, so that it does not exist or is not shown.
	unlisted bool

	// description is the outcome of asking for state and members, which are valid where it has no error.
	description outcome
	state       string
	members     int
	// offsets is the outcome of asking for commits. Where it has no error, each partition is among commits or unread, or the
	// group has committed nothing there.
	offsets outcome
	commits map[probes.Partition]int64
	unread  map[probes.Partition]error

	// reads are the topics in which it was ever seen to have committed; the next sampling takes them over.
	reads map[string]bool

	// share: it was a share group when that was asked, in the sampling of number shareAsked; 0: it was not asked.
	share      bool
	shareAsked uint64
}

// shareSamplings that pass before a group that does not exist is looked for among share groups again.
const shareSamplings = 10

// selectGroups finds the groups that are selected. Of a broker that did not list its groups, they are those known before.
func (s *sampling) selectGroups(ctx context.Context) {
	matches := s.q.config.Groups
	if len(matches) == 0 {
		return
	}
	names := form.ExactNames(matches)
	unlisted := map[string]bool{}
	var found map[string]*group
	var list []probes.FoundGroup
	if len(names) < len(matches) {
		var all bool
		found, all = s.listGroups(ctx)
		for _, name := range names {
			unlisted[name] = all && found[name] == nil
		}
		for name, g := range found {
			list = append(list, probes.FoundGroup{Name: name, Live: g.live, Known: g.listed})
		}
	}
	chosen, err := probes.ChooseGroups(matches, list)
	if err != nil {
		s.faults.other(err)
	}
	s.leftover = chosen.Leftover
	watched := map[string]*group{}
	for _, name := range chosen.Names {
		g := &group{name: name, coordinator: noCoordinator, reads: map[string]bool{}}
		if old := s.q.groups[name]; old != nil {
			maps.Copy(g.reads, old.reads)
			g.coordinator, g.protocol, g.share, g.shareAsked = old.coordinator, old.protocol, old.share, old.shareAsked
		}
		if f := found[name]; f != nil {
			g.live, g.listed = f.live, f.listed
		}
		g.description.err, g.offsets.err = errLeftOut, errLeftOut
		if g.unlisted = unlisted[name]; g.unlisted {
			g.description, g.state, g.protocol = outcome{}, stateDead, anyProtocol
		}
		watched[name] = g
		s.groups = append(s.groups, g)
	}
	s.q.groups = watched
}

// listGroups asks every broker for the groups that it coordinates. all: each one answered.
func (s *sampling) listGroups(ctx context.Context) (found map[string]*group, all bool) {
	ctx, done := withPart(ctx, 3)
	defer done()
	found, all = map[string]*group{}, true
	var mu sync.Mutex
	var requests sync.WaitGroup
	silent := map[int32]bool{}
	for id, b := range s.brokers {
		if b.address == s.q.source && s.q.bothProtocols() && !s.reused {
			silent[id], all = true, false
			continue
		}
		s.beside(&requests, func() {
			groups, err := s.requestGroups(ctx, b)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.faults.broker(b, fmt.Errorf("it did not list its groups: %w", err))
				silent[id], all = true, false
			}
			for _, g := range groups {
				found[g.name] = g
			}
		})
	}
	requests.Wait()
	for name, g := range s.q.groups {
		_, listed := s.brokers[g.coordinator]
		if found[name] == nil && form.Selected(s.q.config.Groups, name) && (silent[g.coordinator] || !listed && !all) {
			found[name] = g
		}
	}
	for name, g := range found {
		if old := s.q.groups[name]; old != nil {
			g.reads = old.reads
		}
		s.q.groups[name] = g
	}
	return found, all
}

// bothProtocols reports whether the broker that gives the metadata coordinates groups of both protocols. Then it gets two
// requests for descriptions, and so that there are no more requests in all, metadata and the list of its groups are asked for
// in turns, one in each sampling.
func (q *queue) bothProtocols() bool {
	both := map[protocol]bool{}
	for _, g := range q.groups {
		if b := q.brokers[g.coordinator]; b != nil && b.address == q.source && g.protocol != anyProtocol {
			both[g.protocol] = true
		}
	}
	return len(both) == 2 && len(form.ExactNames(q.config.Groups)) < len(q.config.Groups)
}

// requestGroups asks a broker for its groups, and gives those that are selected. Share groups are left out, and those of
// Connect's workers unless they are named: they commit no offsets.
func (s *sampling) requestGroups(ctx context.Context, b broker) ([]*group, error) {
	conn, err := s.conn(b)
	if err != nil {
		return nil, err
	}
	req := kmsg.NewPtrListGroupsRequest()
	req.TypesFilter = []string{"classic", "consumer"}
	answer, err := req.RequestWith(ctx, conn)
	if err != nil {
		return nil, err
	}
	named := form.ExactNames(s.q.config.Groups)
	var out []*group
	for _, g := range answer.Groups {
		reads := g.ProtocolType == "" || g.ProtocolType == "consumer" || slices.Contains(named, g.Group)
		if !reads || !form.Selected(s.q.config.Groups, g.Group) {
			continue
		}
		one := &group{name: g.Group, coordinator: b.id, listed: g.GroupState != ""} // brokers before Kafka 2.6 tell none
		one.live = g.GroupState != stateEmpty && g.GroupState != stateDead
		switch strings.ToLower(g.GroupType) {
		case "", "classic":
			one.protocol = classicProtocol
		case "consumer":
			one.protocol = consumerProtocol
		default:
			continue
		}
		out = append(out, one)
	}
	return out, codeFault(answer.ErrorCode)
}

// queryGroups asks the coordinators for commits and descriptions, once more where a coordinator has moved.
func (s *sampling) queryGroups(ctx context.Context) {
	if len(s.groups) == 0 {
		return
	}
	first, done := withPart(ctx, 2)
	defer done()
	s.findCoordinators(first, s.groups)
	s.queryCoordinators(first, s.groups)
	var moved []*group
	for _, g := range s.groups {
		if g.offsets.retriable || g.description.retriable {
			g.coordinator = noCoordinator
			moved = append(moved, g)
		}
	}
	if len(moved) > 0 && pause.For(ctx, settleDelay) {
		second, done := withPart(ctx, 2)
		defer done()
		s.findCoordinators(second, moved)
		s.queryCoordinators(second, moved)
	}
	s.findShareGroups(ctx)
	for _, g := range s.groups {
		if g.unlisted && g.offsets.err != nil {
			g.description = g.offsets // it may exist
		}
		for _, o := range []outcome{g.offsets, g.description} {
			if o.err != nil {
				s.faults.group(g.name, o.err)
			}
		}
		for p, err := range g.unread {
			if s.partitions[p] != nil {
				s.faults.partition(p, fmt.Errorf("the commit of group %s can't be read: %w", g.name, err))
			}
		}
	}
}

// findShareGroups among the named groups that no protocol with commits knows: a share group looks like one that does not exist.
// What fails here costs that word alone.
func (s *sampling) findShareGroups(ctx context.Context) {
	now := s.q.samplings + 1
	dead := map[int32][]*group{}
	for _, g := range s.groups {
		switch {
		case g.description.err != nil: // nothing new
		case g.state != stateDead || len(g.commits) > 0 || g.coordinator == noCoordinator:
			g.share, g.shareAsked = false, 0
		case g.shareAsked == 0 || now >= g.shareAsked+shareSamplings:
			dead[g.coordinator] = append(dead[g.coordinator], g)
		}
	}
	var requests sync.WaitGroup
	for id, groups := range dead {
		b, ok := s.brokers[id]
		if !ok {
			continue
		}
		s.beside(&requests, func() {
			shares := s.requestShareGroups(ctx, b)
			for _, g := range groups {
				g.share, g.shareAsked = shares[g.name], now
			}
		})
	}
	requests.Wait()
	for _, g := range s.groups {
		if g.share && g.description.err == nil {
			g.description = outcome{err: errShareGroup}
		}
	}
}

// requestShareGroups asks a broker for the names of its share groups. Brokers before Kafka 4.0 have none.
func (s *sampling) requestShareGroups(ctx context.Context, b broker) map[string]bool {
	conn, err := s.conn(b)
	if err != nil {
		return nil
	}
	if version, err := conn.maxVersion(ctx, kmsg.ListGroups); err != nil || version < 5 {
		return nil
	}
	req := kmsg.NewPtrListGroupsRequest()
	req.TypesFilter = []string{"share"}
	answer, err := req.RequestWith(ctx, conn)
	if err != nil || answer.ErrorCode != 0 {
		return nil
	}
	out := map[string]bool{}
	for _, g := range answer.Groups {
		if strings.EqualFold(g.GroupType, "share") {
			out[g.Group] = true
		}
	}
	return out
}

// findCoordinators of groups whose coordinator is not known.
func (s *sampling) findCoordinators(ctx context.Context, groups []*group) {
	unknown := map[string]*group{}
	for _, g := range groups {
		if g.coordinator == noCoordinator {
			unknown[g.name] = g
		}
	}
	if len(unknown) == 0 {
		return
	}
	fail := func(g *group, err error, retriable bool) {
		err = fmt.Errorf("its coordinator was not found: %w", err)
		g.offsets, g.description = outcome{err, retriable}, outcome{err, retriable}
	}
	found, err := s.requestCoordinators(ctx, unknown)
	for name, g := range unknown {
		c, ok := found[name]
		switch {
		case ok && c.code == 0:
			g.coordinator = c.id
		case ok:
			fail(g, codeFault(c.code), kerr.IsRetriable(kerr.ErrorForCode(c.code)))
		case err != nil:
			fail(g, err, true)
		default:
			fail(g, errLeftOut, false)
		}
	}
}

// foundCoordinator is the broker that coordinates a group, or the error code that says why there is none.
type foundCoordinator struct {
	id   int32
	code int16
}

// requestCoordinators asks the broker that gave the metadata; before Kafka 3.0 for one group at a time.
func (s *sampling) requestCoordinators(ctx context.Context, groups map[string]*group) (map[string]foundCoordinator, error) {
	conn, err := s.conn(broker{address: s.q.source})
	if err != nil {
		return nil, err
	}
	version, err := conn.maxVersion(ctx, kmsg.FindCoordinator)
	if err != nil {
		return nil, err
	}
	out := map[string]foundCoordinator{}
	if version < 4 {
		for name := range groups {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.CoordinatorKey = name
			answer, err := req.RequestWith(ctx, conn)
			if err != nil {
				return out, err
			}
			out[name] = foundCoordinator{answer.NodeID, answer.ErrorCode}
		}
		return out, nil
	}
	req := kmsg.NewPtrFindCoordinatorRequest()
	for name := range groups {
		req.CoordinatorKeys = append(req.CoordinatorKeys, name)
	}
	answer, err := req.RequestWith(ctx, conn)
	if err != nil {
		return out, err
	}
	for _, c := range answer.Coordinators {
		out[c.Key] = foundCoordinator{c.NodeID, c.ErrorCode}
	}
	return out, nil
}

// queryCoordinators asks the coordinators of groups for commits and descriptions.
func (s *sampling) queryCoordinators(ctx context.Context, groups []*group) {
	by := map[int32][]*group{}
	for _, g := range groups {
		if g.coordinator == noCoordinator {
			continue // findCoordinators gave it its fault
		}
		if _, ok := s.brokers[g.coordinator]; !ok {
			err := fmt.Errorf("its coordinator, broker %d, is not among the brokers", g.coordinator)
			g.offsets, g.description = outcome{err, true}, outcome{err, true}
			continue
		}
		by[g.coordinator] = append(by[g.coordinator], g)
	}
	var requests sync.WaitGroup
	for id, mine := range by {
		s.beside(&requests, func() { s.learnCommits(ctx, s.brokers[id], mine) })
		s.beside(&requests, func() { s.learnDescriptions(ctx, s.brokers[id], mine) })
	}
	requests.Wait()
}
