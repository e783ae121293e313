package dynamodb

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

const (
	// lateness is how long after its stamp an item may come, or fail, and still count.
	lateness = 10 * time.Second
	// maxSeen bounds the items that are remembered so as not to count them again, in items of about 50 bytes.
	maxSeen = 1_000_000
	// maxItems of one page.
	maxItems = 10_000
	// dayLayout is how {date} is written.
	dayLayout = "2006-01-02"
)

// position is how far a table was read.
//
// It is read in passes. A pass asks for all items stamped from low to the time when it began, in as many pages, and over
// as many samplings, as its read units need. When it is complete, low moves to lateness before its beginning: what
// was stamped earlier was there by then. So each pass reads the last moments again, and items seen then are remembered
// by their keys. A pass has an end, so however many items come meanwhile, low moves on and the memory stays small.
type position struct {
	format string
	began  time.Time
	low    time.Time
	// complete: everything stamped before it was counted.
	complete time.Time
	// pass is the one under way; nil: none.
	pass *pass
	// seen are items counted already and whether as failed, those from low on; coming gathers those for the pass after this.
	seen, coming map[itemID]sighting
	// keys are the attributes that tell items apart: those of the primary key, and of the index. The first page asks for one
	// item, whose place in the table names them.
	keys []string
	// unitsPerItem as the last pages cost it; 0: unknown. lastLimit bounds how fast pages grow.
	unitsPerItem float64
	lastLimit    int32
	// debt are read units that the last sampling used beyond its budget.
	debt float64
	// formed: an item's time was seen to be of the configured form.
	formed bool
	// odd: an item's time could not be read in the last sampling.
	odd bool
}

type pass struct {
	began time.Time
	// days whose partitions are still to be read, and the item after which to go on in the first.
	days  []string
	after map[string]types.AttributeValue
}

// itemID is a hash of an item's keys.
type itemID [16]byte

type sighting struct {
	at     time.Time
	failed bool
}

func newPosition(began time.Time, format string) *position {
	return &position{format: format, began: began, low: wholeSecond(began), complete: began, seen: map[itemID]sighting{}}
}

// wholeSecond at or before a time. Stamps may have no more than seconds, so what is asked for again, and what is remembered,
// begins with one: else items of a second would be asked for again and not be remembered.
func wholeSecond(t time.Time) time.Time { return t.Truncate(time.Second) }

// begin a pass up to now. Its partitions are of the days from low on; around midnight a writer may name the day before it
// takes the time, so the day before is asked a little longer. A partition key without {date} has one partition.
func (t *position) begin(now time.Time, daily bool) {
	if now.Before(t.low) { // our clock went back
		now = t.low
	}
	p := &pass{began: now}
	if !daily {
		p.days = []string{""}
	}
	for d := t.low.Add(-lateness).UTC().Truncate(24 * time.Hour); daily && !d.After(now); d = d.Add(24 * time.Hour) {
		p.days = append(p.days, d.Format(dayLayout))
	}
	t.pass, t.coming = p, map[itemID]sighting{}
}

// turn to the page after the last one; an empty key ends the partition.
func (t *position) turn(after map[string]types.AttributeValue) {
	p := t.pass
	if p.after = after; len(after) > 0 {
		return
	}
	if p.days = p.days[1:]; len(p.days) > 0 {
		return
	}
	t.complete = p.began
	if low := wholeSecond(p.began.Add(-lateness)); low.After(t.low) {
		t.low = low
	}
	maps.DeleteFunc(t.seen, func(_ itemID, s sighting) bool { return s.at.Before(t.low) })
	maps.Copy(t.seen, t.coming)
	t.pass, t.coming = nil, nil
}

// see one item: whether it is new, and whether it is a failure that was not counted before.
func (t *position) see(id itemID, at time.Time, failed bool) (news, fails bool) {
	if at.Before(t.began.Truncate(t.resolution(at))) {
		return false, false
	}
	before, known := t.seen[id]
	if !known {
		before, known = t.coming[id]
	}
	failed = failed || before.failed
	// Older items are not read again by the pass after this.
	if !at.Before(wholeSecond(t.pass.began.Add(-lateness))) {
		t.coming[id] = sighting{at, failed}
		if len(t.coming) > maxSeen && at.After(t.low) {
			t.forget(at)
		}
	}
	return !known, failed && !before.failed
}

