package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// streamGroup is a group of XINFO GROUPS; one that is configured and does not exist has no fields.
type streamGroup struct {
	name   string
	fields fieldReply
	// leftover: see probes.ChosenGroups.
	leftover bool
}

// groupEntries are what was seen of a group's entries. Ids are empty where there is none.
type groupEntries struct {
	// pending and undelivered are the oldest ones; processable is the oldest pending one that still exists.
	pending, processable, undelivered string
	// asked for the oldest undelivered entry; skipped: it would have been.
	asked, skipped bool
	// gone are pending entries that were deleted, of those that were looked at.
	gone int64
	// after are the entries after the one delivered last, where the server tells no lag.
	after probes.Count
}

// countedEntries of a group are looked at, where no sample is configured that says how many.
const countedEntries = 1000

// entryOrder is an entry's id, to compare it with others.
type entryOrder struct{ ms, seq uint64 }

// orderOf an entry's id; false where it is none.
func orderOf(id string) (entryOrder, bool) {
	ms, seq, _ := strings.Cut(id, "-")
	a, err := strconv.ParseUint(ms, 10, 64)
	if err != nil {
		return entryOrder{}, false
	}
	b, err := strconv.ParseUint(seq, 10, 64)
	return entryOrder{a, b}, err == nil
}

func (o entryOrder) before(p entryOrder) bool { return o.ms < p.ms || o.ms == p.ms && o.seq < p.seq }

// isBefore reports whether the entry with one id is older than that with another; not where either is none.
func isBefore(id, other string) bool {
	a, ok := orderOf(id)
	b, known := orderOf(other)
	return ok && known && a.before(b)
}

// firstID of the entries that the stream holds; empty where that is none or not known.
func firstID(info fieldReply, large bool) string {
	first, ok := info["first-entry"].([]any)
	if !ok || len(first) == 0 || large {
		return ""
	}
	return entryID([]any{first})
}

// groupLook is what more to ask of a group.
type groupLook struct {
	streamGroup
	// ids of pending entries; later is the oldest that is not older than the stream's first entry.
	ids, later *redis.Cmd
	// before and after are entries up to the one delivered last, and behind it.
	before, after *redis.Cmd
	// exists asks for one entry each.
	exists map[string]*redis.Cmd
}

// look at the entries of the groups of which the server's own numbers say too little: where it tells no lag, and where pending
// entries may be gone. All of them together read no more entries than ranges.
func (a *streamSampling) look(ctx context.Context, c redis.Cmdable, info fieldReply) {
	first := firstID(info, false)
	// Before Redis 7.0 nothing tells that entries were deleted elsewhere than at the stream's beginning.
	deleted, told := info["max-deleted-entry-id"].(string)
	mayBeGone := func(id string) bool { return isBefore(id, first) || !told || !isBefore(deleted, id) }
	var looks []*groupLook
	ids, counts := 0, 0
	for _, g := range a.picked {
		seen, ok := a.out.seen[g.name]
		if !ok || a.out.length == 0 { // nothing waits in an empty stream
			continue
		}
		l := &groupLook{streamGroup: g}
		if seen.pending != "" && mayBeGone(seen.pending) {
			l.ids, ids = &redis.Cmd{}, ids+1
		}
		delivered, _ := g.fields["last-delivered-id"].(string)
		if _, known := g.fields.lag(); !known && seen.undelivered != "" && !isBefore(delivered, first) {
			l.after, counts = &redis.Cmd{}, counts+1
		}
		if l.ids != nil || l.after != nil {
			looks = append(looks, l)
		}
	}
	if len(looks) == 0 {
		return
	}
	most := a.sample
	if most == 0 {
		most = countedEntries
	}
	each := func(shares int) int { return min(most, max(a.ranges/max(shares, 1), 1)) }
	p := c.Pipeline()
	kind := p.Type(ctx, a.key)
	for _, l := range looks {
		if l.ids != nil && first != "" {
			l.later = p.Do(ctx, "XPENDING", a.key, l.name, first, "+", 1)
		}
		if l.ids != nil {
			l.ids = p.Do(ctx, "XPENDING", a.key, l.name, "-", "+", each(ids))
		}
		if l.after != nil {
			delivered, _ := l.fields["last-delivered-id"].(string)
			l.before = p.Do(ctx, "XRANGE", a.key, "-", delivered, "COUNT", each(2*counts))
			l.after = p.Do(ctx, "XRANGE", a.key, "("+delivered, "+", "COUNT", each(2*counts))
		}
	}
	_, _ = p.Exec(ctx) // each command has its own error
	gone := a.gone(kind)
	for _, l := range looks {
		a.takeCount(l, gone, each(2*counts))
	}
	if ids > 0 {
		a.lookForPending(ctx, c, looks, gone, mayBeGone, first)
	}
}

