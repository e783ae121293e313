package redis

import (
	"errors"
	"fmt"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

func (q *streamQueue) partition() probes.Partition { return probes.Partition{Topic: q.key} }

func (q *streamQueue) missing() probes.Backlog {
	b := probes.Backlog{
		Complete: true, Depth: probes.Count{Known: true}, Ends: map[probes.Partition]float64{q.partition(): 0}, Groups: []probes.GroupBacklog{},
		OldestAge: probes.Count{Known: true}, LeftoverGroups: probes.Count{Known: true},
	}
	if q.sample > 0 {
		b.Sample = q.messages.Sample()
	}
	for _, name := range form.ExactNames(q.groups) {
		b.Groups = append(b.Groups, probes.GroupBacklog{Group: name, HasMembers: true, HasOffsets: true})
	}
	return b
}

func (q *streamQueue) backlog(got streamReply) (probes.Backlog, error) {
	info, ok := replyFields(got.info)
	length, known := info.number("length")
	if got.large {
		length, ok, known = got.length, true, true
	}
	list, isList := got.groups.([]any)
	if !ok || !known || !isList {
		return probes.Backlog{}, fmt.Errorf("XINFO's answer about %q can't be read; is the server a Redis or Valkey?", q.key)
	}
	b := probes.Backlog{Ends: map[probes.Partition]float64{}, Groups: []probes.GroupBacklog{}, Sample: got.sample}
	if added, ok := info.number("entries-added"); ok && !got.large {
		b.Ends[q.partition()] = float64(added)
	}
	read, err := q.addGroups(&b, got, list, length, firstID(info, got.large))
	if !read {
		b.Depth.Value = float64(length)
		if first, ok := info["first-entry"].([]any); ok && len(first) > 0 && !got.large {
			b.OldestAge = entryAge(entryID([]any{first}), time.Now())
		}
	}
	if b.Depth.Known && b.Depth.Value == 0 {
		b.OldestAge = probes.Count{Known: true}
	}
	if !b.Depth.Known {
		b.Depth.Value = 0
	}
	b.Complete = err == nil
	switch {
	case got.large:
		err = errors.Join(err, q.size.refused(q.key))
	case skippedAny(got.seen):
		err = errors.Join(err, fmt.Errorf("the entries of %q are too large to look at the oldest one of each group; put less into a message", q.key))
	}
	if got.entriesErr != nil {
		err = errors.Join(err, queueRefused("XPENDING or XRANGE", q.key, "stream", got.entriesErr))
	}
	return b, err
}

// addGroups adds the groups that are watched, and the depth of the one that has most to process. It reports whether a group is
// there that counts, by a name that can be read or not.
func (q *streamQueue) addGroups(b *probes.Backlog, got streamReply, list []any, length int64, first string) (read bool, err error) {
	groups, leftover, err := q.pick(list)
	errs, nameless := []error{err}, errors.Is(err, errNamelessGroup)
	b.LeftoverGroups = probes.Count{Value: float64(leftover), Known: true}
	b.Depth = probes.Count{Known: true}
	for _, g := range groups {
		one, waiting, err := q.group(g, got.seen[g.name], length, first)
		if delivered, _ := g.fields["last-delivered-id"].(string); q.visit != nil {
			one.Passed = q.passed(delivered, got.pending[g.name])
		}
		oldest := &b.OldestAge
		if one.Leftover {
			oldest = &probes.Count{}
		}
		if g.fields != nil {
			q.setAges(&one, got.seen, oldest, !read)
		}
		b.Groups = append(b.Groups, one)
		if one.Leftover {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("group %s: %w", probes.Shown(one.Group), err))
			b.Depth.Known = false
		}
		b.Depth.Value = max(b.Depth.Value, waiting)
		read = read || g.fields != nil
	}
	if nameless {
		b.Depth.Known, b.OldestAge, read = false, probes.Count{}, true
	}
	return read, errors.Join(errs...)
}

func skippedAny(all map[string]groupEntries) bool {
	for _, seen := range all {
		if seen.skipped {
			return true
		}
	}
	return false
}
