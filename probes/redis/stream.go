package redis

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
)

// streamQueue is a queue in a Redis stream.
type streamQueue struct {
	server   commander
	key      string
	groups   []form.NameMatch // none: all
	messages *message.Reader
	// keys of entries that are taken; nil where keysErr says why they can't be.
	keys    *message.KeyReader
	keysErr error
	// sample is how many entries are sampled; 0: none.
	sample int
	size   messageSize
	holds  queueHolder
	// visit is called with the entries behind cursor; nil: nobody follows them.
	visit  func(probes.Event)
	cursor streamCursor
}

func (*streamQueue) Close() {} // the connection is the fleet's

// streamReply is the answers about a stream.
type streamReply struct {
	info, groups       any
	infoErr, groupsErr error
	// large: the entries are too large to look at; there is no info then, but the length alone.
	large     bool
	length    int64
	lengthErr error
	// seen by group; sample of the newest entries; entriesErr is why some of these are missing.
	seen       map[string]groupEntries
	sample     *probes.MessageSample
	entriesErr error
	// pending entries by group; of one that is not there they were not learned. page of the entries that are followed; nil: not read.
	pending map[string]*pendingIDs
	page    *streamPage
}

// Sample asks for the stream's length, size and groups, then for what is known of it and the oldest entry of each group,
// and for the newest of all, with those that are followed, once it is known how large the last one is: three round trips, and two more where a group's lag is
// unknown to the server or some of its pending entries may be gone. Entries that are too large
// are not asked for, and neither is XINFO STREAM then, which gives the first and the last entry whole: nothing else tells
// how many entries were added. A stream that does not exist is empty, whatever groups are configured; on one that does, a
// configured group that does not exist is a fault.
func (q *streamQueue) Sample(ctx context.Context) (probes.Backlog, error) {
	got, err := askHolding(ctx, q.server, q.holds, q.size.most(), q.ask)
	if err != nil {
		return probes.Backlog{}, err
	}
	if noSuchKey(got.infoErr) || noSuchKey(got.groupsErr) {
		b, page := q.missing(), q.missed()
		q.visitPage(&b, &page)
		return b, nil
	}
	if err := cmp.Or(got.infoErr, got.groupsErr); err != nil {
		return probes.Backlog{}, queueRefused("XINFO", q.key, "stream", err)
	}
	if got.large && got.lengthErr != nil {
		return probes.Backlog{}, queueRefused("XLEN", q.key, "stream", got.lengthErr)
	}
	b, err := q.backlog(got)
	q.visitPage(&b, got.page)
	return b, err
}

func (q *streamQueue) ask(ctx context.Context, c redis.Cmdable, hold holdBudget) (out streamReply, hits, misses uint64) {
	a := streamSampling{streamQueue: q, pending: map[string]*redis.Cmd{}, undelivered: map[string]*redis.Cmd{}}
	a.run(ctx, c, hold)
	return a.out, a.hits, a.misses
}

// streamSampling is what one sampling asks of the server, and what came so far.
type streamSampling struct {
	*streamQueue
	out          streamReply
	hits, misses uint64

	usage *redis.IntCmd
	// pending by group, and undelivered by the entry delivered last.
	pending, undelivered map[string]*redis.Cmd
	// largest entry that was not read for its size.
	largest int64
	// picked groups that exist, and at how many places entries may be read.
	picked []streamGroup
	ranges int
}

func (a *streamSampling) count(err error) {
	h, m := hitOrMiss(err)
	a.hits, a.misses = a.hits+h, a.misses+m
}

func (a *streamSampling) run(ctx context.Context, c redis.Cmdable, hold holdBudget) {
	if !a.measure(ctx, c) {
		return
	}
	each := averageSize(a.usage, a.out.length)
	most, times := 3*sampleBytes+2*each, int64(4)
	if a.visit != nil {
		most, times = most+sampleBytes, times+1
	}
	release, err := hold(sampleHold(most, times, a.usage))
	if err != nil {
		a.out.infoErr = err
		return
	}
	defer release()
	last, ok := a.inspect(ctx, c, int(sampleBytes/each))
	if !ok || a.out.large {
		return
	}
	info, _ := replyFields(a.out.info)
	p := c.Pipeline()
	if a.out.length == 0 {
		if a.sample > 0 {
			a.out.sample = a.messages.Sample()
		}
		a.takeFollowed(a.follow(ctx, p, info, 0), false)
		return
	}
	wanted := a.sample
	if a.visit != nil {
		wanted = max(wanted, followedEntries)
	}
	room := a.size.affordable(wanted, a.usage, a.out.length, last)
	if room == 0 {
		a.size.average.Store(0) // look again: what is that large may have gone
		return
	}
	kind := p.Type(ctx, a.key)
	f := a.follow(ctx, p, info, min(room, followedEntries, max(followedElements/elementsOf(info["last-entry"]), 1)))
	var newest *redis.Cmd
	if a.sample > 0 {
		newest = p.Do(ctx, "XREVRANGE", a.key, "+", "-", "COUNT", min(room, a.sample))
	}
	if newest == nil && (f == nil || len(f.cmds) == 0) {
		a.takeFollowed(f, false)
		return
	}
	_, _ = p.Exec(ctx) // each command has its own error
	gone := a.gone(kind)
	followed, entries := a.takeFollowed(f, gone), a.entries(newest, gone)
	largest := max(followed, a.largest) // of those that were refused, too
	for _, e := range entries {
		largest = max(largest, entrySize(e))
	}
	switch {
	case a.size.found(largest):
		a.tooLarge()
	case newest != nil && newest.Err() == nil:
		a.size.average.Store(entrySize(entries) / int64(max(len(entries), 1)))
		a.out.sample = a.messages.Sample(a.read(entries))
	}
}

