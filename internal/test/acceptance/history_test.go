package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// createAttempts makes a table whose sort key is the time, with the id as its primary key.
func createAttempts(t testing.TB, d *servers.DynamoDBServer) {
	t.Helper()
	key := func(name string, k types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: aws.String(name), KeyType: k}
	}
	_, err := d.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String("attempts"), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("day"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("at"), AttributeType: types.ScalarAttributeTypeN},
		},
		KeySchema: []types.KeySchemaElement{key("id", types.KeyTypeHash)},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName: aws.String("by_time"), KeySchema: []types.KeySchemaElement{key("day", types.KeyTypeHash), key("at", types.KeyTypeRange)},
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeInclude, NonKeyAttributes: []string{"status"}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// putAttempts with ids from first on, all stamped at.
func putAttempts(t testing.TB, d *servers.DynamoDBServer, first, n int, at time.Time, status string) {
	t.Helper()
	for from := first; from < first+n; from += 25 {
		var requests []types.WriteRequest
		for i := from; i < min(from+25, first+n); i++ {
			requests = append(requests, types.WriteRequest{PutRequest: &types.PutRequest{Item: map[string]types.AttributeValue{
				"id": &types.AttributeValueMemberS{Value: strconv.Itoa(i)}, "day": &types.AttributeValueMemberS{Value: at.UTC().Format("2006-01-02")},
				"at": &types.AttributeValueMemberN{Value: strconv.FormatInt(at.UnixMilli(), 10)}, "status": &types.AttributeValueMemberS{Value: status},
			}}})
		}
		if _, err := d.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"attempts": requests}}); err != nil {
			t.Fatal(err)
		}
	}
}

func attemptsOf(name, endpoint string) string {
	return fmt.Sprintf("history:\n  - {name: %s, dynamodb: {table: attempts, region: us-east-1, endpoint: %q, index: by_time, "+
		"partition_key: {name: day, value: \"{date}\"}, time_attribute: at, status_attribute: status, failed_values: [FAILED]}}\n", name, endpoint)
}

// TestFailedInvalidations in a real DynamoDB Local: old items never count and are never read, new ones count once, through
// reloads, a server that hangs, one that is gone, and a table that is.
func TestFailedInvalidations(t *testing.T) {
	d := servers.DynamoDB(t)
	createAttempts(t, d)
	old := counts(100_000)
	putAttempts(t, d, 0, old, time.Now().Add(-time.Hour), "FAILED")
	proxy := servers.NewProxy(t, d.Addr)
	e := start(t, attemptsOf("invalidations", "http://"+proxy.Addr))
	counted := func(p page, attempts, failures float64) {
		t.Helper()
		p.want(attempts, "invalidations_total", "history", "invalidations")
		p.want(failures, "invalidation_failures_total", "history", "invalidations")
	}
	p := e.scrape(5 * time.Second)
	counted(p, 0, 0)
	p.want(1, "history_up", "history", "invalidations")
	p.want(1, "collector_success", "collector", "history")
	if got := proxy.Counts(); got.Received > 8<<10 || got.RoundTrips > 3 {
		t.Errorf("nothing new cost %+v", got)
	}

	putAttempts(t, d, old, 40, time.Now(), "OK")
	putAttempts(t, d, old+40, 10, time.Now(), "FAILED")
	counted(e.scrape(5*time.Second), 50, 10)
	e.load(attemptsOf("invalidations", "http://"+proxy.Addr))
	p = e.scrape(5 * time.Second)
	before := p.one("invalidations_total")
	putAttempts(t, d, old+100, 1, time.Now(), "FAILED")
	p = e.scrape(5 * time.Second)
	p.want(before+1, "invalidations_total", "history", "invalidations")

	// One that hangs costs its own up alone; what comes meanwhile counts later.
	at := time.Now()
	putAttempts(t, d, old+200, 7, at, "FAILED")
	d.Freeze(t)
	p = e.inTime()
	p.want(0, "history_up", "history", "invalidations")
	p.want(before+1, "invalidations_total", "history", "invalidations")
	p.want(0, "collector_success", "collector", "history")
	d.Thaw(t)
	servers.Eventually(t, "it counts on", func() bool {
		p := e.scrape(5 * time.Second)
		return p.sum("history_up") == 1 && p.sum("invalidations_total") == before+8
	})

	// A table that is gone is told, and one that comes back counts on.
	d.Restart(t)
	servers.Eventually(t, "the table is missed", func() bool {
		p := e.scrape(5 * time.Second)
		return p.sum("history_up") == 0 && strings.Contains(e.log.String(), "there is no table attempts in us-east-1")
	})
	createAttempts(t, d)
	putAttempts(t, d, old+300, 3, time.Now(), "OK")
	servers.Eventually(t, "the new table counts", func() bool {
		p := e.scrape(5 * time.Second)
		return p.sum("history_up") == 1 && p.sum("invalidations_total") == before+11
	})
	if text := e.log.String(); strings.Contains(text, "s3cret-of-aws") {
		t.Error("a secret is in the log")
	}
}

// TestAProcessorsCounters count forward alone.
func TestAProcessorsCounters(t *testing.T) {
	var body atomic.Value
	body.Store(`{"ok":100,"bad":5}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body.Load().(string)) }))
	t.Cleanup(server.Close)
	cfg := fmt.Sprintf("history:\n  - {name: processor, http: {url: %q, succeeded: \"$.ok\", failed: \"$.bad\"}}\n", server.URL)
	e := start(t, cfg)
	step := func(told string, up, attempts, failures float64) {
		t.Helper()
		body.Store(told)
		p := e.scrape(5 * time.Second)
		p.want(up, "history_up", "history", "processor")
		p.want(attempts, "invalidations_total", "history", "processor")
		p.want(failures, "invalidation_failures_total", "history", "processor")
	}
	step(`{"ok":100,"bad":5}`, 1, 0, 0)
	step(`{"ok":110,"bad":7}`, 1, 12, 2)
	step(`{"ok":110}`, 0, 12, 2)
	step(`damaged`, 0, 12, 2)
	step(`{"ok":111,"bad":7}`, 1, 13, 2)
	e.load(cfg)
	step(`{"ok":112,"bad":8}`, 1, 15, 3)
	step(`{"ok":0,"bad":0}`, 1, 15, 3) // it began anew
	step(`{"ok":1,"bad":1}`, 1, 17, 4)
	server.Close()
	step("", 0, 17, 4)
}
