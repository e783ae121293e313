package dynamodb

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// Whatever stands in a page, a sampling comes to its end, and nothing is counted twice: the same page again has nothing new.
func FuzzPages(f *testing.F) {
	f.Setenv("AWS_ACCESS_KEY_ID", "test")
	f.Setenv("AWS_SECRET_ACCESS_KEY", "s3cret-of-aws")
	const key = `{"id":{"S":"a"},"day":{"S":"2026-03-02"},"at":{"N":"1772452801000"}}`
	for _, s := range []string{
		`{"Items":[` + key + `],"Count":1,"ScannedCount":1,"LastEvaluatedKey":` + key + `}`,
		`{"Items":[{"id":{"S":"b"},"day":{"S":"2026-03-02"},"at":{"N":"1772452801000"},"status":{"S":"FAILED"}}],"Count":1,"ScannedCount":1,"ConsumedCapacity":{"CapacityUnits":0.5}}`,
		`{"Items":[],"Count":0,"ScannedCount":0}`, `{}`, ``, `{"Items":null,"LastEvaluatedKey":{}}`, `{"Items":[{"at":{"L":[{"M":{}}]}}],"ScannedCount":-5}`,
		`{"Items":[{"at":{"N":"NaN"}},{"at":{"NULL":true}},{"at":{}}],"ConsumedCapacity":{"CapacityUnits":"NaN"}}`, `{"Items":{}}`, `{"__type":"ThrottlingException"}`,
	} {
		f.Add([]byte(s))
	}
	const pages = 3
	var said atomic.Pointer[[]byte]
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		if asked.Add(1) > pages {
			w.WriteHeader(http.StatusInternalServerError) // else some pages go on for ever
			return
		}
		_, _ = w.Write(*said.Load())
	}))
	f.Cleanup(server.Close)
	c := tableConfig{
		Table: "attempts", Region: "us-east-1", Endpoint: server.URL, TimeAttribute: "at", TimeFormat: "epoch_ms", StatusAttribute: "status",
		FailedValues: []string{"FAILED"}, PartitionKey: partitionKey{Name: "day", Value: parseTemplate(f, "{date}")}, MaxReadUnits: 25,
	}
	began := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, page []byte) {
		said.Store(&page)
		h := (&attemptsTable{config: c}).open(t, &clock{began})
		sample := func() {
			asked.Store(0)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := h.Sample(ctx); ctx.Err() != nil {
				t.Errorf("no end: %v", err)
			}
		}
		sample()
		sample()
		before, _ := h.Attempts()
		sample()
		after, _ := h.Attempts()
		if after.Failed > after.Total || before.Total < 0 || h.upTo != nil && h.upTo.pass == nil && after != before {
			t.Errorf("%+v, then %+v", before, after)
		}
		if h.upTo != nil && (len(h.upTo.seen)+len(h.upTo.coming) > maxSeen || h.upTo.debt < 0) {
			t.Errorf("%d and %d remembered, a debt of %v", len(h.upTo.seen), len(h.upTo.coming), h.upTo.debt)
		}
	})
}
