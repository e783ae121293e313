package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/shell"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
)

// queue is a queue that reports its depth in JSON. It has one consumer group, named as itself.
type queue struct {
	name   string
	client *httpclient.Client
	url    *url.URL
	fields []queueField
}

// queueField is one number of the answer: its name in the configuration, where it stands, and where it goes.
type queueField struct {
	name string
	path content.Path
	put  func(*probes.Backlog, float64)
}

// Kind implements probes.QueueSource.
func (*queueConfig) Kind() string { return backendName }

// Traits implements probes.QueueSource.
func (*queueConfig) Traits() probes.QueueTraits { return probes.QueueTraits{} }

// On implements probes.QueueSource.
func (*queueConfig) On() string { return "" }

// Watched implements probes.QueueSource.
func (*queueConfig) Watched() []form.NameMatch { return nil }

// Advice implements probes.QueueSource.
func (*queueConfig) Advice() string { return "" }

// Command implements probes.QueueSource.
func (c *queueConfig) Command(probes.QueueLook) string {
	return "curl -sS -m 5 " + shell.Quote(withoutLogin(c.URL))
}

// Open implements probes.QueueSource.
func (c *queueConfig) Open(name string, _ *probes.Message, _ *probes.Fleet, env *probes.Env) (probes.Queue, error) {
	return newQueue(*c, name, env)
}

func newQueue(c queueConfig, name string, env *probes.Env) (*queue, error) {
	client := httpclient.New(c.Client, nil, "", env)
	q := &queue{name: name, client: client}
	var err error
	if q.url, err = client.Parse(c.URL); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name, path string
		put        func(*probes.Backlog, float64)
	}{
		{"depth", c.Depth, func(b *probes.Backlog, n float64) { b.Depth = probes.Count{Value: n, Known: true} }},
		{"oldest_age_seconds", c.OldestAge, func(b *probes.Backlog, n float64) { b.OldestAge = probes.Count{Value: n, Known: true} }},
		{"enqueued", c.Enqueued, func(b *probes.Backlog, n float64) { b.Ends = map[probes.Partition]float64{{}: n} }},
		{"processed", c.Processed, func(b *probes.Backlog, n float64) {
			b.Groups = []probes.GroupBacklog{{Group: name, Positions: map[probes.Partition]float64{{}: n}}}
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

// Sample asks for the queue's numbers. What could be read is returned with the error.
func (q *queue) Sample(ctx context.Context) (probes.Backlog, error) {
	var b probes.Backlog
	err := q.client.Content(ctx, q.url, func(body []byte) error {
		if !json.Valid(body) {
			return probes.Refusal(errors.New("the answer is not JSON; fix the URL"))
		}
		var errs []error
		for _, f := range q.fields {
			if n, _ := httpclient.NumberAt(body, f.path); n.Known {
				f.put(&b, n.Value)
			} else {
				errs = append(errs, fmt.Errorf("the answer has no number from 0 to 2^53 where %s should stand; fix that path", f.name))
			}
		}
		return probes.Refusal(errors.Join(errs...))
	})
	if b.Depth.Known && b.Depth.Value == 0 && b.OldestAge.Known {
		b.OldestAge.Value = 0 // nothing waits, whatever was remembered of the last one
	}
	b.Complete = err == nil
	return b, err
}

// Close ends all requests and connections.
func (q *queue) Close() { q.client.Close() }
