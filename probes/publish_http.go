package probes

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// httpPublisher sends each message as the body of a request.
type httpPublisher struct {
	client *httpClient
	url    *url.URL
	method string
}

func newHTTPPublisher(c config.PublishHTTP, opt Options) (*httpPublisher, error) {
	host := ""
	if u, err := url.Parse(c.URL); err == nil {
		host = u.Host
	}
	client, err := newHTTPClient(c.Client, c.Headers, host, opt)
	if err != nil {
		return nil, err
	}
	p := &httpPublisher{client: client, method: c.Method}
	if p.url, err = client.parse(c.URL); err != nil {
		return nil, err
	}
	if client.header.Get("Content-Type") == "" {
		client.header.Set("Content-Type", "application/json")
	}
	return p, nil
}

// Publish implements Publisher. Any 2xx is success.
func (p *httpPublisher) Publish(ctx context.Context, _ string, message []byte) error {
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(message)), nil }
	first, _ := body() // it can't fail
	req := &http.Request{
		Method: p.method, URL: p.url, Header: p.client.header.Clone(), Body: first, GetBody: body, ContentLength: int64(len(message)),
	}
	return p.client.do(ctx, req, func(a *httpAnswer) error {
		if a.StatusCode < 200 || a.StatusCode > 299 {
			return statusError(a.StatusCode)
		}
		return nil
	})
}

// Close ends all requests and connections.
func (p *httpPublisher) Close() { p.client.close() }
