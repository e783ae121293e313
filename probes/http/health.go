package http

import (
	"context"
	"net/url"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
)

// healthConfig is the URL at which an application tells whether it is well.
type healthConfig struct{ URL string }

// Open implements probes.HealthSource.
func (c healthConfig) Open(env *probes.Env) (probes.Health, error) {
	client := httpclient.New(form.HTTPClient{}, nil, "", env)
	u, err := client.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	return health{client, u}, nil
}

type health struct {
	client *httpclient.Client
	url    *url.URL
}

// Ask implements probes.Health. Any 2xx says that all is well.
func (h health) Ask(ctx context.Context) error {
	return h.client.Get(ctx, h.url, h.client.Header, func(a *httpclient.Answer) error {
		if a.StatusCode < 200 || a.StatusCode > 299 {
			return httpclient.StatusError(a.StatusCode)
		}
		return nil
	})
}

// Close ends all requests and connections.
func (h health) Close() { h.client.Close() }
