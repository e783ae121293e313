package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
)

const (
	// followedEntries of a stream are visited in one sampling at most, and followedElements is how many parts their answers may have.
	followedEntries, followedElements = 4000, 64 << 10
	// followedPlaces are the places, evenly spread in time, at which entries are read where there are more.
	followedPlaces = 16
	// listedPending entries of all groups together are looked at.
	listedPending = 4000
)

// streamCursor is how far a stream's entries were visited.
type streamCursor struct {
	// at is the entry behind which the next sampling goes on; not known before the first.
	at    entryOrder
	known bool
	// added entries up to there, by the stream's own count; not known before Redis 7.0.
	added    int64
	hasAdded bool
}

// streamPage is what one sampling read behind the cursor.
type streamPage struct {
	entries []any
	// next is where the following sampling goes on.
	next streamCursor
	// seen entries, also those that were not read; as many as were read where that is not known.
	seen int
}

// Follow implements probes.EventQueue.
func (q *streamQueue) Follow(after map[probes.Partition]probes.Position, visit func(probes.Event)) {
	q.visit = visit
	if p, ok := after[q.partition()]; ok {
		q.cursor = streamCursor{at: entryOrder{p.Major, p.Minor}, known: true}
	}
}

// String is the id.
func (o entryOrder) String() string { return fmt.Sprintf("%d-%d", o.ms, o.seq) }

// endOf the stream as XINFO STREAM tells it; false: it does not, or tells what can't be. A cursor that went there would make entries
// of the next honest answer new that were visited long ago.
func endOf(info fieldReply) (streamCursor, bool) {
	id, _ := info["last-generated-id"].(string)
	at, ok := orderOf(id)
	last, _ := info["last-entry"].([]any)
	newest, _ := orderOf(entryID([]any{last})) // 0 where there is none
	if ahead := uint64(content.AheadAtMost.Milliseconds()); !ok || at.before(newest) ||
		at.ms-newest.ms > ahead && at.ms > uint64(time.Now().UnixMilli())+ahead { // ids need not be times, and then the newest entry's is none either
		return streamCursor{}, false
	}
	added, hasAdded := info.number("entries-added")
	length, _ := info.number("length")
	return streamCursor{at, true, added, hasAdded && added >= length}, true
}

// followed is the part of a sampling that reads entries behind the cursor.
type followed struct {
	from, to streamCursor
	cmds     []*redis.Cmd
	// each command asks for so many.
	each int64
}

// follow adds to a pipeline what reads the entries between the cursor and the stream's end, at most so many; nil: nobody follows
// the stream, or where it ends is not known. Of more entries those at evenly spread times are read.
func (a *streamSampling) follow(ctx context.Context, p redis.Pipeliner, info fieldReply, most int) *followed {
	end, ok := endOf(info)
	if a.visit == nil || !ok {
		return nil
	}
	f := &followed{from: a.cursor, to: end}
	switch {
	case !a.cursor.known:
		f.from = end
	case end.at.before(a.cursor.at): // the stream was made anew
		f.from = streamCursor{known: true, hasAdded: end.hasAdded}
	}
	if most == 0 || !f.from.at.before(end.at) {
		return f
	}
	places := uint64(1)
	if span := end.at.ms - f.from.at.ms; f.counted() && f.count() > int64(most) && span >= followedPlaces {
		places = min(followedPlaces, uint64(most))
	}
	f.each = int64(most) / int64(places)
	step := (end.at.ms - f.from.at.ms) / places
	for i := range places {
		begin, stop := "("+f.from.at.String(), end.at.String()
		if i > 0 {
			begin = entryOrder{ms: f.from.at.ms + i*step + 1}.String()
		}
		if i < places-1 {
			stop = fmt.Sprint(f.from.at.ms + (i+1)*step) // with all sequence numbers of that millisecond
		}
		f.cmds = append(f.cmds, p.Do(ctx, "XRANGE", a.key, begin, stop, "COUNT", f.each))
	}
	return f
}

// counted: the stream's own count tells how many entries there are to see.
func (f *followed) counted() bool {
	return f.from.hasAdded && f.to.hasAdded && f.to.added >= f.from.added
}

// count of them.
func (f *followed) count() int64 { return f.to.added - f.from.added }

