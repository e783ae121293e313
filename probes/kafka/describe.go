package kafka

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// protocol by which the members of a group share its partitions; each has its own request that describes groups.
type protocol int

const (
	anyProtocol      protocol = iota
	classicProtocol           // JoinGroup and SyncGroup
	consumerProtocol          // KIP-848
)

// stateDead is what Kafka calls a group that does not exist.
const stateDead = "Dead"

// describe asks for states and members. A group of which the protocol is not known is asked for by both.
func (s *sampling) describe(ctx context.Context, b broker, groups []*group) {
	var open []*group
	for _, g := range groups {
		if !g.unlisted {
			g.description = outcome{err: errUnasked}
			open = append(open, g)
		}
	}
	open = s.describeOnce(ctx, b, open)
	for _, g := range open { // it was known, and is not found: it may have changed its protocol
		g.protocol = anyProtocol
	}
	s.describeOnce(ctx, b, open)
}

// describeOnce gives back the groups that were known by a protocol and are not found by it.
func (s *sampling) describeOnce(ctx context.Context, b broker, groups []*group) (changed []*group) {
	if len(groups) == 0 {
		return nil
	}
	peer, err := s.peer(b)
	version := int16(-1)
	if err == nil {
		version, err = peer.maxVersion(ctx, kmsg.ConsumerGroupDescribe)
	}
	if err != nil {
		for _, g := range groups {
			g.description = unanswered(b, err)
		}
		return nil
	}
	var classic, consumer map[string]description
	var asking sync.WaitGroup
	asking.Go(func() { classic = describeClassic(ctx, peer, groupNames(groups, classicProtocol)) })
	if version >= 0 {
		asking.Go(func() { consumer = describeConsumer(ctx, peer, groupNames(groups, consumerProtocol)) })
	}
	asking.Wait()
	for _, g := range groups {
		was := g.protocol
		g.describe(b, classic[g.name], consumer[g.name])
		if was != anyProtocol && g.protocol == anyProtocol {
			changed = append(changed, g)
		}
	}
	return changed
}

// description is what one request told of a group; the zero value: it was not asked.
type description struct {
	found   bool
	state   string
	members int
	code    int16
	err     error
}

// describe takes what was told by either protocol: one finds the group, or none does and it does not exist.
func (g *group) describe(b broker, classic, consumer description) {
	told := map[protocol]description{classicProtocol: classic, consumerProtocol: consumer}
	for p, d := range told {
		if d.found {
			g.protocol, g.state, g.members, g.description = p, d.state, d.members, outcome{}
			return
		}
	}
	for _, d := range told {
		switch {
		case d.err != nil:
			g.description = unanswered(b, d.err)
			return
		case d.code != 0:
			g.description = coded(d.code)
			return
		}
	}
	g.protocol, g.state, g.members, g.description = anyProtocol, stateDead, 0, outcome{}
}

// groupNames of those that may be of a protocol.
func groupNames(groups []*group, p protocol) []string {
	var out []string
	for _, g := range groups {
		if g.protocol == p || g.protocol == anyProtocol {
			out = append(out, g.name)
		}
	}
	return out
}

// describeClassic asks for groups of the classic protocol. Brokers call all others dead, the newest also not found.
func describeClassic(ctx context.Context, peer *peer, names []string) map[string]description {
	if len(names) == 0 {
		return nil
	}
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = names
	answer, err := req.RequestWith(ctx, peer)
	if err != nil {
		return allFailed(names, err)
	}
	out := allFailed(names, errUnasked)
	for _, g := range answer.Groups {
		out[g.Group] = described(g.ErrorCode, g.State, len(g.Members))
	}
	return out
}

// describeConsumer asks for groups of the consumer protocol.
func describeConsumer(ctx context.Context, peer *peer, names []string) map[string]description {
	if len(names) == 0 {
		return nil
	}
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = names
	answer, err := req.RequestWith(ctx, peer)
	if err != nil {
		return allFailed(names, err)
	}
	out := allFailed(names, errUnasked)
	for _, g := range answer.Groups {
		out[g.Group] = described(g.ErrorCode, g.State, len(g.Members))
	}
	return out
}

func described(code int16, state string, members int) description {
	switch {
	case code == kerr.GroupIDNotFound.Code, code == 0 && state == stateDead:
		return description{}
	case code != 0:
		return description{code: code}
	}
	return description{found: true, state: state, members: members}
}

func allFailed(names []string, err error) map[string]description {
	out := make(map[string]description, len(names))
	for _, name := range names {
		out[name] = description{err: err}
	}
	return out
}
