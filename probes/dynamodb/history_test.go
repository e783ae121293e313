package dynamodb

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func parseTemplate(t testing.TB, text string) form.Template {
	t.Helper()
	out, err := form.ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// attemptsTable is a table whose items are found by day and time in an index, where several may share a moment.
type attemptsTable struct {
	*servers.DynamoDBServer
	config tableConfig
	made   int
}

func newAttemptsTable(t *testing.T, timeFormat string) *attemptsTable {
	t.Helper()
	a := &attemptsTable{DynamoDBServer: servers.DynamoDB(t), config: tableConfig{
		Table: "attempts", Region: "us-east-1", Index: "by_time", TimeAttribute: "at", TimeFormat: timeFormat,
		PartitionKey:    partitionKey{Name: "day", Value: parseTemplate(t, "{date}")},
		StatusAttribute: "status", FailedValues: []string{"FAILED", "TIMEOUT"}, MaxReadUnits: 25,
	}}
	a.config.Endpoint = a.URL
	a.create(t)
	return a
}

func (a *attemptsTable) create(t *testing.T) {
	t.Helper()
	kind := types.ScalarAttributeTypeN
	if a.config.TimeFormat == "rfc3339" {
		kind = types.ScalarAttributeTypeS
	}
	key := func(name string, k types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: aws.String(name), KeyType: k}
	}
	_, err := a.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String(a.config.Table), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("day"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("at"), AttributeType: kind},
		},
		KeySchema: []types.KeySchemaElement{key("id", types.KeyTypeHash)},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName: aws.String("by_time"), KeySchema: []types.KeySchemaElement{key("day", types.KeyTypeHash), key("at", types.KeyTypeRange)},
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// attempt is an item; it gives its id.
func (a *attemptsTable) attempt(t testing.TB, at time.Time, status string) string {
	t.Helper()
	a.made++
	id := fmt.Sprintf("attempt-%d", a.made)
	a.put(t, id, at.UTC().Format("2006-01-02"), at, status)
	return id
}

func (a *attemptsTable) item(id, day string, at time.Time, status string) map[string]types.AttributeValue {
	var stamp types.AttributeValue = &types.AttributeValueMemberN{Value: strconv.FormatInt(at.UnixMilli(), 10)}
	switch a.config.TimeFormat {
	case "epoch_s":
		stamp = &types.AttributeValueMemberN{Value: strconv.FormatInt(at.Unix(), 10)}
	case "rfc3339":
		stamp = &types.AttributeValueMemberS{Value: at.UTC().Format(time.RFC3339Nano)}
	}
	return map[string]types.AttributeValue{
		"id": &types.AttributeValueMemberS{Value: id}, "day": &types.AttributeValueMemberS{Value: day}, "at": stamp,
		"status": &types.AttributeValueMemberS{Value: status}, "note": &types.AttributeValueMemberS{Value: strings.Repeat("x", 300)},
	}
}

func (a *attemptsTable) put(t testing.TB, id, day string, at time.Time, status string) {
	t.Helper()
	_, err := a.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(a.config.Table), Item: a.item(id, day, at, status)})
	if err != nil {
		t.Fatal(err)
	}
}

// many puts n items, a batch at a time.
func (a *attemptsTable) many(t testing.TB, n int, at func(i int) time.Time, status string) {
	t.Helper()
	for first := 0; first < n; first += 25 {
		var requests []types.WriteRequest
		for i := first; i < min(first+25, n); i++ {
			a.made++
			item := a.item(fmt.Sprintf("attempt-%d", a.made), at(i).UTC().Format("2006-01-02"), at(i), status)
			requests = append(requests, types.WriteRequest{PutRequest: &types.PutRequest{Item: item}})
		}
		if _, err := a.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{a.config.Table: requests}}); err != nil {
			t.Fatal(err)
		}
	}
}

// clock that the test sets.
type clock struct{ at time.Time }

// open a history that began at the clock's time.
func (a *attemptsTable) open(t testing.TB, c *clock) *history {
	t.Helper()
	h := newHistory(a.config, &probes.Tally{Began: c.at}, probetest.Env())
	t.Cleanup(h.Close)
	h.now = func() time.Time { return c.at }
	return h
}

