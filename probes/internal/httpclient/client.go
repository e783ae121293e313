// Package httpclient has what all requests over HTTP share: login, TLS, limits of connections and bodies, and errors that hold
// no secret.
//
// Client asks the URLs of one block of the configuration, Answer is an answer whose body is still to come, and Template is a
// URL with places for keys.
package httpclient

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // net/http writes to it
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// MaxConns is how many requests go to one server at once, each over a connection of its own.
	MaxConns = 16
	// idleConns is how long a connection is kept for the next scrape.
	idleConns = 5 * time.Minute
	// maxHeader bounds the headers of an answer, in bytes.
	maxHeader = 256 << 10
	// UnheldBody is how much of a body is read before it is counted against the Budget, in bytes. Tests of packages that use it
	// ask for bodies of about that size.
	UnheldBody = probes.SmallValue
	// drainedBody is how much of a body that nobody needs is read, so that its connection can be used again, in bytes.
	drainedBody = 64 << 10
	// drainTime is how long that may take: what comes slowly costs more than a connection.
	drainTime = 50 * time.Millisecond
)

var (
	// ErrNoURL is the error of a text that is no URL, which it does not repeat: that may hold a password.
	ErrNoURL   = errors.New("the URL is none; write http://host:port/path or https://host:port/path")
	errNotHTTP = errors.New("the answer is not HTTP, or its head is too large; check the URL's scheme and port")
	// ErrCutOff is the error of an answer that ended too early. It is exported for tests.
	ErrCutOff = errors.New("the server closed the connection before its answer was complete")
)

// net/http writes to the program's log what a server sends beyond its answer, which may be a cached value.
func init() { log.SetOutput(WithoutBodies{log.Writer()}) }

// WithoutBodies is a log that leaves those lines out. It is exported for tests.
type WithoutBodies struct{ io.Writer }

// Write implements io.Writer.
func (w WithoutBodies) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("Unsolicited response received")) {
		return len(line), nil
	}
	return w.Writer.Write(line)
}

// Client asks the URLs of one http block. No redirect is followed, and no error of it holds a URL, a header's value
// or a part of a body.
type Client struct {
	config form.HTTPClient
	env    *probes.Env
	// Header goes with every request.
	Header http.Header
	// virtual is what the header Host says, in requests to hostOf alone.
	virtual, hostOf string
	// Site is the name that a server's certificate must be for; empty: that of its URL. It is set before the client is used.
	Site      string
	transport *http.Transport
	// holder of the bodies.
	holder probes.Holder
	// secrets are the logins that were sent last.
	secrets probes.Secrets
	// life ends with Close.
	life context.Context
	end  context.CancelFunc

	mu     sync.Mutex
	closed bool
	asking sync.WaitGroup
}

// New gives a client that sends headers with each request. The Host among them goes to the URLs of one host alone (host, as
// it stands in them): an edge's statistics may stand elsewhere.
func New(config form.HTTPClient, headers map[string]string, host string, env *probes.Env) *Client {
	c := &Client{config: config, env: env, Header: http.Header{"User-Agent": {"cacheinv_exporter"}}, hostOf: host}
	for name, value := range headers {
		if http.CanonicalHeaderKey(name) == "Host" {
			c.virtual = value
			continue
		}
		c.Header.Set(name, value)
	}
	c.life, c.end = context.WithCancel(context.Background())
	c.transport = &http.Transport{
		MaxConnsPerHost: MaxConns, MaxIdleConnsPerHost: MaxConns, IdleConnTimeout: idleConns,
		MaxResponseHeaderBytes: maxHeader,
		// No encoding is asked for unless the configuration does: it would be another variant of the content than the one without.
		DisableCompression: true,
		DialContext:        func(ctx context.Context, _, addr string) (net.Conn, error) { return c.dial(ctx, addr, false) },
		DialTLSContext:     func(ctx context.Context, _, addr string) (net.Conn, error) { return c.dial(ctx, addr, true) },
	}
	return c
}

// oneLine: the text holds no control characters.
func oneLine(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) < 0
}

// Close ends all requests and connections.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.asking.Wait()
	c.transport.CloseIdleConnections()
}

// begin a request: it ends with ctx, or when the client is closed, or with cancel.
func (c *Client) begin(ctx context.Context) (_ context.Context, cancel context.CancelCauseFunc, end func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, nil, probes.ErrClosed
	}
	c.asking.Add(1)
	ctx, cancel = context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.life, func() { cancel(nil) })
	return ctx, cancel, func() {
		stop()
		cancel(nil)
		c.asking.Done()
	}, nil
}

// Parse a URL. A block tls switches TLS on whatever the scheme says, so that nothing goes in plain text by mistake.
func (c *Client) Parse(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, ErrNoURL
	}
	if c.config.TLS != nil {
		u.Scheme = "https"
	}
	return u, nil
}

// callerKey is the key under which a request's context holds the one that its caller gave.
type callerKey struct{}

