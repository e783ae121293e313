package servers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// patient answers one request a connection, so that none outlives its test.
var patient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

func sendForm(method, to string, form url.Values) (*http.Response, error) {
	r, err := http.NewRequestWithContext(context.Background(), method, to, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return patient.Do(r)
}

func readyAt(address string) func() bool {
	return func() bool {
		r, err := sendForm(http.MethodGet, "http://"+address+"/-/ready", nil)
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	}
}

// writeAll puts files, by their name below the folder, in place.
func writeAll(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// PrometheusServer is a Prometheus.
type PrometheusServer struct {
	*Process
	// Dir has its files.
	Dir string
}

// Prometheus starts one with these files in a folder of its own, of which prometheus.yml is its configuration; args are flags.
func Prometheus(t testing.TB, files map[string]string, args ...string) *PrometheusServer {
	t.Helper()
	p := &PrometheusServer{Dir: t.TempDir()}
	writeAll(t, p.Dir, files)
	addr := FreeAddr(t)
	p.Process = start(t, addr, readyAt(addr), "prometheus", append([]string{
		"--config.file=" + filepath.Join(p.Dir, "prometheus.yml"), "--storage.tsdb.path=" + filepath.Join(p.Dir, "data"),
		"--web.listen-address=" + addr, "--log.level=warn",
	}, args...)...)
	return p
}

// Metrics of its own.
func (p *PrometheusServer) Metrics(t testing.TB) string {
	t.Helper()
	r, err := sendForm(http.MethodGet, "http://"+p.Addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Query now.
func (p *PrometheusServer) Query(t testing.TB, query string) model.Vector {
	t.Helper()
	var v model.Vector
	p.ask(t, "query", url.Values{"query": {query}}, &v)
	return v
}

// Samples as they were stored, of a range vector such as up[5m].
func (p *PrometheusServer) Samples(t testing.TB, query string) model.Matrix {
	t.Helper()
	var m model.Matrix
	p.ask(t, "query", url.Values{"query": {query}}, &m)
	return m
}

// Range of a query's results, one each step.
func (p *PrometheusServer) Range(t testing.TB, query string, from, to time.Time, step time.Duration) model.Matrix {
	t.Helper()
	var m model.Matrix
	at := func(x time.Time) []string {
		return []string{strconv.FormatFloat(float64(x.UnixMilli())/1000, 'f', 3, 64)}
	}
	p.ask(t, "query_range", url.Values{"query": {query}, "start": at(from), "end": at(to), "step": {fmt.Sprint(step.Seconds())}}, &m)
	return m
}

func (p *PrometheusServer) ask(t testing.TB, path string, form url.Values, into any) {
	t.Helper()
	r, err := sendForm(http.MethodPost, "http://"+p.Addr+"/api/v1/"+path, form)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Status, Error string
		Data          struct{ Result json.RawMessage }
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v %s", form.Get("query"), err, body)
	}
	if err := json.Unmarshal(answer.Data.Result, into); err != nil {
		t.Fatalf("%s: %v in %s", form.Get("query"), err, body)
	}
}
