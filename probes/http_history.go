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

// httpHistory is a processor that counts its attempts and tells the counters in JSON.
type httpHistory struct {
	*tally
	source            string
	client            *httpClient
	url               *url.URL
	succeeded, failed content.Path
}

// webPlace is what the counters were when last told.
type webPlace struct {
	succeeded, failed float64
}

func newHTTPHistory(c config.HTTPHistory, counts *tally, opt Options) (*httpHistory, error) {
	client, err := newHTTPClient(c.Client, nil, "", opt)
	if err != nil {
		return nil, err
	}
	h := &httpHistory{tally: counts, client: client, source: fmt.Sprintf("http %q %q %q", c.URL, c.Succeeded, c.Failed)}
	if h.url, err = client.parse(c.URL); err != nil {
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

// Sample implements History.
func (h *httpHistory) Sample(ctx context.Context) error {
	end, err := h.begin(h.source)
	if err != nil {
		return err
	}
	defer end()
	return h.client.content(ctx, h.url, h.read)
}

// read one answer. Both counters are needed: attempts are their sum.
func (h *httpHistory) read(body []byte) error {
	if !json.Valid(body) {
		return errors.New("the answer is not JSON; mend the URL")
	}
	succeeded, failed := numberAt(body, h.succeeded), numberAt(body, h.failed)
	var errs []error
	for _, f := range []struct {
		name string
		Count
	}{{"succeeded", succeeded}, {"failed", failed}} {
		if !f.Known {
			errs = append(errs, fmt.Errorf("the answer has no number of 0 or more where %s should stand; mend that path", f.name))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	// A counter that went back began anew, and how far it was before that is not known.
	moved, fell := 0.0, 0.0
	if before, seen := h.position.(webPlace); seen {
		moved, fell = max(0, succeeded.Value-before.succeeded), max(0, failed.Value-before.failed)
	}
	h.position = webPlace{succeeded: succeeded.Value, failed: failed.Value}
	h.add(moved+fell, fell)
	return nil
}

// Close ends all requests and connections.
func (h *httpHistory) Close() { h.client.close() }
