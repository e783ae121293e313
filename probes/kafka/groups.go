package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// nowhere is the coordinator of a group before it was asked for.
const nowhere = -1

// group is a consumer group. Its coordinator and protocol are remembered from sampling to sampling.
type group struct {
	name        string
	coordinator int32
	protocol    protocol
	// unlisted: it is named, and on no broker's list, so that it does not exist or is not shown.
	unlisted bool

	// What this sampling learned.
	description outcome
	state       string
	members     int
	offsets     outcome
	// commits by partition, and partitions whose commits could not be read.
	commits map[probes.Partition]int64
	unread  map[probes.Partition]error
}

// selectGroups finds the groups that are meant; those of a broker that did not tell its groups are the ones known there.
func (s *sampling) selectGroups(ctx context.Context) {
	matches := s.q.config.Groups
	if len(matches) == 0 {
		return
	}
	names := form.ExactNames(matches)
	unlisted := map[string]bool{}
	if len(names) < len(matches) {
		found, all := s.listGroups(ctx)
		for _, name := range names {
			unlisted[name] = all && found[name] == nil
		}
		for name := range found {
			names = append(names, name)
		}
	}
	names, err := probes.FirstGroups(names)
	if err != nil {
		s.faults.other(err)
	}
	watched := map[string]*group{}
	for _, name := range names {
		g := &group{name: name, coordinator: nowhere}
		if old := s.q.groups[name]; old != nil {
			g.coordinator, g.protocol = old.coordinator, old.protocol
		}
		g.description.err, g.offsets.err = errUnasked, errUnasked
		if g.unlisted = unlisted[name]; g.unlisted {
			g.description, g.state, g.protocol = outcome{}, stateDead, anyProtocol
		}
		watched[name] = g
		s.groups = append(s.groups, g)
	}
	s.q.groups = watched
}

