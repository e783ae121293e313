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
	caller := ctx
	ctx, end, err := p.client.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(message)), nil }
	first, _ := body() // it can't fail
	req := (&http.Request{
		Method: p.method, URL: p.url, Header: p.client.header.Clone(), Body: first, GetBody: body, ContentLength: int64(len(message)),
	}).WithContext(context.WithValue(ctx, httpAsker{}, caller))
	if p.url.Host == p.client.hostOf {
		req.Host = p.client.virtual
	}
	if err := p.client.authorize(req); err != nil {
		return err
	}
	resp, err := p.client.transport.RoundTrip(req)
	if err != nil {
		return p.client.brief(ctx, err)
	}
	defer resp.Body.Close()                             //nolint:errcheck // nothing is left to be told
	_, _ = io.CopyN(io.Discard, resp.Body, drainedBody) // only for the connection's sake
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return statusError(resp.StatusCode)
	}
	return nil
}

// Close ends all requests and connections.
func (p *httpPublisher) Close() { p.client.close() }