// takeCount takes how many entries are behind the one delivered last: counted from either end of the stream, or at least as
// many as were asked for.
func (a *streamSampling) takeCount(l *groupLook, gone bool, asked int) {
	if l.after == nil {
		return
	}
	before, after := a.entries(l.before, gone), a.entries(l.after, gone)
	if l.before.Err() != nil || l.after.Err() != nil {
		return
	}
	n := int64(len(after))
	if len(after) >= asked && len(before) < asked {
		n = max(n, a.out.length-int64(len(before)))
	}
	seen := a.out.seen[l.name]
	seen.after = probes.Count{Value: float64(n), Known: true}
	a.out.seen[l.name] = seen
}

// lookForPending entries, whether they still exist. Those that are not looked at are taken to.
func (a *streamSampling) lookForPending(
	ctx context.Context, c redis.Cmdable, looks []*groupLook, gone bool, mayBeGone func(string) bool, first string,
) {
	p := c.Pipeline()
	kind := p.Type(ctx, a.key)
	listed := map[string][]string{}
	for _, l := range looks {
		l.exists = map[string]*redis.Cmd{}
		for _, row := range a.entries(l.ids, gone) {
			id := entryID([]any{row})
			listed[l.name] = append(listed[l.name], id)
			if !isBefore(id, first) && mayBeGone(id) {
				l.exists[id] = p.Do(ctx, "XRANGE", a.key, id, id)
			}
		}
	}
	_, _ = p.Exec(ctx) // each command has its own error
	gone = a.gone(kind)
	for _, l := range looks {
		if l.ids == nil {
			continue
		}
		later := entryID(a.entries(l.later, gone))
		if l.ids.Err() != nil {
			continue
		}
		seen, oldest := a.out.seen[l.name], ""
		for _, id := range listed[l.name] {
			cmd := l.exists[id]
			there := !isBefore(id, first)
			if cmd != nil {
				there = len(a.entries(cmd, gone)) > 0 || cmd.Err() != nil
			}
			switch {
			case !there:
				seen.gone++
			case oldest == "":
				oldest = id
			}
		}
		if n, known := l.fields.number("pending"); oldest == "" && known && n > int64(len(listed[l.name])) {
			oldest = later // none of those that were looked at exists
		}
		seen.processable = oldest
		a.out.seen[l.name] = seen
	}
}

var errNamelessGroup = errors.New("the server lists a group whose name can't be read, so that what waits for it is unknown")

// pick the selected groups, by name, and how many leftover ones there are. One without a name that can be read may be any of those
// that are not there.
func (q *streamQueue) pick(list []any) (groups []streamGroup, leftover int, err error) {
	there, nameless := map[string]fieldReply{}, false
	var found []probes.FoundGroup
	for _, item := range list {
		f, ok := replyFields(item)
		name, isText := f["name"].(string)
		nameless = nameless || !ok || !isText
		if ok && isText {
			there[name] = f
			consumers, known := f.number("consumers")
			found = append(found, probes.FoundGroup{Name: name, Live: consumers > 0, Known: known})
		}
	}
	chosen, err := probes.ChooseGroups(q.groups, found)
	if nameless && !q.hasAll(there) {
		err = errors.Join(err, errNamelessGroup)
	}
	for _, name := range chosen.Names {
		groups = append(groups, streamGroup{name, there[name], chosen.Leftover[name]})
	}
	return groups, len(chosen.Leftover), err
}