// Each item counts once: those of one moment, late ones, over midnight, and when the writer took the day before the time.
func TestCountsEachOnce(t *testing.T) {
	for _, format := range []string{"epoch_ms", "epoch_s", "rfc3339"} {
		t.Run(format, func(t *testing.T) {
			servers.NoLeaks(t)
			a := newAttemptsTable(t, format)
			midnight := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
			c := &clock{midnight.Add(-20 * time.Second)}
			after := midnight.Add
			a.attempt(t, after(-25*time.Second), "FAILED") // before the start
			h := a.open(t, c)
			if _, known := h.Attempts(); known {
				t.Error("known before anything was asked")
			}
			probetest.SampleHistory(t, h)
			probetest.WantAttempts(t, h, 0, 0)

			for range 3 { // in one moment
				a.attempt(t, after(-15*time.Second), "OK")
			}
			a.attempt(t, after(-15*time.Second), "FAILED")
			c.at = after(-14 * time.Second)
			probetest.SampleHistory(t, h)
			probetest.WantAttempts(t, h, 4, 1)
			probetest.SampleHistory(t, h)
			probetest.WantAttempts(t, h, 4, 1)

			a.attempt(t, after(-15*time.Second), "TIMEOUT") // late, in the same moment
			a.attempt(t, after(-17*time.Second), "OK")      // later still
			pending := a.attempt(t, after(-13*time.Second), "PENDING")
			c.at = after(-12 * time.Second)
			probetest.SampleHistory(t, h)
			probetest.WantAttempts(t, h, 7, 2)
			a.put(t, pending, "2026-03-01", after(-13*time.Second), "FAILED")
			c.at = after(-8 * time.Second)
			probetest.SampleHistory(t, h)
			probetest.SampleHistory(t, h)
			probetest.WantAttempts(t, h, 7, 3)

			a.attempt(t, after(-1*time.Second), "FAILED")
			a.attempt(t, after(1*time.Second), "OK")
			a.put(t, "by the day before", "2026-03-01", after(2*time.Second), "OK")
			c.at = after(3 * time.Second)
			probetest.SampleHistory(t, h)
			probetest.WantAttempts(t, h, 10, 4)
			a.attempt(t, after(-4*time.Second), "FAILED") // late, over midnight
			c.at = after(4 * time.Second)
			probetest.SampleHistory(t, h)
			probetest.WantAttempts(t, h, 11, 5)
			c.at = after(2 * time.Minute)
			a.attempt(t, after(time.Minute), "OK")
			probetest.SampleHistory(t, h)
			probetest.SampleHistory(t, h)
			probetest.WantAttempts(t, h, 12, 5)
			if n := len(h.upTo.seen); n > 5 {
				t.Errorf("%d items are still remembered", n)
			}
		})
	}
}

// What was there before costs nothing, and a backlog is read within the budget, sampling by sampling, and whole.
func TestKeepsToItsBudget(t *testing.T) {
	servers.NoLeaks(t)
	a := newAttemptsTable(t, "epoch_ms")
	a.config.MaxReadUnits = 5
	began := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	old := 5000
	if testing.Short() {
		old = 500
	}
	a.many(t, old, func(i int) time.Time { return began.Add(-time.Duration(i+1) * time.Millisecond * 100) }, "FAILED")
	c := &clock{began}
	h := a.open(t, c)
	w := watchCapacity(h)
	probetest.SampleHistory(t, h)
	probetest.WantAttempts(t, h, 0, 0)
	if *w > 1 {
		t.Errorf("%v units were used to find nothing", *w)
	}

	// 600 items of 0.4 kB are about 30 units.
	a.many(t, 600, func(i int) time.Time { return began.Add(time.Duration(i/3) * 10 * time.Millisecond) }, "FAILED")
	c.at = began.Add(20 * time.Second)
	samplings, spent := 0, 0.0
	for got, _ := h.Attempts(); got.Total < 600; got, _ = h.Attempts() {
		*w = 0
		probetest.SampleHistory(t, h)
		samplings++
		spent += *w
		if *w > 8 {
			t.Errorf("sampling %d used %v units", samplings, *w)
		}
		if samplings > 50 {
			t.Fatalf("only %v are counted", got)
		}
	}
	if samplings < 3 || spent > 5*float64(samplings)+3 {
		t.Errorf("%d samplings used %v units", samplings, spent)
	}
	for range 10 {
		c.at = c.at.Add(5 * time.Second)
		probetest.SampleHistory(t, h)
	}
	probetest.WantAttempts(t, h, 600, 600)

	// Far behind is told, and caught up with.
	a.many(t, 600, func(i int) time.Time { return c.at.Add(time.Duration(i) * time.Millisecond) }, "OK")
	c.at = c.at.Add(2 * time.Minute)
	if err := h.Sample(t.Context()); err != errBehind { //nolint:errorlint // as it is
		t.Errorf("%v", err)
	}
	for n := 0; h.Sample(t.Context()) != nil; n++ {
		if n > 50 {
			t.Fatal("does not catch up")
		}
	}
	probetest.WantAttempts(t, h, 1200, 600)
}

// watchCapacity sums the read units that a history uses.
func watchCapacity(h *history) *float64 {
	sum := new(float64)
	h.onUsed = func(units float64) { *sum += units }
	return sum
}
