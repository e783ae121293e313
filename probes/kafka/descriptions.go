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

// stateDead is what Kafka calls a group that does not exist, and stateEmpty one without members.
const stateDead, stateEmpty = "Dead", "Empty"

// learnDescriptions asks a coordinator for states and members. A group of which the protocol is not known is asked for by
// both.
func (s *sampling) learnDescriptions(ctx context.Context, b broker, groups []*group) {
	var listed []*group
	for _, g := range groups {
		if !g.unlisted {
			g.description = outcome{err: errLeftOut}
			listed = append(listed, g)
		}
	}
	notFound := s.describeByProtocol(ctx, b, listed)
	for _, g := range notFound { // it may have changed its protocol
		g.protocol = anyProtocol
	}
	s.describeByProtocol(ctx, b, notFound)
}

// describeByProtocol asks for each group by its protocol. It gives the groups that were known by one and are not found by it.
func (s *sampling) describeByProtocol(ctx context.Context, b broker, groups []*group) (notFound []*group) {
	if len(groups) == 0 {
		return nil
	}
	conn, err := s.conn(b)
	version := int16(-1)
	if err == nil {
		version, err = conn.maxVersion(ctx, kmsg.ConsumerGroupDescribe)
	}
	if err != nil {
		for _, g := range groups {
			g.description = failedOutcome(b, err)
		}
		return nil
	}
	var classic, consumer map[string]description
	var requests sync.WaitGroup
	s.beside(&requests, func() { classic = requestClassic(ctx, conn, groupNames(groups, classicProtocol)) })
	if version >= 0 {
		s.beside(&requests, func() { consumer = requestConsumer(ctx, conn, groupNames(groups, consumerProtocol)) })
	}
	requests.Wait()
	for _, g := range groups {
		was := g.protocol
		g.setDescription(b, classic[g.name], consumer[g.name])
		if was != anyProtocol && g.protocol == anyProtocol {
			notFound = append(notFound, g)
		}
	}
	return notFound
}

// description is what one request said of a group; the zero value: it was not asked for, or not found.
type description struct {
	found   bool
	state   string
	members int
	code    int16
	err     error
}

// setDescription takes what both protocols said of the group: one finds it, or none does and it does not exist.
func (g *group) setDescription(b broker, classic, consumer description) {
	descriptions := map[protocol]description{classicProtocol: classic, consumerProtocol: consumer}
	for p, d := range descriptions {
		if d.found {
			g.protocol, g.state, g.members, g.description = p, d.state, d.members, outcome{}
			return
		}
	}
	for _, d := range descriptions {
		switch {
		case d.err != nil:
			g.description = failedOutcome(b, d.err)
			return
		case d.code != 0:
			g.description = codeOutcome(d.code)
			return
		}
	}
	g.protocol, g.state, g.members, g.description = anyProtocol, stateDead, 0, outcome{}
}

// groupNames are those of the groups that are, or may be, of a protocol.
func groupNames(groups []*group, p protocol) []string {
	var out []string
	for _, g := range groups {
		if g.protocol == p || g.protocol == anyProtocol {
			out = append(out, g.name)
		}
	}
	return out
}

// requestClassic asks for groups of the classic protocol. Brokers call all others dead, the newest also not found.
func requestClassic(ctx context.Context, conn *brokerConn, names []string) map[string]description {
	if len(names) == 0 {
		return nil
	}
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = names
	answer, err := req.RequestWith(ctx, conn)
	if err != nil {
		return failedDescriptions(names, err)
	}
	out := failedDescriptions(names, errLeftOut)
	for _, g := range answer.Groups {
		out[g.Group] = newDescription(g.ErrorCode, g.State, len(g.Members))
	}
	return out
}

// requestConsumer asks for groups of the consumer protocol.
func requestConsumer(ctx context.Context, conn *brokerConn, names []string) map[string]description {
	if len(names) == 0 {
		return nil
	}
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = names
	answer, err := req.RequestWith(ctx, conn)
	if err != nil {
		return failedDescriptions(names, err)
	}
	out := failedDescriptions(names, errLeftOut)
	for _, g := range answer.Groups {
		out[g.Group] = newDescription(g.ErrorCode, g.State, len(g.Members))
	}
	return out
}

// newDescription of an answer: both ways to say that a group does not exist are the zero value.
func newDescription(code int16, state string, members int) description {
	switch {
	case code == kerr.GroupIDNotFound.Code, code == 0 && state == stateDead:
		return description{}
	case code != 0:
		return description{code: code}
	}
	return description{found: true, state: state, members: members}
}

// failedDescriptions has an error for each name, until an answer replaces it.
func failedDescriptions(names []string, err error) map[string]description {
	out := make(map[string]description, len(names))
	for _, name := range names {
		out[name] = description{err: err}
	}
	return out
}
