package http

import (
	"context"
	"fmt"
	"net/http"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
)

// origin answers for the truth of a key.
type origin struct {
	client *httpclient.Client
	url    *httpclient.Template
}

// Identity implements probes.OriginSource.
func (c *originConfig) Identity() string { return c.URL.String() }

// Open implements probes.OriginSource.
func (c *originConfig) Open(env *probes.Env) (probes.Origin, error) { return newOrigin(*c, env) }

func newOrigin(c originConfig, env *probes.Env) (*origin, error) {
	u, err := httpclient.NewTemplate(c.URL)
	if err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	client := httpclient.New(c.Client, c.Headers, u.Host, env)
	return &origin{client: client, url: u}, nil
}

// Ask for the truth of the key that vars name, and hand it to visit, once where there is no error. 404 and 410 mean
// deleted; all else but 200 is an error, and no answer.
func (o *origin) Ask(ctx context.Context, vars map[string]string, visit func(probes.OriginAnswer)) error {
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
func (o *origin) Close() { o.client.Close() }