// dial opens a connection. net/http detaches a dial from its request, as another one may use the connection; here it
// ends with the caller's time, so that no server that accepts and says nothing keeps a goroutine, or one of the few
// connections.
//
//nolint:contextcheck // the caller's context stands in the one that net/http gives
func (c *Client) dial(ctx context.Context, addr string, secure bool) (net.Conn, error) {
	if caller, ok := ctx.Value(callerKey{}).(context.Context); ok {
		ctx = caller
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	conn, err := c.connect(ctx, addr, secure)
	if err != nil {
		return nil, dialError{err}
	}
	return conn, nil
}

func (c *Client) connect(ctx context.Context, addr string, secure bool) (net.Conn, error) {
	if !secure {
		var plain *form.TLS
		return plain.Dial(ctx, addr)
	}
	var settings form.TLS
	if c.config.TLS != nil {
		settings = *c.config.TLS
	}
	settings.ServerName = cmp.Or(settings.ServerName, c.ServerName(addr))
	return settings.Dial(ctx, addr)
}

// ServerName is the name that the certificate of a server at addr must be for: an edge's address is not the name of the site
// that it serves. It is exported for tests.
func (c *Client) ServerName(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if c.virtual != "" && (c.hostOf == addr || port == "443" && strings.Trim(c.hostOf, "[]") == host) {
		return (&url.URL{Host: c.virtual}).Hostname()
	}
	return cmp.Or(c.Site, host)
}

// dialError marks an error that came about before anything of an answer was read: its text is safe.
type dialError struct{ error }

// brief is a short text of an error of net/http, whose own may repeat what the server sent.
func (c *Client) brief(ctx context.Context, err error) error {
	var dialed dialError
	var op *net.OpError
	switch {
	case c.life.Err() != nil:
		return probes.ErrClosed
	case errors.Is(context.Cause(ctx), probes.ErrTooSlow):
		return probes.ErrTooSlow
	case ctx.Err() != nil:
		return probes.NoAnswer(ctx)
	case errors.As(err, &dialed):
		return dialed.error
	case errors.As(err, &op):
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrCutOff
	}
	return errNotHTTP
}

// authorize a request; the files are read each time.
func (c *Client) authorize(req *http.Request) error {
	if c.config.BearerTokenFile != "" {
		data, err := os.ReadFile(c.config.BearerTokenFile)
		if err != nil {
			return fmt.Errorf("bearer_token_file: %w", err)
		}
		token := strings.TrimSpace(string(data))
		if token == "" || !oneLine(token) {
			return errors.New("bearer_token_file is empty or has several lines; write the token alone")
		}
		req.Header.Set("Authorization", "Bearer "+token)
		c.secrets.Add("", token)
		return nil
	}
	user, password, err := c.config.Credentials.Resolve()
	if err != nil {
		return err
	}
	if user == "" {
		user = req.URL.User.Username()
	}
	if password == "" {
		password, _ = req.URL.User.Password()
	}
	if user != "" || password != "" {
		req.SetBasicAuth(user, password)
		c.secrets.Add(user, password)
	}
	return nil
}

// RepeatsLogin reports whether a text of an answer has a part of what was sent to log in.
func (c *Client) RepeatsLogin(text string) bool { return c.secrets.Hide(text) != text }

// Get asks for u with header. use gets the answer's head, and may Hold its body. The error is that of use, or says why there was
// no answer.
func (c *Client) Get(ctx context.Context, u *url.URL, header http.Header, use func(*Answer) error) error {
	return c.Do(ctx, &http.Request{Method: http.MethodGet, URL: u, Header: header.Clone()}, use)
}

// Do sends req as Get does, with login and Host; use is as there.
func (c *Client) Do(ctx context.Context, req *http.Request, use func(*Answer) error) error {
	caller := ctx
	ctx, cancel, end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	req = req.WithContext(context.WithValue(ctx, callerKey{}, caller))
	if req.URL.Host == c.hostOf {
		req.Host = c.virtual
	}
	if err := c.authorize(req); err != nil {
		return err
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return c.brief(ctx, err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing is left to be told
	err = probes.Guarded(func() error { return use(&Answer{Response: resp, ctx: ctx, cancel: cancel, client: c}) })
	defer time.AfterFunc(drainTime, func() { cancel(nil) }).Stop()
	_, _ = io.CopyN(io.Discard, resp.Body, drainedBody) // only for the connection's sake
	return err
}

// Send a request as it is, for a library that makes its own. The request ends with its context, when the client is closed,
// and when the answer's body is.
func (c *Client) Send(req *http.Request) (*http.Response, error) {
	caller := req.Context()
	ctx, _, end, err := c.begin(caller)
	if err != nil {
		return nil, err
	}
	resp, err := c.transport.RoundTrip(req.WithContext(context.WithValue(ctx, callerKey{}, caller)))
	if err != nil {
		defer end()
		return nil, c.brief(ctx, err)
	}
	resp.Body = &endingBody{resp.Body, end}
	return resp, nil
}

// Hold room in memory for n bytes of an answer, as probes.Budget has it: lost is called where it comes too slowly.
func (c *Client) Hold(ctx context.Context, n int64, lost func()) (*probes.Hold, error) {
	return c.env.Budget.Hold(ctx, &c.holder, n, lost)
}

// endingBody ends its request when it is closed.
type endingBody struct {
	io.ReadCloser
	end func()
}

func (b *endingBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}

// Content asks for u and hands on the body of a 200; anything else is an error.
func (c *Client) Content(ctx context.Context, u *url.URL, use func(body []byte) error) error {
	return c.Get(ctx, u, c.Header, func(a *Answer) error {
		if a.StatusCode != http.StatusOK {
			return StatusError(a.StatusCode)
		}
		return a.Hold(use)
	})
}

// StatusError is the error of an answer whose status says that it has no content. Below 500 it is a refusal: the server itself
// answered, and nothing between it and us failed.
func StatusError(status int) error {
	text := strings.TrimSpace(fmt.Sprintf("status %d %s", status, http.StatusText(status)))
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		text += "; give it a username and password_file, or a bearer_token_file, that it accepts"
	case status == http.StatusProxyAuthRequired:
		text += "; a proxy before the server asks for a login of its own, let the exporter pass"
	case status == http.StatusTooManyRequests:
		text += "; it limits requests, let the exporter have more or scrape less often"
	case status >= 300 && status < 400:
		text += "; redirects are not followed, write the URL that it leads to"
	}
	if Answers(status) {
		return probes.Refusal(errors.New(text))
	}
	return errors.New(text)
}

// Answers reports whether an answer of this status shows that the server is up: a server that fails, and a gateway that does not
// reach it, say 500 and more.
func Answers(status int) bool { return status < http.StatusInternalServerError }

// Answer is an answer whose body is still to come.
type Answer struct {
	*http.Response
	ctx    context.Context // the request's
	cancel context.CancelCauseFunc
	client *Client
}

// Hold reads the whole body, undoes its Content-Encoding and hands it to use. It counts against the Budget once it is more than a
// small one, and is valid, only during the call.
func (a *Answer) Hold(use func(body []byte) error) error {
	limit := a.client.env.MaxBody
	if a.ContentLength > limit {
		return a.tooLarge()
	}
	encodings := content.EncodingsOf(a.Header.Values("Content-Encoding"))
	// A server that stops after its head, or after little, holds nothing of what others need.
	body, err := a.first()
	if err != nil {
		return a.client.brief(a.ctx, err)
	}
	room := int64(0)
	switch {
	case len(body) == UnheldBody && a.ContentLength != UnheldBody:
		// How large the rest is may show only at its end. What may come is held all at once: who holds a part must not wait for more,
		// or all would wait for each other.
		if room = a.ContentLength; room < 0 {
			room = limit + 1
		}
	case int64(len(body)) > limit:
		return a.tooLarge()
	case len(encodings) > 0: // how much room it needs shows once it is undone, and most need little
		if small, err := content.Unencode(body, encodings, min(UnheldBody, limit)); err == nil {
			return use(small)
		}
		room = int64(len(body))
	}
	room += limit * int64(min(len(encodings), 2)) // what is undone, and what it is undone from
	hold, err := a.client.env.Budget.Hold(a.ctx, &a.client.holder, room, func() { a.cancel(probes.ErrTooSlow) })
	if err != nil {
		return a.client.brief(a.ctx, err)
	}
	defer hold.Release()
	if len(body) == UnheldBody {
		if body, err = a.rest(body); err != nil {
			return a.client.brief(a.ctx, err)
		}
	}
	hold.Arrived()
	if int64(len(body)) > limit {
		return a.tooLarge()
	}
	if body, err = content.Unencode(body, encodings, limit); err != nil {
		return err
	}
	return use(body)
}

func (a *Answer) tooLarge() error {
	return fmt.Errorf("the body is larger than --http.max-body (%d bytes)", a.client.env.MaxBody)
}

// first reads UnheldBody bytes, or all where there is less.
func (a *Answer) first() ([]byte, error) {
	if a.ContentLength < 0 {
		return io.ReadAll(io.LimitReader(a.Body, UnheldBody))
	}
	body := make([]byte, min(a.ContentLength, UnheldBody))
	_, err := io.ReadFull(a.Body, body)
	return body, err
}

// rest reads what follows first.
func (a *Answer) rest(first []byte) ([]byte, error) {
	if a.ContentLength >= 0 {
		body := make([]byte, a.ContentLength)
		_, err := io.ReadFull(a.Body, body[copy(body, first):])
		return body, err
	}
	more, err := io.ReadAll(io.LimitReader(a.Body, a.client.env.MaxBody+1-int64(len(first))))
	if len(more) == 0 {
		return first, err
	}
	return append(first, more...), err
}

// NumberAt gives the number at a path of a JSON document; not known where there is none, or it can be no count: that is odd.
func NumberAt(doc []byte, p content.Path) (n probes.Count, odd bool) {
	text, ok := content.Lookup(doc, p)
	if !ok {
		return probes.Count{}, false
	}
	return probes.ParseCount(text), probes.OddCount(text)
}
