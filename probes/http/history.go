package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
)

// history is a processor that counts its attempts and reports the counters in JSON.
type history struct {
	*probes.Tally
	// source names where the counters stand, for Tally.Begin.
	source            string
	client            *httpclient.Client
	url               *url.URL
	succeeded, failed content.Path
}

// position is what the counters were when last reported; it is the Tally's Position.
type position struct {
	succeeded, failed float64
}

// Open implements probes.HistorySource.
func (c *historyConfig) Open(counts *probes.Tally, env *probes.Env) (probes.History, error) {
	return newHistory(*c, counts, env)
}

func newHistory(c historyConfig, counts *probes.Tally, env *probes.Env) (*history, error) {
	client := httpclient.New(c.Client, nil, "", env)
	h := &history{Tally: counts, client: client, source: fmt.Sprintf("http %q %q %q", c.URL, c.Succeeded, c.Failed)}
	var err error
	if h.url, err = client.Parse(c.URL); err != nil {
		return nil, err
	}
	if h.succeeded, err = content.ParsePath(c.Succeeded, false); err != nil {
		return nil, fmt.Errorf("succeeded: %w", err)
	}
	if h.failed, err = content.ParsePath(c.Failed, false); err != nil {
		return nil, fmt.Errorf("failed: %w", err)
	}
	return h, nil
}

// Sample implements probes.History.
func (h *history) Sample(ctx context.Context) error {
	end, err := h.Begin(h.source)
	if err != nil {
		return err
	}
	defer end()
	return h.client.Content(ctx, h.url, h.read)
}

// read one answer. Both counters are needed: attempts are their sum.
func (h *history) read(body []byte) error {
	if !json.Valid(body) {
		return errors.New("the answer is not JSON; fix the URL")
	}
	succeeded, _ := httpclient.NumberAt(body, h.succeeded)
	failed, _ := httpclient.NumberAt(body, h.failed)
	var errs []error
	for _, f := range []struct {
		name string
		probes.Count
	}{{"succeeded", succeeded}, {"failed", failed}} {
		if !f.Known {
			errs = append(errs, fmt.Errorf("the answer has no number from 0 to 2^53 where %s should stand; fix that path", f.name))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	// A counter that went back began anew, and how far it was before that is not known.
	moved, fell := 0.0, 0.0
	if before, seen := h.Position.(position); seen {
		moved, fell = max(0, succeeded.Value-before.succeeded), max(0, failed.Value-before.failed)
	}
	h.Position = position{succeeded: succeeded.Value, failed: failed.Value}
	h.Add(moved+fell, fell)
	return nil
}

// Close ends all requests and connections.
func (h *history) Close() { h.client.Close() }