// takeFollowed takes what came, and gives the size of the largest entry. Where the stream does not count its entries, reading goes on behind
// the last that was read.
func (a *streamSampling) takeFollowed(f *followed, gone bool) (largest int64) {
	if f == nil {
		return 0
	}
	page := &streamPage{next: f.to}
	failed := false
	for _, cmd := range f.cmds {
		entries := a.entries(cmd, gone)
		failed = failed || cmd.Err() != nil
		for _, e := range entries {
			size := entrySize(e)
			if largest = max(largest, size); size <= a.size.most() {
				page.entries = append(page.entries, e)
			}
		}
		if !f.counted() && int64(len(entries)) >= f.each {
			if at, ok := orderOf(entryID(entries[len(entries)-1:])); ok && !f.to.at.before(at) {
				page.next.at, page.next.hasAdded = at, false
			}
		}
	}
	page.seen = len(page.entries)
	if f.counted() {
		page.seen = max(page.seen, int(f.count()))
	}
	if failed && !f.counted() {
		return largest // the next sampling reads it
	}
	a.out.page = page
	return largest
}

// missed the stream: there is none.
func (q *streamQueue) missed() streamPage {
	return streamPage{next: streamCursor{known: true, hasAdded: true}}
}

// visitPage has the entries visited.
func (q *streamQueue) visitPage(b *probes.Backlog, page *streamPage) {
	if q.visit == nil || page == nil {
		return
	}
	p, visited := q.partition(), 0
	for _, e := range page.entries {
		entry, _ := e.([]any)
		id, at, fields, ok := readEntry(entry)
		if !ok {
			continue
		}
		written := entryTime(id)
		if written.IsZero() {
			written = time.Now()
		}
		visited++
		q.visit(probes.Event{
			Partition: p, At: at.position(), Value: message.EntryObject(fields), Written: written, TraceParent: fieldOf(fields, "traceparent"),
		})
	}
	q.cursor = page.next
	b.Followed = &probes.Followed{
		Seen: page.seen, LeftOut: page.seen - visited, After: map[probes.Partition]probes.Position{p: page.next.at.position()},
	}
}

func (o entryOrder) position() probes.Position { return probes.Position{Major: o.ms, Minor: o.seq} }

// readEntry reads an entry's id and its fields, names and values in turn; false: it is none.
func readEntry(entry []any) (id string, at entryOrder, fields []string, ok bool) {
	if len(entry) < 2 {
		return "", entryOrder{}, nil, false
	}
	id, _ = entry[0].(string)
	at, ok = orderOf(id)
	values, isList := entry[1].([]any)
	for _, v := range values {
		text, _ := v.(string)
		fields = append(fields, text)
	}
	return id, at, fields, ok && isList
}

// fieldOf gives the value of a name; empty where there is none.
func fieldOf(fields []string, name string) string {
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == name {
			return fields[i+1]
		}
	}
	return ""
}

// elementsOf a reply: how many parts it has.
func elementsOf(reply any) int {
	n := 1
	if list, ok := reply.([]any); ok {
		for _, one := range list {
			n += elementsOf(one)
		}
	}
	return n
}

// pendingIDs are a group's oldest pending entries.
type pendingIDs struct {
	ids map[entryOrder]bool
	// upTo which all are known; all: there are no others.
	upTo entryOrder
	all  bool
}

// pendingOf XPENDING's answer, which was asked for so many.
func pendingOf(rows []any, asked int) *pendingIDs {
	out := &pendingIDs{ids: make(map[entryOrder]bool, len(rows)), all: len(rows) < asked}
	for _, row := range rows {
		at, ok := orderOf(entryID([]any{row}))
		if !ok {
			out.all = false
			continue
		}
		out.ids[at] = true
		if out.upTo.before(at) {
			out.upTo = at
		}
	}
	return out
}

// passed tells of a group that was last delivered an entry which entries it has taken and acknowledged. The list was read after the
// group's place, so that what it does not hold was acknowledged by then. nil pending: it was not learned.
func (q *streamQueue) passed(delivered string, pending *pendingIDs) func(probes.Partition, probes.Position) (passed, known bool) {
	last, ok := orderOf(delivered)
	if !ok {
		return nil
	}
	return func(p probes.Partition, at probes.Position) (passed, known bool) {
		id := entryOrder{at.Major, at.Minor}
		switch {
		case p != q.partition():
			return false, false
		case last.before(id):
			return false, true
		case pending == nil:
			return false, false
		case pending.ids[id]:
			return false, true
		}
		known = pending.all || !pending.upTo.before(id)
		return known, known
	}
}
