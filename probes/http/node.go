package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/group"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
)

// node is a cache that answers over HTTP: an edge, or an application's local cache.
type node struct {
	id     probes.Identity
	config nodeConfig
	client *httpclient.Client
	keys   *httpclient.Template
	// headers of requests for keys, of each variant; one where the configuration names none.
	headers []http.Header
	// stats and health are nil where they are not configured.
	stats, health *url.URL
	counts        []statsCount

	// reads outlive the node: nodes at one URL share them.
	reads *ownReads

	mu sync.Mutex
	// answered: what shows that the node is up was answered since the last survey began. mu guards it.
	answered bool

	log *slog.Logger
	// odd are the names of numbers that can be no count, as was logged. They belong to who surveys.
	odd map[string]bool
}

// ownReads are our part of a node's own counts.
type ownReads struct {
	mu sync.Mutex
	// fills since this process began; hits and misses since the node's own counts did.
	fills, hits, misses uint64
	// seen is what the node reported last.
	seen probes.Survey
}

// statsCount is one of the node's own counters: where it stands in the answer, and in the Survey.
type statsCount struct {
	name string
	path content.Path
	of   func(*probes.Survey) *probes.Count
}

func newNode(id probes.Identity, c nodeConfig, env *probes.Env) (probes.Node, error) {
	keys, err := httpclient.NewTemplate(c.URL)
	if err != nil {
		return nil, err
	}
	client := httpclient.New(c.Client, c.Headers, keys.Host, env)
	client.Site = group.ServerName(c.DNS)
	n := &node{
		id: id, config: c, client: client, keys: keys, headers: headersOf(c, client.Header), log: env.Log, odd: map[string]bool{},
		reads: probes.KeptOf(env.Kept, "http", c.URL.String(), func() *ownReads { return &ownReads{} }),
	}
	if c.HealthURL != "" {
		if n.health, err = client.Parse(c.HealthURL); err != nil {
			return nil, fmt.Errorf("health_url: %w", err)
		}
	}
	if c.Stats != nil {
		if err := n.openStats(*c.Stats); err != nil {
			return nil, fmt.Errorf("stats: %w", err)
		}
	}
	return n, nil
}

// acceptEncoding is the header that asks for an encoding of the body.
const acceptEncoding = "Accept-Encoding"

// headersOf requests for keys, of each variant. common goes with every request.
func headersOf(c nodeConfig, common http.Header) []http.Header {
	header := common.Clone()
	if c.OnlyIfCached {
		header.Add("Cache-Control", "only-if-cached")
	}
	if len(c.Variants) == 0 {
		return []http.Header{header}
	}
	var out []http.Header
	for _, name := range c.Variants {
		own := header.Clone()
		own.Set(acceptEncoding, name)
		out = append(out, own)
	}
	return out
}

func (n *node) openStats(c statsConfig) (err error) {
	if n.stats, err = n.client.Parse(c.URL); err != nil {
		return err
	}
	for _, f := range []struct {
		name, path string
		of         func(*probes.Survey) *probes.Count
	}{
		{"hits", c.Hits, func(s *probes.Survey) *probes.Count { return &s.Hits }},
		{"misses", c.Misses, func(s *probes.Survey) *probes.Count { return &s.Misses }},
		{"evicted", c.Evicted, func(s *probes.Survey) *probes.Count { return &s.Evicted }},
		{"items", c.Items, func(s *probes.Survey) *probes.Count { return &s.Items }},
		{"uptime_seconds", c.UptimeSeconds, func(s *probes.Survey) *probes.Count { return &s.UptimeSeconds }},
	} {
		if f.path == "" {
			continue
		}
		p, err := content.ParsePath(f.path, false)
		if err != nil {
			return err
		}
		n.counts = append(n.counts, statsCount{f.name, p, f.of})
	}
	return nil
}

func (n *node) Identity() probes.Identity { return n.id }

// Close ends all requests and connections.
func (n *node) Close() { n.client.Close() }

// Answered implements probes.Answerer: the stats and health URLs where they are configured, else any key.
func (n *node) Answered() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.answered
}

// Survey asks for stats and health, both at once. An error says what was wrong with them; a node that did answer is still up,
// which Answered reports.
func (n *node) Survey(ctx context.Context, _ *probes.Scan) (probes.Survey, error) {
	start := time.Now()
	n.mu.Lock()
	n.answered = false
	s := probes.Survey{Unasked: n.stats == nil && n.health == nil, Fills: n.reads.filled()}
	n.mu.Unlock()
	if s.Unasked {
		return s, nil
	}
	up := [2]bool{true, true}
	var errs [2]error
	var wait sync.WaitGroup
	if n.stats != nil {
		wait.Go(func() { up[0], errs[0] = n.askStats(ctx, &s) })
	}
	if n.health != nil {
		wait.Go(func() { up[1], errs[1] = n.askHealth(ctx) })
	}
	wait.Wait()
	s.Took = time.Since(start)
	err := errors.Join(errs[:]...)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answered = up[0] && up[1]
	if err != nil {
		return probes.Survey{Took: s.Took, Unasked: true, Fills: n.reads.filled()}, err
	}
	s.OwnHits, s.OwnMisses = n.reads.own(s)
	return s, nil
}

func (n *node) askStats(ctx context.Context, s *probes.Survey) (up bool, err error) {
	err = n.client.Get(ctx, n.stats, n.client.Header, func(a *httpclient.Answer) error {
		up = httpclient.Answers(a.StatusCode)
		if a.StatusCode != http.StatusOK {
			return httpclient.StatusError(a.StatusCode)
		}
		return a.Hold(func(body []byte) error { return n.readStats(body, s) })
	})
	if err != nil {
		return up, fmt.Errorf("stats: %w", err)
	}
	return up, nil
}

func (n *node) readStats(body []byte, s *probes.Survey) error {
	if len(n.counts) == 0 {
		return nil
	}
	if !json.Valid(body) {
		return errors.New("the answer is not JSON; fix stats.url")
	}
	found := false
	for _, c := range n.counts {
		got, odd := httpclient.NumberAt(body, c.path)
		if odd && !n.odd[c.name] {
			n.odd[c.name] = true
			n.log.Warn("a number of the node's stats can be no count, and is left out", "node", n.id.Name, "number", c.name)
		}
		*c.of(s) = got
		found = found || got.Known
	}
	if !found {
		return errors.New("the answer has a number at none of the configured paths; fix stats")
	}
	return nil
}

func (n *node) askHealth(ctx context.Context) (up bool, err error) {
	err = n.client.Get(ctx, n.health, n.client.Header, func(a *httpclient.Answer) error {
		if up = httpclient.Answers(a.StatusCode); !up {
			return httpclient.StatusError(a.StatusCode)
		}
		return nil
	})
	if err != nil {
		return up, fmt.Errorf("health_url: %w", err)
	}
	return up, nil
}

// filled gives the fills so far.
func (o *ownReads) filled() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fills
}

// own gives our part of the hits and misses that the node just reported. Where it began anew, or its counts were reset, none of
// them is ours.
func (o *ownReads) own(survey probes.Survey) (hits, misses uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fell := func(before, now probes.Count) bool { return before.Known && now.Known && now.Value < before.Value }
	if fell(o.seen.Hits, survey.Hits) || fell(o.seen.Misses, survey.Misses) || fell(o.seen.UptimeSeconds, survey.UptimeSeconds) {
		o.hits, o.misses = 0, 0
	}
	o.seen = survey
	return o.hits, o.misses
}
