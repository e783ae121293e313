package probes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// httpQueue is a queue that tells its depth in JSON. It has one consumer group, named as itself.
type httpQueue struct {
	name   string
	client *httpClient
	url    *url.URL
	fields []queueField
}

// queueField is one number of the answer, and where it belongs.
type queueField struct {
	name string
	path content.Path
	put  func(*Backlog, float64)
}

func newHTTPQueue(c config.HTTPQueue, name string, opt Options) (*httpQueue, error) {
	client, err := newHTTPClient(c.Client, nil, "", opt)
	if err != nil {
		return nil, err
	}
	q := &httpQueue{name: name, client: client}
	if q.url, err = client.parse(c.URL); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name, path string
		put        func(*Backlog, float64)
	}{
		{"depth", c.Depth, func(b *Backlog, n float64) { b.Depth = Count{Value: n, Known: true} }},
		{"oldest_age_seconds", c.OldestAge, func(b *Backlog, n float64) { b.OldestAge = Count{Value: n, Known: true} }},
		{"enqueued", c.Enqueued, func(b *Backlog, n float64) { b.Ends = map[Partition]float64{{}: n} }},
		{"processed", c.Processed, func(b *Backlog, n float64) {
			b.Groups = []GroupBacklog{{Group: name, Positions: map[Partition]float64{{}: n}}}
		}},
	} {
		if f.path == "" {
			continue
		}
		p, err := content.ParsePath(f.path, false)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		q.fields = append(q.fields, queueField{f.name, p, f.put})
	}
	return q, nil
}

// Sample asks for the queue's numbers. What could be read is given beside an error, too.
func (q *httpQueue) Sample(ctx context.Context) (Backlog, error) {
	var b Backlog
	err := q.client.content(ctx, q.url, func(body []byte) error {
		if !json.Valid(body) {
			return errors.New("the answer is not JSON; mend the URL")
		}
		var errs []error
		for _, f := range q.fields {
			if n := numberAt(body, f.path); n.Known {
				f.put(&b, n.Value)
			} else {
				errs = append(errs, fmt.Errorf("the answer has no number of 0 or more where %s should stand; mend that path", f.name))
			}
		}
		return errors.Join(errs...)
	})
	if b.Depth.Known && b.Depth.Value == 0 && b.OldestAge.Known {
		b.OldestAge.Value = 0 // nothing waits, whatever was remembered of the last one
	}
	b.Complete = err == nil
	return b, err
}

// Close ends all requests and connections.
func (q *httpQueue) Close() { q.client.close() }
