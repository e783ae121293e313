package probes

import (
	"context"
	"fmt"
	"net/http"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// Origin answers for the truth of a key.
type Origin struct {
	client *httpClient
	url    *urlTemplate
}

// OriginAnswer is the truth: Body (valid only during the call that gives it), or that the thing is Deleted.
type OriginAnswer struct {
	Body    []byte
	Deleted bool
}

// OpenOrigin opens what a canary class names. Nothing is asked yet.
func OpenOrigin(c config.Origin, opt Options) (*Origin, error) {
	u, err := newURLTemplate(c.URL)
	if err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	client, err := newHTTPClient(c.Client, c.Headers, u.host, opt)
	if err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	return &Origin{client: client, url: u}, nil
}

// Ask for the truth of the key that vars name, and hand it to visit, once where there is no error. 404 and 410 mean
// deleted; all else but 200 is an error, and no answer.
func (o *Origin) Ask(ctx context.Context, vars map[string]string, visit func(OriginAnswer)) error {
	raw, err := o.url.expand(vars)
	if err != nil {
		return err
	}
	u, err := o.client.parse(raw)
	if err != nil {
		return err
	}
	return o.client.get(ctx, u, o.client.header, func(a *httpAnswer) error {
		switch a.StatusCode {
		case http.StatusOK:
			return a.hold(func(body []byte) error {
				visit(OriginAnswer{Body: body})
				return nil
			})
		case http.StatusNotFound, http.StatusGone:
			visit(OriginAnswer{Deleted: true})
			return nil
		}
		return statusError(a.StatusCode)
	})
}

// Close ends all requests and connections.
func (o *Origin) Close() { o.client.close() }
