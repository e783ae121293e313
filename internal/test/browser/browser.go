// Package browser opens pages in a headless Chromium for tests, as a reader would see them: what they say on the console, when
// they were first painted, and how they look. Chromium is driven through a pipe, by its DevTools protocol. Where it is not
// installed, the test fails.
package browser

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long Chromium may need for one thing, on a machine that is busy with others.
const patience = time.Minute

// Browser is a Chromium that ends with the test.
type Browser struct {
	t  testing.TB
	to *os.File // commands, each ended by a zero byte

	mu      sync.Mutex
	last    int
	answers map[int]chan message
	pages   map[string]*Page // by session
	gone    chan struct{}
}

// message of the protocol, in both directions.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// Start a Chromium.
func Start(t testing.TB) *Browser {
	t.Helper()
	theirIn, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := &Browser{t: t, to: to, answers: map[int]chan message{}, pages: map[string]*Page{}, gone: make(chan struct{})}
	//nolint:gosec,noctx // the folder is the test's own, and the browser is ended in its own way
	cmd := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--disable-dev-shm-usage",
		"--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	err = cmd.Start()
	_, _ = theirIn.Close(), theirOut.Close()
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			t.Fatal("chromium is not installed, and the tests need it: run make deps")
		}
		t.Fatal(err)
	}
	go b.listen(from)
	t.Cleanup(func() {
		_ = to.Close() // it ends by itself then
		select {
		case <-b.gone:
		case <-time.After(patience):
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // and its children
		_ = cmd.Wait()
		<-b.gone
		_ = from.Close()
	})
	return b
}

// listen to answers and events until Chromium is gone.
func (b *Browser) listen(from *os.File) {
	defer close(b.gone)
	r := bufio.NewReader(from)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		answer, page := b.answers[m.ID], b.pages[m.Session]
		delete(b.answers, m.ID)
		b.mu.Unlock()
		switch {
		case m.ID != 0 && answer != nil:
			answer <- m
		case page != nil:
			page.note(m)
		}
	}
}

// call a method of the protocol, and read its result into result, if that is not nil.
func (b *Browser) call(session, method string, params map[string]any, result any) {
	b.t.Helper()
	text, err := json.Marshal(params)
	if err != nil {
		b.t.Fatal(err)
	}
	answer := make(chan message, 1)
	b.mu.Lock()
	b.last++
	m := message{ID: b.last, Session: session, Method: method, Params: text}
	b.answers[m.ID] = answer
	b.mu.Unlock()
	if text, err = json.Marshal(m); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.to.Write(append(text, 0)); err != nil {
		b.t.Fatalf("Chromium is gone: %v", err)
	}
	select {
	case m = <-answer:
	case <-b.gone:
		b.t.Fatalf("Chromium ended during %s", method)
	case <-time.After(patience):
		b.t.Fatalf("Chromium does not answer %s", method)
	}
	if m.Error != nil {
		b.t.Fatalf("%s: %s", method, m.Error.Message)
	}
	if result != nil {
		if err := json.Unmarshal(m.Result, result); err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
	}
}

// Look is how a page is looked at.
type Look struct {
	// Width and Height of the window in CSS pixels.
	Width, Height int
	// Dark asks for dark colours, NoScript switches scripts off.
	Dark, NoScript bool
}

// Page is an open page.
type Page struct {
	*Browser
	session string
	loaded  chan struct{}

	mu         sync.Mutex
	complaints []string
}

// Open a page, and wait until it is loaded.
func (b *Browser) Open(url string, look Look) *Page {
	b.t.Helper()
	var target struct {
		TargetID string `json:"targetId"`
	}
	b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	p := &Page{Browser: b, session: attached.SessionID, loaded: make(chan struct{}, 100)}
	b.mu.Lock()
	b.pages[p.session] = p
	b.mu.Unlock()
	colours := "light"
	if look.Dark {
		colours = "dark"
	}
	for _, c := range []struct {
		method string
		params map[string]any
	}{
		{"Page.enable", nil},
		{"Runtime.enable", nil},
		{"Log.enable", nil},
		{"Emulation.setDeviceMetricsOverride", map[string]any{"width": look.Width, "height": look.Height, "deviceScaleFactor": 1, "mobile": look.Width < 600}},
		{"Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": colours}}}},
		{"Emulation.setScriptExecutionDisabled", map[string]any{"value": look.NoScript}},
		{"Page.navigate", map[string]any{"url": url}},
	} {
		b.call(p.session, c.method, c.params, nil)
	}
	select {
	case <-p.loaded:
	case <-time.After(patience):
		b.t.Fatalf("%s is not loaded", url)
	}
	return p
}

// note an event of the page.
func (p *Page) note(m message) {
	var e struct {
		Type  string
		Args  []struct{ Value any }
		Entry struct{ Level, Text string }

		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	if json.Unmarshal(m.Params, &e) != nil {
		return
	}
	switch m.Method {
	case "Page.loadEventFired":
		p.loaded <- struct{}{}
	case "Runtime.consoleAPICalled":
		p.complain(fmt.Sprintf("console.%s: %v", e.Type, e.Args))
	case "Log.entryAdded":
		p.complain(e.Entry.Level + ": " + e.Entry.Text)
	case "Runtime.exceptionThrown":
		p.complain(e.ExceptionDetails.Text + " " + e.ExceptionDetails.Exception.Description)
	}
}

func (p *Page) complain(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.complaints = append(p.complaints, what)
}

// Complaints are all that was said on the console so far, by the page or about it.
func (p *Page) Complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.complaints)
}

// Eval evaluates an expression, or waits for the promise that it gives, and reads its value into result.
func (p *Page) Eval(expression string, result any) {
	p.t.Helper()
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	p.call(p.session, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &got)
	if e := got.ExceptionDetails; e != nil {
		p.t.Fatalf("%s: %s %s", expression, e.Text, e.Exception.Description)
	}
	if err := json.Unmarshal(got.Result.Value, result); err != nil {
		p.t.Fatalf("%s: %v in %s", expression, err, got.Result.Value)
	}
}

// Key presses and releases a key, such as Tab or Enter.
func (p *Page) Key(key string, code int) {
	p.t.Helper()
	for _, kind := range []string{"rawKeyDown", "keyUp"} {
		p.call(p.session, "Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}, nil)
	}
}

// Picture of what the window shows, or of the whole page, as PNG.
func (p *Page) Picture(whole bool) []byte {
	p.t.Helper()
	var got struct{ Data string }
	p.call(p.session, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": whole}, &got)
	png, err := base64.StdEncoding.DecodeString(strings.TrimSpace(got.Data))
	if err != nil {
		p.t.Fatal(err)
	}
	return png
}

// FirstPaint is how long after the beginning of the navigation something was painted.
func (p *Page) FirstPaint() time.Duration {
	p.t.Helper()
	var ms float64
	p.Eval(`new Promise(done => {
  const seen = () => performance.getEntriesByName("first-contentful-paint")[0];
  if (seen()) return done(seen().startTime);
  new PerformanceObserver(() => seen() && done(seen().startTime)).observe({type: "paint", buffered: true});
})`, &ms)
	return time.Duration(ms * float64(time.Millisecond))
}