// measure the stream; false: there is no more to ask.
func (a *streamSampling) measure(ctx context.Context, c redis.Cmdable) bool {
	// The library's own types refuse fields that they don't know, and each Redis adds some.
	p := c.Pipeline()
	length, groups := p.XLen(ctx, a.key), p.Do(ctx, "XINFO", "GROUPS", a.key)
	a.usage = p.MemoryUsage(ctx, a.key, usageSamples)
	_, _ = p.Exec(ctx) // each command has its own error
	a.count(groups.Err())
	if none := noSuchKey(groups.Err()) || errors.Is(a.usage.Err(), redis.Nil); none && length.Err() == nil {
		a.misses++ // an empty stream has the same length, and is a hit
	} else {
		a.count(length.Err())
	}
	a.out.groups, a.out.groupsErr = groups.Val(), groups.Err()
	a.out.length, a.out.lengthErr = length.Val(), cmp.Or(length.Err(), noCount(length.Val()))
	if a.out.groupsErr != nil {
		if noSuchKey(a.out.groupsErr) {
			a.size.skip.Store(0) // what was too large has gone
		}
		return false
	}
	n := a.out.length
	if a.out.lengthErr != nil {
		n = math.MaxInt64 // no average is known
	}
	a.out.large = a.size.tooLarge(a.usage, n)
	return true
}

// inspect the stream and where its groups stand, reading the oldest undelivered entry at no more than ranges places. It
// gives the size of the last entry; not ok: there is no more to ask.
func (a *streamSampling) inspect(ctx context.Context, c redis.Cmdable, ranges int) (last int64, ok bool) {
	list, _ := a.out.groups.([]any)
	picked, _, _ := a.pick(list)                                                            // backlog reports its error
	picked = slices.DeleteFunc(picked, func(g streamGroup) bool { return g.fields == nil }) // they do not exist
	a.picked, a.ranges = picked, ranges
	p := c.Pipeline()
	kind := p.Type(ctx, a.key) // it tells whether an answer of nothing was a hit or a miss
	var info *redis.Cmd
	if !a.out.large {
		info = p.Do(ctx, "XINFO", "STREAM", a.key)
	}
	skipped := map[string]bool{}
	for _, g := range picked {
		if n, known := g.fields.number("pending"); !known || n > 0 {
			a.pending[g.name] = p.Do(ctx, "XPENDING", a.key, g.name, "-", "+", a.pendingAsked())
		}
		delivered, _ := g.fields["last-delivered-id"].(string)
		switch lag, known := g.fields.lag(); {
		case delivered == "" || a.undelivered[delivered] != nil || known && lag <= 0:
		case a.out.large || len(a.undelivered) >= max(ranges, 1):
			skipped[g.name] = true
		default:
			a.undelivered[delivered] = p.Do(ctx, "XRANGE", a.key, "("+delivered, "+", "COUNT", 1)
		}
	}
	_, _ = p.Exec(ctx) // each command has its own error
	size := a.takeOldest(a.gone(kind), skipped)
	if info == nil {
		return 0, true
	}
	a.count(info.Err())
	if bytes, large := a.size.isLarge(info.Err()); large {
		a.size.found(bytes)
		a.tooLarge()
		return 0, true
	}
	a.out.info, a.out.infoErr = info.Val(), info.Err()
	if a.out.infoErr != nil {
		return 0, false
	}
	fields, _ := replyFields(a.out.info)
	if n, known := fields.number("length"); known {
		a.out.length, a.out.lengthErr = n, nil
	}
	last = entrySize(fields["last-entry"])
	if a.size.found(max(size, last, a.largest, entrySize(fields["first-entry"]))) {
		a.tooLarge()
	}
	if !a.out.large {
		a.look(ctx, c, fields)
	}
	return last, true
}

