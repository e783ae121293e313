package dynamodb

import (
	"maps"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

const (
	// lateness is how long after its stamp an item may come, or fail, and still count.
	lateness = 10 * time.Second
	// maxSeen bounds the items that are remembered so as not to count them again, in items of about 50 bytes.
	maxSeen = 300_000
	// maxItems of one page.
	maxItems = 10_000
	// dayLayout is how {date} is written.
	dayLayout = "2006-01-02"
)

// position is up to where a table was read.
//
// The table is read in passes. A pass asks for all items stamped from low to the time when it began, in as many pages, and over
// as many samplings, as its read units need. When it is complete, low moves to lateness before its beginning: what
// was stamped earlier was there by then. So each pass reads the last moments again, and items seen then are remembered
// by their keys. A pass has an end, so however many items come meanwhile, low moves on and the memory stays small.
type position struct {
	// format is the configuration's TimeFormat.
	format string
	// began is when counting began: what is stamped earlier does not count.
	began time.Time
	// low is from when on the pass asks for items.
	low time.Time
	// complete is the time before which every item was counted.
	complete time.Time
	// pass is the one under way; nil: none.
	pass *pass
	// seen are the items from low on that earlier passes counted. coming gathers from the pass under way what the pass after it
	// will read again.
	seen, coming map[itemID]countedItem
	// keys are the attributes that tell items apart: those of the primary key, and of the index. The first page asks for one
	// item, and the key after which to go on names them; empty until then.
	keys []string
	// unitsPerItem as the last pages cost it; 0: unknown. lastLimit bounds how fast pages grow.
	unitsPerItem float64
	lastLimit    int32
	// debt are read units that the last sampling used beyond its budget.
	debt float64
	// timeFormatSeen: an item's time had the configured format.
	timeFormatSeen bool
	// odd is why an item of the last sampling was not counted; nil: none was odd.
	odd error
}

// pass is one reading of all items from the position's low on to the time when it began.
type pass struct {
	// low is the position's when the pass began, which may move meanwhile.
	low, began time.Time
	// days whose partitions are still to be read, as {date} is written; one empty text where the key has no {date}.
	days []string
	// after is the key of the item after which to go on in the first of the days; empty: at its beginning.
	after map[string]types.AttributeValue
}

// countedItem is an item that was counted: its time, and whether it counted as failed.
type countedItem struct {
	at     time.Time
	failed bool
}

// newPosition has read nothing of a table whose items count from began on.
func newPosition(began time.Time, format string) *position {
	return &position{format: format, began: began, low: wholeSecond(began), complete: began, seen: map[itemID]countedItem{}}
}

// wholeSecond at or before a time. Stamps may have no more than seconds, so what is asked for again, and what is remembered,
// begins with one: else items of a second would be asked for again and not be remembered.
func wholeSecond(t time.Time) time.Time { return t.Truncate(time.Second) }

// begin a pass up to now. Its partitions are of the days from low on; around midnight a writer may name the day before it
// takes the time, so the day before is asked a little longer. A partition key without {date} has one partition.
func (p *position) begin(now time.Time, daily bool) {
	if now.Before(p.low) { // our clock went back
		now = p.low
	}
	next := &pass{low: p.low, began: now}
	if !daily {
		next.days = []string{""}
	}
	for day := p.low.Add(-lateness).UTC().Truncate(24 * time.Hour); daily && !day.After(now); day = day.Add(24 * time.Hour) {
		next.days = append(next.days, day.Format(dayLayout))
	}
	p.pass, p.coming = next, map[itemID]countedItem{}
}

// advance to the page after the last one; an empty key ends the partition, and the last partition the pass.
func (p *position) advance(after map[string]types.AttributeValue) {
	current := p.pass
	if current.after = after; len(after) > 0 {
		return
	}
	if current.days = current.days[1:]; len(current.days) > 0 {
		return
	}
	p.complete = current.began
	if low := wholeSecond(current.began.Add(-lateness)); low.After(p.low) {
		p.low = low
	}
	maps.Copy(p.seen, p.coming)
	maps.DeleteFunc(p.seen, func(_ itemID, s countedItem) bool { return s.at.Before(p.low) })
	p.pass, p.coming = nil, nil
}

// covers reports whether the pass asks for items of this time. RFC 3339 has it ask up to the end of the second.
func (p *pass) covers(at time.Time) bool {
	return !at.Before(p.low) && at.Before(wholeSecond(p.began).Add(time.Second))
}

// count one item: whether it is new, and whether it is a failure that was not counted before.
func (p *position) count(id itemID, at time.Time, failed bool) (isNew, newFailure bool) {
	if at.Before(p.began.Truncate(p.resolution(at))) {
		return false, false
	}
	before, known := p.seen[id]
	if !known {
		before, known = p.coming[id]
	}
	failed = failed || before.failed
	// The pass after this one does not read older items again.
	if !at.Before(wholeSecond(p.pass.began.Add(-lateness))) && !at.Before(p.low) {
		delete(p.seen, id)
		p.coming[id] = countedItem{at, failed}
		if len(p.seen)+len(p.coming) > maxSeen {
			p.forgetBefore(at)
		}
	}
	return !known, failed && !before.failed
}

// resolution is how exact a stamp is.
func (p *position) resolution(at time.Time) time.Duration {
	if p.format == epochS || p.format == rfc3339 && at.Nanosecond() == 0 {
		return time.Second
	}
	return time.Millisecond
}

// bounds of the stamps that the pass asks for, both included. RFC 3339 sorts as text: the bare second is before whatever
// may follow it, and a tilde behind.
func (p *position) bounds() (from, to types.AttributeValue) {
	low, high := p.pass.low, p.pass.began
	switch p.format {
	case epochS:
		return &types.AttributeValueMemberN{Value: strconv.FormatInt(low.Unix(), 10)},
			&types.AttributeValueMemberN{Value: decimal(high, 9)}
	case rfc3339:
		const second = "2006-01-02T15:04:05"
		return &types.AttributeValueMemberS{Value: low.UTC().Format(second)},
			&types.AttributeValueMemberS{Value: high.UTC().Format(second) + "~"}
	}
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(low.UnixMilli(), 10)},
		&types.AttributeValueMemberN{Value: decimal(high, 6)}
}