// resolution of a stamp.
func (t *position) resolution(at time.Time) time.Duration {
	if t.format == "epoch_s" || t.format == "rfc3339" && at.Nanosecond() == 0 {
		return time.Second
	}
	return time.Millisecond
}

// bounds of the stamps that the pass asks for, both included. RFC 3339 sorts as text: the bare second is before whatever
// may follow it, and a tilde behind.
func (t *position) bounds() (from, to types.AttributeValue) {
	low, high := t.low, t.pass.began
	switch t.format {
	case "epoch_s":
		return &types.AttributeValueMemberN{Value: strconv.FormatInt(low.Unix(), 10)},
			&types.AttributeValueMemberN{Value: decimal(high, 9)}
	case "rfc3339":
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

// budget of this sampling. What the last one used too much is taken off, but one item is always asked for.
func (t *position) budget(units float64) float64 {
	return max(units-min(t.debt, units), 0)
}

// limit of the next page, in items, so that it keeps to the budget if they are like those of the page before. Pages grow
// eightfold at most, until it is known what items cost.
func (t *position) limit(budget float64) int32 {
	if t.unitsPerItem == 0 || len(t.keys) == 0 {
		return 1
	}
	fit := min(budget/t.unitsPerItem, float64(t.lastLimit)*8, maxItems)
	return int32(max(fit, 1))
}

// charge for a page, and learn what its items cost.
func (t *position) charge(out *dynamodb.QueryOutput, limit int32) float64 {
	used := cost(out)
	t.lastLimit = limit
	if n := itemsOf(out); n > 0 {
		t.unitsPerItem = used / n
	}
	return used
}

// cost of a page in read units. A server that does not tell it is taken to charge each item by itself.
func cost(out *dynamodb.QueryOutput) float64 {
	if c := out.ConsumedCapacity; c != nil && c.CapacityUnits != nil && *c.CapacityUnits > 0 {
		return *c.CapacityUnits
	}
	return max(itemsOf(out), 1) / 2
}

func itemsOf(out *dynamodb.QueryOutput) float64 {
	return float64(max(len(out.Items), int(out.ScannedCount)))
}

// attributeNames in order.
func attributeNames(key map[string]types.AttributeValue) []string {
	return slices.Sorted(maps.Keys(key))
}

// identify an item by its keys; false: it lacks one.
func identify(item map[string]types.AttributeValue, keys []string) (itemID, bool) {
	h := sha256.New()
	part := func(s string) {
		h.Write(binary.AppendUvarint(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	for _, name := range keys {
		part(name)
		switch v := item[name].(type) {
		case *types.AttributeValueMemberS:
			part("S" + v.Value)
		case *types.AttributeValueMemberN:
			part("N" + v.Value)
		case *types.AttributeValueMemberB:
			part("B" + string(v.Value))
		default:
			return itemID{}, false
		}
	}
	return itemID(h.Sum(nil)[:16]), len(keys) > 0
}

// textOf an attribute, as the configuration would write it; empty: it has none.
func textOf(v types.AttributeValue) string {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return v.Value
	case *types.AttributeValueMemberBOOL:
		return strconv.FormatBool(v.Value)
	}
	return ""
}

// stampOf an item.
func stampOf(v types.AttributeValue, format string) (time.Time, bool) {
	s := textOf(v)
	if format == "rfc3339" {
		at, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s))
		return at, err == nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if format == "epoch_ms" {
		f /= 1000
	}
	if err != nil || math.IsNaN(f) || math.Abs(f) > 1e11 {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(math.Round(f * 1e6))), true
}

// forget what was stamped before at: more is remembered than fits. Of those items, none that comes late will count.
func (t *position) forget(at time.Time) {
	at = wholeSecond(at).Add(time.Second)
	older := func(_ itemID, s sighting) bool { return s.at.Before(at) }
	maps.DeleteFunc(t.coming, older)
	t.low = at
}
