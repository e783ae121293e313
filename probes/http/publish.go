package http

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
)

// publisher sends each message as the body of a request.
type publisher struct {
	client *httpclient.Client
	url    *url.URL
	method string
}

// On implements probes.PublisherSource.
func (*publishConfig) On() string { return "" }

// Open implements probes.PublisherSource.
func (c *publishConfig) Open(_ *probes.Fleet, env *probes.Env) (probes.Publisher, error) {
	return newPublisher(*c, env)
}

func newPublisher(c publishConfig, env *probes.Env) (*publisher, error) {
	host := ""
	if u, err := url.Parse(c.URL); err == nil {
		host = u.Host
	}
	client := httpclient.New(c.Client, c.Headers, host, env)
	p := &publisher{client: client, method: c.Method}
	var err error
	if p.url, err = client.Parse(c.URL); err != nil {
		return nil, err
	}
	if client.Header.Get("Content-Type") == "" {
		client.Header.Set("Content-Type", "application/json")
	}
	return p, nil
}

// Publish implements probes.Publisher. Any 2xx is success.
func (p *publisher) Publish(ctx context.Context, _ string, message []byte) error {
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(message)), nil }
	first, _ := body() // it can't fail
	req := &http.Request{
		Method: p.method, URL: p.url, Header: p.client.Header.Clone(), Body: first, GetBody: body, ContentLength: int64(len(message)),
	}
	return p.client.Do(ctx, req, func(a *httpclient.Answer) error {
		if a.StatusCode < 200 || a.StatusCode > 299 {
			return httpclient.StatusError(a.StatusCode)
		}
		return nil
	})
}

// Close ends all requests and connections.
func (p *publisher) Close() { p.client.Close() }
