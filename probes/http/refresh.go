package http

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
)

// refresher asks an application, by a request a key, to make its copies anew.
type refresher struct {
	client *httpclient.Client
	url    *httpclient.Template
	method string
}

// Request implements probes.RefresherSource.
func (c *refresherConfig) Request(vars map[string]string) string {
	return c.Method + " " + withoutLogin(c.URL.Expand(vars, url.PathEscape))
}

// Open implements probes.RefresherSource.
func (c *refresherConfig) Open(env *probes.Env) (probes.Refresher, error) {
	u, err := httpclient.NewTemplate(c.URL)
	if err != nil {
		return nil, fmt.Errorf("refresh: %w", err)
	}
	return &refresher{client: httpclient.New(c.Client, c.Headers, u.Host, env), url: u, method: c.Method}, nil
}

// Refresh implements probes.Refresher. Any 2xx is success.
func (r *refresher) Refresh(ctx context.Context, vars map[string]string) error {
	raw, err := r.url.Expand(vars)
	if err != nil {
		return err
	}
	u, err := r.client.Parse(raw)
	if err != nil {
		return err
	}
	req := &http.Request{Method: r.method, URL: u, Header: r.client.Header.Clone()}
	return r.client.Do(ctx, req, func(a *httpclient.Answer) error {
		if a.StatusCode < 200 || a.StatusCode > 299 {
			return httpclient.StatusError(a.StatusCode)
		}
		return nil
	})
}

// Close ends all requests and connections.
func (r *refresher) Close() { r.client.Close() }
