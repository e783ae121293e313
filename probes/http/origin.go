package http

import (
	"context"
	"fmt"
	"net/http"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
)

// Origin answers for the truth of a key.
type Origin struct {
	client *httpclient.Client
	url    *httpclient.Template
}

// OpenOrigin opens what a canary class names. Nothing is asked yet.
func OpenOrigin(c config.Origin, opt probes.Options) (*Origin, error) {
	u, err := httpclient.NewTemplate(c.URL)
	if err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	client, err := httpclient.New(c.Client, c.Headers, u.Host, opt)
	if err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	return &Origin{client: client, url: u}, nil
}

// Ask for the truth of the key that vars name, and hand it to visit, once where there is no error. 404 and 410 mean
// deleted; all else but 200 is an error, and no answer.
func (o *Origin) Ask(ctx context.Context, vars map[string]string, visit func(probes.OriginAnswer)) error {
	raw, err := o.url.Expand(vars)
	if err != nil {
		return err
	}
	u, err := o.client.Parse(raw)
	if err != nil {
		return err
	}
	return o.client.Get(ctx, u, o.client.Header, func(a *httpclient.Answer) error {
		switch a.StatusCode {
		case http.StatusOK:
			return a.Hold(func(body []byte) error {
				visit(probes.OriginAnswer{Body: body})
				return nil
			})
		case http.StatusNotFound, http.StatusGone:
			visit(probes.OriginAnswer{Deleted: true})
			return nil
		}
		return httpclient.StatusError(a.StatusCode)
	})
}

// Close ends all requests and connections.
func (o *Origin) Close() { o.client.Close() }
