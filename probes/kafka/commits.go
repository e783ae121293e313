package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// failedOutcome is that of all groups whose coordinator failed to answer.
func failedOutcome(b broker, err error) outcome {
	return outcome{fmt.Errorf("its coordinator, broker %d (%s): %w", b.id, b.address, err), true}
}

// codeOutcome is that of a group's error code.
func codeOutcome(code int16) outcome {
	return outcome{codeFault(code), kerr.IsRetriable(kerr.ErrorForCode(code))}
}

// learnCommits asks a coordinator for all that groups have committed, of other topics too: a list of partitions would be
// longer than the answer.
func (s *sampling) learnCommits(ctx context.Context, b broker, groups []*group) {
	by := map[string]*group{}
	for _, g := range groups {
		by[g.name] = g
		g.offsets, g.commits, g.unread = outcome{err: errLeftOut}, map[probes.Partition]int64{}, map[probes.Partition]error{}
	}
	conn, err := s.conn(b)
	version := int16(0)
	if err == nil {
		version, err = conn.maxVersion(ctx, kmsg.OffsetFetch)
	}
	if err == nil && version < 8 {
		err = requestCommitsSingly(ctx, conn, groups)
	} else if err == nil {
		err = requestCommitsTogether(ctx, conn, by)
	}
	if err != nil {
		for _, g := range groups {
			if errors.Is(g.offsets.err, errLeftOut) {
				g.offsets = failedOutcome(b, err)
			}
		}
	}
}

// requestCommitsTogether asks for the commits of all groups by one request.
func requestCommitsTogether(ctx context.Context, conn *brokerConn, groups map[string]*group) error {
	req := kmsg.NewPtrOffsetFetchRequest()
	for name := range groups {
		one := kmsg.NewOffsetFetchRequestGroup()
		one.Group = name
		req.Groups = append(req.Groups, one)
	}
	answer, err := req.RequestWith(ctx, conn)
	if err != nil {
		return err
	}
	for _, got := range answer.Groups {
		g := groups[got.Group]
		if g == nil {
			continue
		}
		g.offsets = commitsOutcome(got.ErrorCode)
		n := 0
		for _, t := range got.Topics {
			n += len(t.Partitions)
		}
		g.commits = make(map[probes.Partition]int64, n)
		for _, t := range got.Topics {
			for _, p := range t.Partitions {
				g.setCommit(probes.Partition{Topic: t.Topic, ID: p.Partition}, p.Offset, p.ErrorCode)
			}
		}
	}
	return nil
}

// requestCommitsSingly is for brokers before Kafka 3.0, which take one group at a time.
func requestCommitsSingly(ctx context.Context, conn *brokerConn, groups []*group) error {
	for _, g := range groups {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group = g.name
		answer, err := req.RequestWith(ctx, conn)
		if err != nil {
			return err
		}
		g.offsets = commitsOutcome(answer.ErrorCode)
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				g.setCommit(probes.Partition{Topic: t.Topic, ID: p.Partition}, p.Offset, p.ErrorCode)
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
	return codeOutcome(code)
}

// setCommit takes what was answered of one partition. A negative offset says that nothing was committed.
func (g *group) setCommit(p probes.Partition, offset int64, code int16) {
	switch {
	case code != 0:
		g.unread[p] = codeFault(code)
	case offset >= 0:
		g.commits[p] = offset
	}
}
