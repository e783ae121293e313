package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// A run reads what each group has not committed yet, from its commits to the log's end as it was when the run began, and commits for the
// group what was applied. It joins no group: a broker takes such commits only while the group has no members, and so nobody
// else's commits go back. Two runs beside each other apply records twice; the one whose commits were moved by the other stops.

const (
	// takeBytes of records, about, that are fetched at once.
	takeBytes = 4 << 20
	// takeRetries of a request that fails: a broker may be on its way to become the leader.
	takeRetries = 5
)

// span is what a group has not committed of a partition: from start, before the offset end. committed is its commit; below 0:
// none. first is the oldest offset that the log still has.
type span struct{ committed, first, start, end int64 }

// groupSpans are a group's, by partition. members that it has, by their client's names.
type groupSpans struct {
	name    string
	spans   map[probes.Partition]*span
	members []string
}

// waiting records of the group, as far as offsets tell.
func (g *groupSpans) waiting() (n int64) {
	for _, s := range g.spans {
		n = sum(n, s.end-s.start)
	}
	return n
}

// membersFault says what to do about a group that has members; nil where it has none.
func (g *groupSpans) membersFault() error {
	if len(g.members) == 0 {
		return nil
	}
	return fmt.Errorf("the group %s has %d %s (%s), and while it has its commits are theirs alone; stop the processors, then run this again",
		g.name, len(g.members), plural("member", len(g.members)), nameList(g.members))
}

// OwnKeys implements probes.Backlogged.
func (*queue) OwnKeys() []string { return nil }

// Waiting implements probes.Backlogged.
func (q *queue) Waiting(ctx context.Context, sample int) (probes.Waiting, error) {
	t, err := q.take(ctx)
	if err != nil {
		return probes.Waiting{}, err
	}
	defer t.close()
	out := probes.Waiting{}
	for _, g := range t.groups {
		out.Messages = sum(out.Messages, g.waiting())
		if err := g.membersFault(); err != nil {
			out.Note = err.Error()
		}
	}
	if sample > 0 && out.Messages > 0 {
		out.Sample, err = t.Next(ctx, sample)
	}
	return out, err
}

// Take implements probes.Backlogged.
func (q *queue) Take(ctx context.Context) (probes.Taking, error) {
	t, err := q.take(ctx)
	if err != nil {
		return nil, err
	}
	for _, g := range t.groups {
		if err := g.membersFault(); err != nil {
			t.close()
			return nil, err
		}
	}
	return t, nil
}

// take learns what is to be read. Nothing is changed by that.
func (q *queue) take(ctx context.Context) (*taking, error) {
	if q.keysErr != nil {
		return nil, q.keysErr
	}
	if len(q.config.Groups) == 0 {
		return nil, errors.New("no consumer group is configured, so that what was processed is unknown; write the group that processes the topics in groups")
	}
	options, err := clientOptions(q.config.SASL, q.config.TLS)
	if err != nil {
		return nil, err
	}
	options = append(options, kgo.SeedBrokers(q.config.Brokers...), kgo.RequestRetries(takeRetries), kgo.MetadataMinAge(retryDelay))
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	t := &taking{queue: q, options: options, client: client, admin: kadm.NewClient(client)}
	if err := t.learn(ctx); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// learn the groups, and what they have not committed.
func (t *taking) learn(ctx context.Context) error {
	names, err := t.groupNames(ctx)
	if err != nil {
		return err
	}
	topics, err := t.topicNames(ctx)
	if err != nil {
		return err
	}
	starts, err := t.admin.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return takeFault(ctx, "asking for the topics' first offsets", err)
	}
	ends, err := t.admin.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return takeFault(ctx, "asking for the topics' ends", err)
	}
	for _, name := range names {
		g, err := t.learnGroup(ctx, name, starts, ends)
		if err != nil {
			return err
		}
		t.groups = append(t.groups, g)
	}
	return nil
}

