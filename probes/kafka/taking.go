package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// taking is one run on the topics, for one group after the other.
type taking struct {
	queue   *queue
	options []kgo.Opt
	client  *kgo.Client
	admin   *kadm.Client
	// groups that are left, the present one first.
	groups []*groupSpans
	// reader of the present group's partitions; nil: not begun, or at its end.
	reader *kgo.Client
	// logs of the present group that are not read to their end, or hold records that are not committed.
	logs map[probes.Partition]*takenLog
	// given by the last Next, in the order of offsets within a partition.
	given []givenRecord
}

// takenLog is one partition, as far as a run has come.
type takenLog struct {
	*span
	// read is the offset of the next record, and done is up to where all is applied.
	read, done int64
	// held: a record was kept at done, and no commit goes past it.
	held bool
}

// givenRecord is where a record was. Such as hold no message (control) are passed over; lost is for what the topic deleted.
type givenRecord struct {
	partition     probes.Partition
	offset        int64
	control, lost bool
}

// Next implements probes.Taking.
func (t *taking) Next(ctx context.Context, most int) ([]probes.TakenMessage, error) {
	t.given = nil
	for len(t.groups) > 0 {
		var out []probes.TakenMessage
		if t.reader == nil {
			var err error
			if out, err = t.open(); err != nil {
				return nil, err
			}
		}
		for len(out) == 0 && t.unread() {
			more, err := t.poll(ctx, most)
			if err != nil {
				return nil, err
			}
			out = more
		}
		if len(out) > 0 {
			return out, nil
		}
		t.pass() // what is left holds no message
		if err := t.commit(ctx); err != nil {
			return nil, err
		}
		t.reader.Close()
		t.reader, t.groups = nil, t.groups[1:]
	}
	return nil, nil
}

// open a reader of the present group's partitions. It gives what the topics' retention has deleted meanwhile.
func (t *taking) open() (lost []probes.TakenMessage, err error) {
	from := map[string]map[int32]kgo.Offset{}
	t.logs = map[probes.Partition]*takenLog{}
	g := t.groups[0]
	for id, s := range g.spans {
		if s.start == s.end {
			continue
		}
		l := &takenLog{span: s, read: max(s.start, s.first), done: s.start}
		t.logs[id] = l
		if l.read < l.end {
			if from[id.Topic] == nil {
				from[id.Topic] = map[int32]kgo.Offset{}
			}
			from[id.Topic][id.ID] = kgo.NewOffset().At(l.read)
		}
		if s.first > s.start {
			lost = append(lost, probes.TakenMessage{
				ID:     fmt.Sprintf("%s/%d/%d-%d", id.Topic, id.ID, s.start, s.first-1),
				Poison: "the topic's retention deleted it before it was applied, so that its keys are unknown",
			})
			t.given = append(t.given, givenRecord{partition: id, offset: s.first - 1, lost: true})
		}
	}
	t.reader, err = kgo.NewClient(append(slices.Clip(t.options),
		kgo.ConsumePartitions(from), kgo.KeepControlRecords(), kgo.FetchMaxBytes(takeBytes), kgo.MaxConcurrentFetches(1),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	return lost, err
}

// unread: some partition was not read to its end.
func (t *taking) unread() bool {
	for _, l := range t.logs {
		if l.read < l.end {
			return true
		}
	}
	return false
}

// poll reads records before the logs' ends.
func (t *taking) poll(ctx context.Context, most int) ([]probes.TakenMessage, error) {
	fetches := t.reader.PollRecords(ctx, most)
	for _, e := range fetches.Errors() {
		return nil, takeFault(ctx, fmt.Sprintf("reading topic %s, partition %d", e.Topic, e.Partition), e.Err)
	}
	var out []probes.TakenMessage
	fetches.EachRecord(func(r *kgo.Record) {
		id := probes.Partition{Topic: r.Topic, ID: r.Partition}
		l := t.logs[id]
		if l == nil || r.Offset < l.read {
			return
		}
		l.read = r.Offset + 1
		if r.Offset >= l.end {
			return
		}
		control := r.Attrs.IsControl()
		t.given = append(t.given, givenRecord{partition: id, offset: r.Offset, control: control})
		if control {
			return
		}
		m := probes.TakenMessage{ID: fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset), Text: r.Value}
		m.Keys, m.Poison = t.queue.keys.Read(r.Value)
		out = append(out, m)
	})
	return out, nil
}

// pass what was given and holds no message.
func (t *taking) pass() {
	for _, r := range t.given {
		if l := t.logs[r.partition]; r.control && !l.held {
			l.done = r.offset + 1
		}
	}
	t.given = nil
}

// Finish implements probes.Taking: it commits, of each partition, up to the first record that is kept.
func (t *taking) Finish(ctx context.Context, outcome []probes.Outcome) (int, error) {
	finished, i := 0, 0
	for _, r := range t.given {
		l := t.logs[r.partition]
		if !r.control {
			l.held = l.held || outcome[i] == probes.MessageKept
			i++
			if !l.held {
				finished++
			}
		}
		if !l.held {
			l.done = r.offset + 1
		}
	}
	t.given = nil
	if err := t.commit(ctx); err != nil {
		return 0, err
	}
	return finished, nil
}

// commit what is applied, if the group still has no members and its commits are those of this run.
func (t *taking) commit(ctx context.Context) error {
	g, next := t.groups[0], kadm.Offsets{}
	for id, l := range t.logs {
		if l.done > l.committed {
			next.AddOffset(id.Topic, id.ID, l.done, -1)
		}
	}
	if len(next) == 0 {
		return nil
	}
	var err error
	if g.members, err = t.members(ctx, g.name); err != nil {
		return err
	}
	if err := g.membersFault(); err != nil {
		return err
	}
	now, err := t.commits(ctx, g.name)
	if err != nil {
		return err
	}
	for id, l := range t.logs {
		at := int64(-1)
		if commit, ok := now.Lookup(id.Topic, id.ID); ok {
			at = commit.At
		}
		if at != l.committed {
			return fmt.Errorf("the commits of group %s in topic %s, partition %d were moved from %d to %d meanwhile, by a member or another run; "+
				"run this again once nobody else commits", g.name, id.Topic, id.ID, l.committed, at)
		}
	}
	got, err := t.admin.CommitOffsets(ctx, g.name, next)
	if err == nil {
		err = got.Error()
	}
	switch {
	case errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.IllegalGeneration), errors.Is(err, kerr.RebalanceInProgress):
		return fmt.Errorf("the group %s has members again (%w); stop the processors, then run this again", g.name, err)
	case err != nil:
		return takeFault(ctx, "committing for group "+g.name, err)
	}
	for id, l := range t.logs {
		if l.done > l.committed {
			l.committed = l.done
		}
		if l.committed == l.end {
			delete(t.logs, id)
		}
	}
	return nil
}

// takeFault says what to do where something failed.
func takeFault(ctx context.Context, what string, err error) error {
	switch {
	case ctx.Err() != nil:
		err = probes.NoAnswer(ctx)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.GroupAuthorizationFailed):
		return fmt.Errorf("%s was refused; grant the exporter's user READ on the topics and the groups", what)
	default:
		err = connectionFault(err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Close implements probes.Taking.
func (t *taking) Close(context.Context) error {
	t.close()
	return nil
}

func (t *taking) close() {
	if t.reader != nil {
		t.reader.Close()
	}
	t.client.Close()
}