// pendingAsked is how many pending entries of each group are asked for: the oldest alone, where nobody follows the stream.
func (a *streamSampling) pendingAsked() int {
	if a.visit == nil {
		return 1
	}
	return max(listedPending/max(len(a.picked), 1), 1)
}

// takeOldest takes the oldest pending and undelivered entries of the groups, and gives the size of the largest.
func (a *streamSampling) takeOldest(gone bool, skipped map[string]bool) (size int64) {
	first := map[string]string{} // undelivered entry, by the one delivered last
	for delivered, cmd := range a.undelivered {
		entries := a.entries(cmd, gone)
		first[delivered] = entryID(entries)
		size = max(size, entrySize(entries))
	}
	a.out.seen, a.out.pending = map[string]groupEntries{}, map[string]*pendingIDs{}
	for _, g := range a.picked {
		rows := a.entries(a.pending[g.name], gone)
		oldest := entryID(rows)
		if cmd := a.pending[g.name]; a.visit != nil && (cmd == nil || cmd.Err() == nil) {
			a.out.pending[g.name] = pendingOf(rows, a.pendingAsked())
		}
		delivered, told := g.fields["last-delivered-id"].(string)
		cmd, behind := a.pending[g.name], a.undelivered[delivered]
		unread := false // the oldest undelivered entry is there, and too large
		if behind != nil {
			_, unread = a.size.isLarge(behind.Err())
		}
		if told && (cmd == nil || cmd.Err() == nil) && (behind == nil || behind.Err() == nil || unread) {
			a.out.seen[g.name] = groupEntries{
				pending: oldest, processable: oldest, undelivered: first[delivered], skipped: skipped[g.name] || unread, asked: behind != nil && !unread,
			}
		}
	}
	return size
}

// tooLarge forgets what was read of entries that will not be read the next time.
func (a *streamSampling) tooLarge() {
	a.out.large = true
	for name, seen := range a.out.seen {
		if seen.undelivered != "" {
			seen.undelivered, seen.skipped, seen.asked = "", true, false
			a.out.seen[name] = seen
		}
	}
}

// gone tells from TYPE's answer, which it counts, whether the stream has gone.
func (a *streamSampling) gone(kind *redis.StatusCmd) bool {
	gone := kind.Err() == nil && kind.Val() == "none"
	if gone {
		a.misses++
	} else {
		a.count(kind.Err())
	}
	return gone
}

// entries of an answer, which it counts; none where nothing was asked.
func (a *streamSampling) entries(cmd *redis.Cmd, gone bool) []any {
	if cmd == nil {
		return nil
	}
	entries, _ := cmd.Val().([]any)
	if bytes, large := a.size.isLarge(cmd.Err()); large {
		a.largest = max(a.largest, bytes)
	} else {
		a.out.entriesErr = cmp.Or(a.out.entriesErr, cmd.Err())
	}
	switch refused := redis.HasErrorPrefix(cmd.Err(), "NOGROUP"); {
	case gone && (refused || cmd.Err() == nil && len(entries) == 0):
		a.misses++
	case refused:
		a.hits++
	default:
		a.count(cmd.Err())
	}
	return entries
}

// entrySize is the bytes of all texts in a reply.
func entrySize(reply any) int64 {
	switch v := reply.(type) {
	case string:
		return int64(len(v))
	case []any:
		n := int64(0)
		for _, one := range v {
			n += entrySize(one)
		}
		return n
	}
	return 0
}

// entryID of the first of a reply's entries; empty where there is none.
func entryID(entries []any) string {
	if len(entries) == 0 {
		return ""
	}
	entry, _ := entries[0].([]any)
	if len(entry) == 0 {
		return ""
	}
	id, _ := entry[0].(string)
	return id
}

// read entries that came newest first.
func (q *streamQueue) read(entries []any) []message.Message {
	var out []message.Message
	for _, e := range slices.Backward(entries) {
		entry, _ := e.([]any)
		if len(entry) < 2 {
			continue
		}
		id, _, fields, _ := readEntry(entry)
		m := q.messages.ReadEntry(fields)
		if m.At.IsZero() {
			m.At = entryTime(id)
		}
		out = append(out, m)
	}
	return out
}

// entryTime is when an entry was added, by its id; zero where that holds no time.
func entryTime(id string) time.Time {
	ms, _, _ := strings.Cut(id, "-")
	return content.ParseTime(ms)
}

// entryAge in seconds of the entry with this id; 0 where there is none.
func entryAge(id string, now time.Time) probes.Count {
	if id == "" {
		return probes.Count{Known: true}
	}
	return message.AgeAt(entryTime(id), now)
}