// listGroups asks every broker for the groups that it coordinates. all: each told them.
func (s *sampling) listGroups(ctx context.Context) (found map[string]*group, all bool) {
	ctx, done := partOf(ctx, 3)
	defer done()
	found, all = map[string]*group{}, true
	var mu sync.Mutex
	var asking sync.WaitGroup
	silent := map[int32]bool{}
	for id, b := range s.brokers {
		if b.address == s.q.source && s.q.bothProtocols() && !s.reused {
			silent[id], all = true, false
			continue
		}
		asking.Go(func() {
			groups, err := s.groupsOf(ctx, b)
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
	asking.Wait()
	for name, g := range s.q.groups {
		_, listed := s.brokers[g.coordinator]
		if found[name] == nil && form.Selected(s.q.config.Groups, name) && (silent[g.coordinator] || !listed && !all) {
			found[name] = g
		}
	}
	for name, g := range found {
		s.q.groups[name] = g
	}
	return found, all
}

// bothProtocols reports whether the broker that tells the metadata coordinates groups of both: then it is asked for two
// descriptions, and the list of its groups takes turns with the metadata.
func (q *queue) bothProtocols() bool {
	both := map[protocol]bool{}
	for _, g := range q.groups {
		if b := q.known[g.coordinator]; b != nil && b.address == q.source && g.protocol != anyProtocol {
			both[g.protocol] = true
		}
	}
	return len(both) == 2 && len(form.ExactNames(q.config.Groups)) < len(q.config.Groups)
}

// groupsOf lists a broker's groups that are meant. Share groups, and those of Connect's workers unless they are named,
// commit no offsets.
func (s *sampling) groupsOf(ctx context.Context, b broker) ([]*group, error) {
	peer, err := s.peer(b)
	if err != nil {
		return nil, err
	}
	req := kmsg.NewPtrListGroupsRequest()
	req.TypesFilter = []string{"classic", "consumer"}
	answer, err := req.RequestWith(ctx, peer)
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
		one := &group{name: g.Group, coordinator: b.id}
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

// askGroups asks the coordinators for commits and descriptions, once more where a coordinator has moved.
func (s *sampling) askGroups(ctx context.Context) {
	if len(s.groups) == 0 {
		return
	}
	first, done := partOf(ctx, 2)
	defer done()
	s.locate(first, s.groups)
	s.askCoordinators(first, s.groups)
	var moved []*group
	for _, g := range s.groups {
		if g.offsets.again || g.description.again {
			g.coordinator = nowhere
			moved = append(moved, g)
		}
	}
	if len(moved) > 0 && pause.For(ctx, settleTime) {
		second, done := partOf(ctx, 2)
		defer done()
		s.locate(second, moved)
		s.askCoordinators(second, moved)
	}
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

// locate finds the coordinators of groups that have none.
func (s *sampling) locate(ctx context.Context, groups []*group) {
	lost := map[string]*group{}
	for _, g := range groups {
		if g.coordinator == nowhere {
			lost[g.name] = g
		}
	}
	if len(lost) == 0 {
		return
	}
	fail := func(g *group, err error, again bool) {
		err = fmt.Errorf("its coordinator was not found: %w", err)
		g.offsets, g.description = outcome{err, again}, outcome{err, again}
	}
	found, err := s.coordinators(ctx, lost)
	for name, g := range lost {
		c, ok := found[name]
		switch {
		case ok && c.code == 0:
			g.coordinator = c.id
		case ok:
			fail(g, codeFault(c.code), kerr.IsRetriable(kerr.ErrorForCode(c.code)))
		case err != nil:
			fail(g, err, true)
		default:
			fail(g, errUnasked, false)
		}
	}
}

// foundCoordinator is the broker that coordinates a group, or why there is none.
type foundCoordinator struct {
	id   int32
	code int16
}

// coordinators asks the broker that told the metadata; before Kafka 3.0 one by one.
func (s *sampling) coordinators(ctx context.Context, groups map[string]*group) (map[string]foundCoordinator, error) {
	peer, err := s.peer(broker{address: s.q.source})
	if err != nil {
		return nil, err
	}
	version, err := peer.maxVersion(ctx, kmsg.FindCoordinator)
	if err != nil {
		return nil, err
	}
	out := map[string]foundCoordinator{}
	if version < 4 {
		for name := range groups {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.CoordinatorKey = name
			answer, err := req.RequestWith(ctx, peer)
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
	answer, err := req.RequestWith(ctx, peer)
	if err != nil {
		return out, err
	}
	for _, c := range answer.Coordinators {
		out[c.Key] = foundCoordinator{c.NodeID, c.ErrorCode}
	}
	return out, nil
}

func (s *sampling) askCoordinators(ctx context.Context, groups []*group) {
	by := map[int32][]*group{}
	for _, g := range groups {
		if g.coordinator == nowhere {
			continue // its fault is told
		}
		if _, ok := s.brokers[g.coordinator]; !ok {
			err := fmt.Errorf("its coordinator, broker %d, is not among the brokers", g.coordinator)
			g.offsets, g.description = outcome{err, true}, outcome{err, true}
			continue
		}
		by[g.coordinator] = append(by[g.coordinator], g)
	}
	var asking sync.WaitGroup
	for id, mine := range by {
		asking.Go(func() { s.fetchCommits(ctx, s.brokers[id], mine) })
		asking.Go(func() { s.describe(ctx, s.brokers[id], mine) })
	}
	asking.Wait()
}

// unanswered is the outcome where a coordinator failed as a whole.
func unanswered(b broker, err error) outcome {
	return outcome{fmt.Errorf("its coordinator, broker %d (%s): %w", b.id, b.address, err), true}
}

// coded is the outcome of a group's error code.
func coded(code int16) outcome {
	return outcome{codeFault(code), kerr.IsRetriable(kerr.ErrorForCode(code))}
}

// fetchCommits asks for all that groups have committed: a list of partitions would be longer than the answer.
func (s *sampling) fetchCommits(ctx context.Context, b broker, groups []*group) {
	by := map[string]*group{}
	for _, g := range groups {
		by[g.name] = g
		g.offsets, g.commits, g.unread = outcome{err: errUnasked}, map[probes.Partition]int64{}, map[probes.Partition]error{}
	}
	peer, err := s.peer(b)
	version := int16(0)
	if err == nil {
		version, err = peer.maxVersion(ctx, kmsg.OffsetFetch)
	}
	if err == nil && version < 8 {
		err = s.fetchSingly(ctx, peer, groups)
	} else if err == nil {
		err = s.fetchTogether(ctx, peer, by)
	}
	if err != nil {
		for _, g := range groups {
			if errors.Is(g.offsets.err, errUnasked) {
				g.offsets = unanswered(b, err)
			}
		}
	}
}

func (s *sampling) fetchTogether(ctx context.Context, peer *peer, groups map[string]*group) error {
	req := kmsg.NewPtrOffsetFetchRequest()
	for name := range groups {
		one := kmsg.NewOffsetFetchRequestGroup()
		one.Group = name
		req.Groups = append(req.Groups, one)
	}
	answer, err := req.RequestWith(ctx, peer)
	if err != nil {
		return err
	}
	for _, told := range answer.Groups {
		g := groups[told.Group]
		if g == nil {
			continue
		}
		g.offsets = commitsOutcome(told.ErrorCode)
		for _, t := range told.Topics {
			for _, p := range t.Partitions {
				g.commit(probes.Partition{Topic: t.Topic, ID: p.Partition}, p.Offset, p.ErrorCode)
			}
		}
	}
	return nil
}

// fetchSingly is for brokers before Kafka 3.0, which take one group at a time.
func (s *sampling) fetchSingly(ctx context.Context, peer *peer, groups []*group) error {
	for _, g := range groups {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group = g.name
		answer, err := req.RequestWith(ctx, peer)
		if err != nil {
			return err
		}
		g.offsets = commitsOutcome(answer.ErrorCode)
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				g.commit(probes.Partition{Topic: t.Topic, ID: p.Partition}, p.Offset, p.ErrorCode)
			}
		}
	}
	return nil
}

// commitsOutcome of a group: one that does not exist has committed nothing.
func commitsOutcome(code int16) outcome {
	if code == kerr.GroupIDNotFound.Code {
		return outcome{}
	}
	return coded(code)
}

func (g *group) commit(p probes.Partition, offset int64, code int16) {
	switch {
	case code != 0:
		g.unread[p] = codeFault(code)
	case offset >= 0:
		g.commits[p] = offset
	}
}
