package dynamodb

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

// Whatever stands in a page, a sampling comes to its end, and nothing is counted twice: the same page again has nothing new.
func FuzzPages(f *testing.F) {
	f.Setenv("AWS_ACCESS_KEY_ID", "test")
	f.Setenv("AWS_SECRET_ACCESS_KEY", "s3cret-of-aws")
	const key = `{"id":{"S":"a"},"day":{"S":"2026-03-02"},"at":{"N":"1772452800000"}}`
	for _, s := range []string{
		`{"Items":[` + key + `],"Count":1,"ScannedCount":1,"LastEvaluatedKey":` + key + `}`,
		`{"Items":[{"id":{"S":"b"},"day":{"S":"2026-03-02"},"at":{"N":"1772452800000"},"status":{"S":"FAILED"}}],"Count":1,"ScannedCount":1,"ConsumedCapacity":{"CapacityUnits":0.5}}`,
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

// A page of many values is given up when the first too many has come, wherever it is cut.
func TestReadPage(t *testing.T) {
	unheld := func() error { return nil }
	few := `{"Items":[` + strings.Repeat(`{"a":{"S":"x, [ { \" , y"}},`, 10)
	page, err := readPage(iotest.OneByteReader(strings.NewReader(few)), unheld)
	if err != nil || string(page) != few {
		t.Errorf("%d of %d bytes, %v", len(page), len(few), err)
	}
	many := &endless{text: `{"N":"1"},`}
	if _, err := readPage(many, unheld); err == nil || !strings.Contains(err.Error(), "more than 200000 values") {
		t.Error(err)
	}
	if most := int64(len(many.text)) * maxValues; many.read > most+chunkBytes {
		t.Errorf("%d bytes were read, of which %d have as many values as may be", many.read, most)
	}
	if _, err := readPage(&endless{text: strings.Repeat("x", 100)}, unheld); err == nil || !strings.Contains(err.Error(), "more than 8 MiB") {
		t.Error(err)
	}
	count := valueCounter{n: 1}
	for i := range few {
		count.add([]byte(few[i : i+1]))
	}
	if count.n != 1+2+10*3 {
		t.Errorf("%d values", count.n)
	}
}

// endless gives a text again and again.
type endless struct {
	text string
	read int64
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.text[(e.read+int64(i))%int64(len(e.text))]
	}
	e.read += int64(len(p))
	return len(p), nil
}
