// Package probetest has what the tests of all backends need: an Env and a Fleet for as long as a test runs, reads and surveys that
// fail the test where they fail, certificates, and checks of what was given.
package probetest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Env has the usual limits, and nothing kept.
func Env() *probes.Env {
	return &probes.Env{
		MaxValueBytes: 1 << 20, MaxBody: 4 << 20, ForgetAfter: 10 * time.Minute, Budget: probes.NewBudget(), Kept: probes.NewKept(),
		Log: slog.New(slog.DiscardHandler),
	}
}

// Node of the layer l2 with a source; least is its min_nodes.
func Node(name string, least int, source probes.NodeSource) probes.LayerNode {
	return probes.LayerNode{Identity: probes.Identity{Layer: "l2", Name: name}, Source: source, Least: least}
}

// OpenFleet for as long as the test runs.
func OpenFleet(t testing.TB, env *probes.Env, nodes ...probes.LayerNode) *probes.Fleet {
	t.Helper()
	f, err := probes.OpenFleet(nodes, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// OpenByDNS opens a node whose servers d names, for as long as the test runs. What leaves is remembered for an hour.
func OpenByDNS(t testing.TB, d *servers.DNS, n probes.LayerNode) (*probes.Fleet, *probes.Env) {
	t.Helper()
	env := Env()
	env.ForgetAfter, env.Resolver = time.Hour, d.Resolver()
	return OpenFleet(t, env, n), env
}

// Within gives a context that ends after d, or with the test.
func Within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// Survey gives what a node reports of itself, in time.
func Survey(t testing.TB, n probes.Node) probes.Survey {
	t.Helper()
	s, err := n.Survey(Within(t, 5*time.Second), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Read gives what n.Read gives of each key, with values copied; each key must be visited once.
func Read(t testing.TB, n probes.Node, keys ...probes.Key) []probes.Raw {
	t.Helper()
	out := make([]probes.Raw, len(keys))
	visited := make([]int, len(keys))
	err := n.Read(Within(t, 10*time.Second), keys, func(i int, r probes.Raw) {
		visited[i]++
		r.Value = append([]byte(nil), r.Value...)
		var copied []probes.Field
		for _, f := range r.Fields {
			copied = append(copied, probes.Field{Name: append([]byte(nil), f.Name...), Value: append([]byte(nil), f.Value...)})
		}
		r.Fields = copied
		out[i] = r
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, times := range visited {
		if times != 1 {
			t.Fatalf("key %d was visited %d times", i, times)
		}
	}
	return out
}

// Quiet is a log that nobody reads.
func Quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Others gives the hits and the misses that are not our own, as rules compute them.
func Others(s probes.Survey) [2]float64 {
	return [2]float64{s.Hits.Value - float64(s.OwnHits), s.Misses.Value - float64(s.OwnMisses)}
}

// WriteFile writes a file that is gone after the test, and gives its path.
func WriteFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	Rewrite(t, path, text)
	return path
}

// Rewrite gives a file another text.
func Rewrite(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Authority signs the certificates of a test.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// PEM is its own certificate.
	PEM string
}

// NewAuthority makes an authority.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{}
	a.PEM, _, a.cert, a.key = Certificate(t, nil, "authority")
	return a
}

// Certificate makes a certificate of the host name, signed by a, or by itself where a is nil.
func Certificate(t testing.TB, a *Authority, name string) (certPEM, keyPEM string, cert *x509.Certificate, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert = &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: a == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	parent, signer := cert, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyPEM = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	return certPEM, keyPEM, cert, key
}

// Replayed is a connection on which a server sends what it was given and hangs up.
type Replayed struct {
	net.Conn // nothing else is called
	bytes.Reader
}

// NewReplay is a connection on which the server sends said.
func NewReplay(said []byte) *Replayed {
	r := &Replayed{}
	r.Reset(said)
	return r
}

// Read gives what the server sends.
func (r *Replayed) Read(p []byte) (int, error) { return r.Reader.Read(p) }

// Write drops what is sent to the server.
func (*Replayed) Write(p []byte) (int, error) { return len(p), nil }

// Close does nothing.
func (*Replayed) Close() error { return nil }

// RemoteAddr gives none.
func (*Replayed) RemoteAddr() net.Addr { return nil }

// SetDeadline does nothing.
func (*Replayed) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (*Replayed) SetReadDeadline(time.Time) error { return nil }

// Visits counts visits, and checks what holds for whatever a server sends.
type Visits struct {
	t     *testing.T
	times []int
}

// NewVisits of n keys.
func NewVisits(t *testing.T, n int) *Visits { return &Visits{t: t, times: make([]int, n)} }

// Visit is for Read to call.
func (v *Visits) Visit(i int, r probes.Raw) {
	v.times[i]++
	if r.Err != nil && (r.Present || r.Value != nil || r.HasTTL || r.NoExpiry) || r.HasTTL && (r.NoExpiry || r.TTL < 0) || len(r.Value) > 64 {
		v.t.Errorf("%+v", r)
	}
}

// Check that each key was visited once, but for those left out; at most once where the replies ended in an error.
func (v *Visits) Check(err error, out ...int) {
	for _, i := range out {
		v.times[i]++
	}
	for i, n := range v.times {
		if n > 1 || n == 0 && err == nil {
			v.t.Errorf("key %d was visited %d times: %v", i, n, err)
		}
	}
}

// Answers are what one Fleet.Survey gave, by node.
type Answers map[string]struct {
	probes.Survey
	Err error
}

// Names of the nodes that were visited, in order.
func (a Answers) Names() []string {
	var out []string
	for n := range a {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

// SurveyFleet gives the answers of one survey of d at the most.
func SurveyFleet(t *testing.T, f *probes.Fleet, d time.Duration) Answers {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	out := Answers{}
	var mu sync.Mutex
	f.Survey(ctx, func(probes.Identity) *probes.Scan { return nil }, func(n probes.Node, s probes.Survey, err error) {
		mu.Lock()
		defer mu.Unlock()
		if _, twice := out[n.Identity().Name]; twice {
			t.Errorf("%s was visited twice", n.Identity().Name)
		}
		a := out[n.Identity().Name]
		a.Survey, a.Err = s, err
		out[n.Identity().Name] = a
	})
	return out
}

// WantNames checks which nodes were visited.
func WantNames(t *testing.T, a Answers, names ...string) {
	t.Helper()
	names = slices.Sorted(slices.Values(names))
	if !slices.Equal(a.Names(), names) {
		t.Fatalf("nodes %v, want %v", a.Names(), names)
	}
}

// FreePort of all of 127.0.0.0/8, as far as one address tells.
func FreePort(t testing.TB) string {
	t.Helper()
	return servers.Port(t, servers.FreeAddr(t))
}

// WantNodes checks which nodes a group knows, in order.
func WantNodes(t *testing.T, m probes.Members, want ...string) {
	t.Helper()
	if g, _ := m.Group(); !slices.Equal(g.Nodes, want) {
		t.Errorf("the nodes are %q, not %q", g.Nodes, want)
	}
}

// SampleHistory samples, without an error.
func SampleHistory(t testing.TB, h probes.History) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := h.Sample(ctx); err != nil {
		t.Fatal(err)
	}
}

// WantAttempts checks what a history has counted.
func WantAttempts(t testing.TB, h probes.History, total, failed float64) {
	t.Helper()
	if got, known := h.Attempts(); !known || got != (probes.Attempts{Total: total, Failed: failed}) {
		t.Errorf("%+v, known: %t; want %v attempts, %v failed", got, known, total, failed)
	}
}

// WantFault checks that a sampling is not complete, and that its error holds the parts.
func WantFault(t *testing.T, b probes.Backlog, err error, parts ...string) {
	t.Helper()
	if b.Complete {
		t.Error("the sampling calls itself complete")
	}
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in the error:\n%v", part, err)
		}
	}
}

// Matches gives names as a configuration has them; one in /slashes/ is a regular expression.
func Matches(names ...string) []form.NameMatch {
	var out []form.NameMatch
	for _, n := range names {
		if strings.HasPrefix(n, "/") {
			out = append(out, form.NameMatch{Regexp: regexp.MustCompile(strings.Trim(n, "/"))})
		} else {
			out = append(out, form.NameMatch{Exact: n})
		}
	}
	return out
}

// SampleIn gives one sampling's result, which must come soon after d.
func SampleIn(t *testing.T, q probes.Queue, d time.Duration) (probes.Backlog, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	began := time.Now()
	b, err := q.Sample(ctx)
	if took := time.Since(began); took > d+200*time.Millisecond {
		t.Errorf("a sampling with %v took %v", d, took)
	}
	return b, err
}

// GroupOf gives a consumer group of a backlog, which must be there.
func GroupOf(t *testing.T, b probes.Backlog, name string) probes.GroupBacklog {
	t.Helper()
	for _, g := range b.Groups {
		if g.Group == name {
			return g
		}
	}
	t.Fatalf("group %s is not in %+v", name, b.Groups)
	return probes.GroupBacklog{}
}

// WantDepth checks that the depth is known and as wanted.
func WantDepth(t *testing.T, b probes.Backlog, want float64) {
	t.Helper()
	if b.Depth != (probes.Count{Value: want, Known: true}) {
		t.Errorf("depth %+v, want %v", b.Depth, want)
	}
}

// Whole checks that nothing is held of a budget, or soon will be.
func Whole(t testing.TB, b *probes.Budget) {
	t.Helper()
	for end := time.Now().Add(time.Second); b.Held() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes of the budget are not given back", b.Held())
		}
	}
}

// Fill a budget but for free bytes, until release is called.
func Fill(t testing.TB, b *probes.Budget, free int64) (release func()) {
	t.Helper()
	var all []*probes.Hold
	for _, n := range []int64{probes.HeldAtOnce / 2, probes.HeldAtOnce/2 - free} {
		h, err := b.Hold(t.Context(), &probes.Holder{}, n, func() { t.Error("what has arrived was taken back") })
		if err != nil {
			t.Fatal(err)
		}
		h.Arrived()
		all = append(all, h)
	}
	return func() {
		for _, h := range all {
			h.Release()
		}
	}
}