// decimal writes a time with digits of its nanoseconds behind the point: 9 gives seconds, 6 milliseconds.
func decimal(t time.Time, digits int) string {
	s := strconv.FormatInt(t.UnixNano(), 10)
	if len(s) <= digits {
		return "0"
	}
	return s[:len(s)-digits] + "." + s[len(s)-digits:]
}

// budget of this sampling, in read units. What the last one used too much is taken off; one item is always asked for, even
// where nothing remains.
func (p *position) budget(units float64) float64 {
	return max(units-min(p.debt, units), 0)
}

// limit of the next page, in items, so that it keeps to the budget if they cost as much as those of the page before. Pages
// grow eightfold at most, so that not many items are read before it is known what they cost.
func (p *position) limit(budget float64) int32 {
	if p.unitsPerItem == 0 || len(p.keys) == 0 {
		return 1
	}
	fit := min(budget/p.unitsPerItem, float64(p.lastLimit)*8, maxItems)
	return int32(max(fit, 1))
}

// learnCost of a page's items. It gives the read units that the page used.
func (p *position) learnCost(out *dynamodb.QueryOutput, limit int32) float64 {
	used := cost(out)
	p.lastLimit = limit
	if n := itemCount(out); n > 0 {
		p.unitsPerItem = used / n
	}
	return used
}

// forgetBefore forgets the items stamped before at, where more are remembered than fit. None that comes late with such a stamp
// will count. As the pass covers at, low moves to the end of its last second at most.
func (p *position) forgetBefore(at time.Time) {
	at = wholeSecond(at).Add(time.Second)
	older := func(_ itemID, s countedItem) bool { return s.at.Before(at) }
	maps.DeleteFunc(p.seen, older)
	maps.DeleteFunc(p.coming, older)
	p.low = at
}
