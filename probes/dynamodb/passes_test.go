package dynamodb

import (
	"encoding/binary"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// stamped is an item as a table holds it.
type stamped struct {
	id   itemID
	at   time.Time
	text string
}

// between the bounds, as DynamoDB compares.
func (s stamped) between(t *testing.T, from, to types.AttributeValue) bool {
	t.Helper()
	if from, ok := from.(*types.AttributeValueMemberS); ok {
		return s.text >= from.Value && s.text <= to.(*types.AttributeValueMemberS).Value
	}
	number := func(s string) float64 {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	low, high := number(from.(*types.AttributeValueMemberN).Value), number(to.(*types.AttributeValueMemberN).Value)
	return number(s.text) >= low && number(s.text) <= high
}

// In each format, and however the passes fall, each item counts once.
func TestPassesCountOnce(t *testing.T) {
	began := time.Date(2026, 11, 25, 10, 0, 0, 123_456_789, time.UTC)
	for format, write := range map[string]func(time.Time) string{
		"epoch_s":  func(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) },
		"epoch_ms": func(at time.Time) string { return strconv.FormatInt(at.UnixMilli(), 10) },
		"rfc3339":  func(at time.Time) string { return at.Format(time.RFC3339) },
	} {
		for _, every := range []time.Duration{300 * time.Millisecond, time.Second, 7 * time.Second, 15 * time.Second} {
			upTo := newPosition(began, format)
			var items []stamped
			counted := map[itemID]int{}
			next := began.Add(time.Millisecond)
			for now := began; now.Before(began.Add(time.Minute)); now = now.Add(every) {
				for ; !next.After(now); next = next.Add(333 * time.Millisecond) {
					var id itemID
					binary.BigEndian.PutUint64(id[:], uint64(len(items)))
					at, ok := readTime(&types.AttributeValueMemberS{Value: write(next)}, format)
					if !ok {
						t.Fatal(write(next))
					}
					items = append(items, stamped{id, at, write(next)})
				}
				upTo.begin(now, false)
				from, to := upTo.bounds()
				for _, i := range items {
					if !i.between(t, from, to) {
						continue
					}
					if isNew, _ := upTo.count(i.id, i.at, false); isNew {
						counted[i.id]++
					}
				}
				upTo.advance(nil)
			}
			for n, i := range items {
				if counted[i.id] != 1 {
					t.Errorf("%s, every %v: item %d, stamped %s, was counted %d times", format, every, n, i.text, counted[i.id])
					break
				}
			}
			if len(upTo.seen) > 2+3*15+3*int(every/time.Second) {
				t.Errorf("%s, every %v: %d items are remembered", format, every, len(upTo.seen))
			}
		}
	}
}