// groupNames are the groups that are configured, of regular expressions those that there are.
func (t *taking) groupNames(ctx context.Context) ([]string, error) {
	matches := t.queue.config.Groups
	var found []probes.FoundGroup
	if len(form.ExactNames(matches)) < len(matches) {
		listed, err := t.admin.ListGroups(ctx)
		if err != nil {
			return nil, takeFault(ctx, "listing the groups", err)
		}
		for _, name := range listed.Groups() {
			found = append(found, probes.FoundGroup{Name: name}) // leftover ones too: whose messages they are is not known
		}
	}
	chosen, err := probes.ChooseGroups(matches, found)
	return chosen.Names, err
}

func (t *taking) topicNames(ctx context.Context) ([]string, error) {
	listed, err := t.admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return nil, takeFault(ctx, "listing the topics", err)
	}
	matches := t.queue.config.Topics
	var names []string
	for name, d := range listed {
		if topicSelected(matches, name, d.IsInternal) {
			names = append(names, name)
		}
	}
	for _, name := range form.ExactNames(matches) {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("topic %s: %w", name, errNoSuch)
		}
	}
	if len(names) == 0 {
		return nil, errors.New("no topic matches; check the names in topics")
	}
	slices.Sort(names)
	return names, nil
}

// learnGroup gives what a group has not committed. A partition without a commit, of a topic in which the group has others, is
// read from its start.
func (t *taking) learnGroup(ctx context.Context, name string, starts, ends kadm.ListedOffsets) (*groupSpans, error) {
	commits, err := t.commits(ctx, name)
	if err != nil {
		return nil, err
	}
	g := &groupSpans{name: name, spans: map[probes.Partition]*span{}}
	if g.members, err = t.members(ctx, name); err != nil {
		return nil, err
	}
	for topic, partitions := range ends {
		for id, end := range partitions {
			first, _ := starts.Lookup(topic, id)
			s := &span{committed: -1, first: first.Offset, start: first.Offset, end: end.Offset}
			if commit, ok := commits.Lookup(topic, id); ok && commit.At >= 0 {
				s.committed, s.start = commit.At, commit.At
			} else if len(commits[topic]) == 0 && s.end > s.start {
				return nil, fmt.Errorf("the group %s has committed nothing in topic %s, so that what was processed is unknown; "+
					"check its name, or say where it begins with kafka-consumer-groups --reset-offsets --to-earliest", name, topic)
			}
			s.end = max(s.end, s.start)
			g.spans[probes.Partition{Topic: topic, ID: id}] = s
		}
	}
	return g, nil
}

// commits of a group.
func (t *taking) commits(ctx context.Context, group string) (kadm.Offsets, error) {
	got, err := t.admin.FetchOffsets(ctx, group)
	if err == nil {
		err = got.Error()
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, takeFault(ctx, "reading the commits of group "+group, err)
	}
	return got.Offsets(), nil
}

// members of a group, by their client's names. There are two protocols of groups, and a request for each.
func (t *taking) members(ctx context.Context, group string) ([]string, error) {
	var out []string
	classic, err := t.admin.DescribeGroups(ctx, group)
	if err != nil {
		return nil, takeFault(ctx, "asking for the members of group "+group, err)
	}
	d := classic[group]
	if d.Err != nil && !errors.Is(d.Err, kerr.GroupIDNotFound) {
		return nil, takeFault(ctx, "asking for the members of group "+group, d.Err)
	}
	for _, m := range d.Members {
		out = append(out, m.ClientID)
	}
	if d.Err == nil && d.State != stateDead {
		return out, nil
	}
	newer, err := t.admin.DescribeConsumerGroups(ctx, group)
	if err != nil { // a broker that does not know the request has no such group
		return out, nil //nolint:nilerr // as above; it would refuse a commit beside members in any case
	}
	for _, m := range newer[group].Members {
		out = append(out, m.ClientID)
	}
	return out, nil
}
