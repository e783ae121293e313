package dynamodb

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// oddTable is a table whose server answers each query with what pages gives for it.
func oddTable(t *testing.T, pages func(query string) string) *attemptsTable {
	t.Helper()
	servers.NoLeaks(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s3cret-of-aws")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = io.WriteString(w, pages(string(query)))
	}))
	t.Cleanup(server.Close)
	return &attemptsTable{config: tableConfig{
		Table: "attempts", Region: "us-east-1", Endpoint: server.URL, TimeAttribute: "at", TimeFormat: "epoch_ms", StatusAttribute: "status",
		FailedValues: []string{"FAILED"}, PartitionKey: partitionKey{Name: "day", Value: parseTemplate(t, "all")}, MaxReadUnits: 25,
	}}
}

// failedItem is an item, or a key, as DynamoDB writes it.
func failedItem(id string, at time.Time) string {
	return fmt.Sprintf(`{"day":{"S":"all"},"id":{"S":%q},"at":{"N":"%d"},"status":{"S":"FAILED"}}`, id, at.UnixMilli())
}

// pageOf items that cost half a unit; an empty key is none.
func pageOf(lastKey string, items ...string) string {
	if lastKey != "" {
		lastKey = `,"LastEvaluatedKey":` + lastKey
	}
	return fmt.Sprintf(`{"Items":[%s],"ScannedCount":%d,"ConsumedCapacity":{"CapacityUnits":0.5}%s}`, strings.Join(items, ","), len(items), lastKey)
}

// onceKeysAreKnown gives the first query, which learns the names of the keys, one item from before the beginning.
func onceKeysAreKnown(began time.Time, page func() string) func(string) string {
	return func(query string) string {
		if !strings.Contains(query, "ExclusiveStartKey") {
			first := failedItem("first", began.Add(-time.Millisecond))
			return pageOf(first, first)
		}
		return page()
	}
}

// An item that was not asked for is told, does not count and is not remembered, and the others of its page count.
func TestItemsNotAskedFor(t *testing.T) {
	began := time.Date(2026, 3, 2, 12, 0, 0, 500e6, time.UTC)
	c := &clock{began}
	odd := true
	h := oddTable(t, onceKeysAreKnown(began, func() string {
		items := []string{failedItem("a", began)}
		if odd {
			items = append(items, failedItem("ahead", c.at.AddDate(1, 0, 0)), failedItem("behind", began.AddDate(-1, 0, 0)))
		}
		return pageOf("", append(items, failedItem("b", began))...)
	})).open(t, c)
	for range 3 {
		sampleError(t, h, "an item is stamped earlier or later than was asked for")
		probetest.WantAttempts(t, h, 2, 2)
		c.at = c.at.Add(time.Second)
	}
	if n := len(h.upTo.seen); n != 2 {
		t.Errorf("%d items are remembered", n)
	}
	odd = false
	probetest.SampleHistory(t, h)
}

// Pages that cost nearly nothing, as they say, are not asked for without end; nor are those that lead to themselves.
func TestPagesWithoutEnd(t *testing.T) {
	began := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	asked := 0
	same := false
	h := oddTable(t, func(string) string {
		asked++
		key := "same"
		if !same {
			key = fmt.Sprint(asked)
		}
		return strings.Replace(pageOf(failedItem(key, began), failedItem(key, began)), ":0.5}", ":1e-9}", 1)
	}).open(t, &clock{began})
	probetest.SampleHistory(t, h)
	if asked > 2*25 {
		t.Errorf("%d pages were asked for of 25 units", asked)
	}
	asked, same = 0, true
	for range 2 {
		sampleError(t, h, "a page ends with the key after which it was to begin")
	}
	if asked > 4 {
		t.Errorf("%d pages of the same end were asked for", asked)
	}
	if h.upTo.pass != nil {
		t.Error("a key of no use is kept")
	}
}

// An item without its key is told and does not count, and the others of its page do; nor does a page of such an item alone stay.
func TestItemsWithoutKeys(t *testing.T) {
	began := time.Date(2026, 3, 2, 12, 0, 0, 500e6, time.UTC)
	for name, odd := range map[string]string{
		"absent":  `{"day":{"S":"all"},"at":{"N":"%d"}}`,
		"no text": `{"day":{"S":"all"},"id":{"NULL":true},"at":{"N":"%d"}}`,
	} {
		for beside, items := range map[string][]string{"others": {failedItem("a", began), failedItem("b", began)}, "none": nil} {
			t.Run(name+" beside "+beside, func(t *testing.T) {
				c := &clock{began}
				lacks := true
				page := slices.Concat(items, []string{fmt.Sprintf(odd, began.UnixMilli())})
				h := oddTable(t, onceKeysAreKnown(began, func() string {
					if lacks {
						return pageOf("", page...)
					}
					return pageOf("", append(page[:len(items):len(items)], failedItem("c", began))...)
				})).open(t, c)
				for range 4 {
					sampleError(t, h, "lacks a part of the primary key")
					c.at = c.at.Add(time.Second)
				}
				if h.upTo.complete.Equal(began) {
					t.Error("the page is asked for again and again")
				}
				if len(items) == 0 {
					return
				}
				probetest.WantAttempts(t, h, 2, 2)
				lacks = false
				probetest.SampleHistory(t, h)
				probetest.WantAttempts(t, h, 3, 3)
			})
		}
	}
}