// hasAll: each group that is configured is there, and no other can be meant.
func (q *streamQueue) hasAll(there map[string]fieldReply) bool {
	return len(q.groups) > 0 && !slices.ContainsFunc(q.groups, func(m form.NameMatch) bool { return m.Regexp != nil || there[m.Exact] == nil })
}

var errNoPending = errors.New("the server does not tell what is pending")

// group gives one group's part, and how many messages wait for it in a stream of this length and with this first entry.
func (q *streamQueue) group(g streamGroup, seen groupEntries, length int64, first string) (out probes.GroupBacklog, waiting float64, err error) {
	out = probes.GroupBacklog{Group: g.name, HasMembers: true, HasOffsets: true, Leftover: g.leftover}
	if g.fields == nil {
		out.Uncommitted = 1
		return out, 0, fmt.Errorf("the stream has no such group; create it with XGROUP CREATE %s, or correct its name in groups", q.key)
	}
	consumers, hasConsumers := g.fields.number("consumers")
	out.Members, out.HasMembers = int(consumers), hasConsumers
	pending, hasPending := g.fields.number("pending")
	out.Pending = probes.Count{Value: float64(pending), Known: hasPending}
	if read, ok := g.fields.number("entries-read"); ok && hasPending {
		out.Positions = map[probes.Partition]float64{q.partition(): float64(read - pending)}
	}
	if !hasPending {
		return out, 0, errNoPending
	}
	delivered, _ := g.fields["last-delivered-id"].(string)
	if delivered != "" {
		out.Standing = fmt.Sprintf("%s, %d pending", probes.Shown(delivered), pending)
	}
	lag, hasLag := g.fields.lag()
	undelivered, known := g.undelivered(seen, length, first)
	if hasLag {
		out.Lag = map[probes.Partition]int64{q.partition(): max(lag, 0)}
	} else if known {
		out.Lag = map[probes.Partition]int64{q.partition(): undelivered}
	}
	if !known {
		return out, 0, errors.New("the server does not tell its lag, as before Redis 7.0 or after XDEL and XGROUP SETID, and its entries could not be counted")
	}
	waits := min(undelivered+max(pending-seen.gone, 0), max(length, 0))
	out.Waiting = map[probes.Partition]int64{q.partition(): waits}
	return out, float64(waits), nil
}

// undelivered entries that the stream holds. The server's lag also counts such as were trimmed before they were delivered.
func (g *streamGroup) undelivered(seen groupEntries, length int64, first string) (n int64, known bool) {
	lag, hasLag := g.fields.lag()
	delivered, _ := g.fields["last-delivered-id"].(string)
	switch {
	case length <= 0, seen.asked && seen.undelivered == "", hasLag && lag <= 0:
		return 0, true
	case isBefore(delivered, first):
		return length, true
	case hasLag:
		return min(lag, length), true
	case seen.after.Known:
		return int64(seen.after.Value), true
	}
	return 0, false
}

// setAges sets a group's ages, and the queue's: that of the oldest entry that any of them can still process.
func (q *streamQueue) setAges(g *probes.GroupBacklog, all map[string]groupEntries, oldest *probes.Count, first bool) {
	seen, asked := all[g.Group]
	if !asked {
		*oldest = probes.Count{}
		return
	}
	now := time.Now()
	lag, processable := entryAge(seen.undelivered, now), entryAge(seen.processable, now)
	if seen.skipped {
		lag = probes.Count{}
	}
	if lag.Known {
		g.LagSeconds = map[probes.Partition]float64{q.partition(): lag.Value}
	}
	g.OldestPending = entryAge(seen.pending, now)
	if !lag.Known || !processable.Known || !first && !oldest.Known {
		*oldest = probes.Count{}
		return
	}
	*oldest = probes.Count{Value: max(oldest.Value, lag.Value, processable.Value), Known: true}
}
