package incident

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWilson(t *testing.T) {
	for _, tt := range []struct {
		stale, compared int
		low, high       float64
	}{
		{0, 10, 0, 0.2775}, {10, 10, 0.7225, 1}, {1, 10, 0.0179, 0.4042}, {50, 100, 0.4038, 0.5962}, {1, 1, 0.2065, 1},
	} {
		share, low, high, known := wilson(tt.stale, tt.compared)
		if !known || share != float64(tt.stale)/float64(tt.compared) || math.Abs(low-tt.low) > 1e-4 || math.Abs(high-tt.high) > 1e-4 {
			t.Errorf("%d of %d: %v (%v to %v), want %v to %v", tt.stale, tt.compared, share, low, high, tt.low, tt.high)
		}
	}
	if _, _, _, known := wilson(0, 0); known {
		t.Error("a share of nothing is known")
	}
}

func node(layer, name string, copies map[verdict.State]int) consistency.ClassNode {
	n := consistency.ClassNode{Layer: layer, Node: name}
	for s, c := range copies {
		n.Copies[s] = c
	}
	return n
}

func report(t *testing.T, r *consistency.Result) *Report {
	t.Helper()
	cfg := &config.Config{Canaries: []config.Class{{Name: "user", Keys: []string{"a", "b"}}}}
	got := newReport(cfg, r, []byte("key"))
	return got
}

func TestReportJSON(t *testing.T) {
	result := &consistency.Result{Classes: []consistency.ClassResult{{
		Class: "user", SampledKeys: 3,
		Nodes: []consistency.ClassNode{
			node("l2", "redis-1", map[verdict.State]int{verdict.Fresh: 3, verdict.Stale: 1, verdict.Missing: 1}),
			node("l3", "mc-1", map[verdict.State]int{verdict.Error: 5}),
		},
		Reports: []consistency.KeyReport{
			{Key: "a", Reference: verdict.ByMajority, Copies: []consistency.CopyReport{
				{Layer: "l2", Node: "redis-1", State: verdict.Stale, Present: true, Digest: content.Digest{1}, TTL: 90 * time.Second, HasTTL: true, Value: []byte("old")},
				{Layer: "l3", Node: "mc-1", State: verdict.Error, Err: errors.New("refused")},
			}},
			{Key: "b", Reference: verdict.ByNone, Copies: []consistency.CopyReport{{Layer: "l3", Node: "mc-1", State: verdict.Error}}},
		},
	}}}
	var b bytes.Buffer
	r := report(t, result)
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	class := got.(map[string]any)["classes"].([]any)[0].(map[string]any)
	digest := class["differing"].([]any)[0].(map[string]any)["copies"].([]any)[0].(map[string]any)["digest"].(string)
	if len(digest) != 32 || strings.HasPrefix(digest, "01") {
		t.Errorf("digest %q", digest)
	}
	states := func(fresh, stale, missing, err float64) map[string]any {
		return map[string]any{"fresh": fresh, "stale": stale, "missing": missing, "error": err, "undecided": 0.0, "unverified": 0.0}
	}
	low, high := class["low"], class["high"]
	want := map[string]any{
		"class": "user", "keys": 5.0, "compared": 4.0, "stale": 1.0, "share": 0.25, "low": low, "high": high,
		"layers": []any{
			map[string]any{"layer": "l2", "nodes": []any{map[string]any{
				"node": "redis-1", "states": states(3, 1, 1, 0), "compared": 4.0, "stale": 1.0, "share": 0.25, "low": low, "high": high,
			}}},
			map[string]any{"layer": "l3", "nodes": []any{map[string]any{
				"node": "mc-1", "states": states(0, 0, 0, 5), "compared": 0.0, "stale": 0.0, "share": nil, "low": nil, "high": nil,
			}}},
		},
		"differing": []any{map[string]any{"key": "a", "reference": "majority", "copies": []any{
			map[string]any{
				"layer": "l2", "node": "redis-1", "state": "stale", "digest": digest, "version": nil, "ttl_seconds": 90.0,
				"no_expiry": false, "error": nil, "value": "old",
			},
			map[string]any{
				"layer": "l3", "node": "mc-1", "state": "error", "digest": nil, "version": nil, "ttl_seconds": nil,
				"no_expiry": nil, "error": "refused",
			},
		}}},
		"unreadable": []any{
			map[string]any{"layer": "l3", "node": "mc-1", "error": "refused", "copies": 1.0, "key": "a"},
			map[string]any{"layer": "l3", "node": "mc-1", "error": "not read in time", "copies": 1.0, "key": "b"},
		},
	}
	if d := cmp.Diff(want, class); d != "" {
		t.Error(d)
	}
	b.Reset()
	if err := r.Table(&b); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"user: 5 keys read, 4 copies compared, 0 undecided, 1 stale, 25.0%", "mc-1: 1 not read, such as a: refused", "redis-1", "majority", "90s", "old"} {
		if !strings.Contains(b.String(), text) {
			t.Errorf("no %q in\n%s", text, b.String())
		}
	}
}

func TestExitCode(t *testing.T) {
	type copies = map[verdict.State]int
	for name, tt := range map[string]struct {
		copies copies
		want   int
	}{
		"fresh":               {copies{verdict.Fresh: 2, verdict.Missing: 1, verdict.Unverified: 1}, 0},
		"stale":               {copies{verdict.Stale: 1, verdict.Error: 1}, 1},
		"undecided":           {copies{verdict.Undecided: 1}, 1},
		"error":               {copies{verdict.Fresh: 2, verdict.Error: 1}, 2},
		"nothing compared":    {copies{verdict.Unverified: 2}, 2},
		"nothing but missing": {copies{verdict.Missing: 2}, 2},
	} {
		r := report(t, &consistency.Result{Classes: []consistency.ClassResult{{Class: "user", Nodes: []consistency.ClassNode{node("l2", "n", tt.copies)}}}})
		if got := r.ExitCode(); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
	if got := report(t, &consistency.Result{}).ExitCode(); got != 2 {
		t.Errorf("nothing: %d", got)
	}
}

func TestChoose(t *testing.T) {
	cfg := &config.Config{
		Layers: []config.Layer{{Name: "l2", MaxStaleness: time.Second}, {Name: "l3"}},
		Queues: []config.Queue{{Name: "q"}},
		Canaries: []config.Class{
			{Name: "user", Keys: []string{"user:1:profile", "user:2:profile"}, Pattern: "user:*:profile", Sample: 100},
			{Name: "price", Keys: []string{"price:1"}},
		},
	}
	names := func(opt CheckOptions) []string {
		t.Helper()
		got, err := choose(cfg, opt)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, c := range got.Canaries {
			out = append(out, c.Name+" "+c.Pattern+" "+strings.Join(c.Keys, ","))
		}
		return out
	}
	for _, tt := range []struct {
		opt  CheckOptions
		want []string
	}{
		{CheckOptions{}, []string{"user user:*:profile user:1:profile,user:2:profile", "price  price:1"}},
		{CheckOptions{Class: "price"}, []string{"price  price:1"}},
		{CheckOptions{Pattern: "user:1*:profile"}, []string{"user user:1*:profile user:1:profile"}},
		{CheckOptions{Pattern: "price:*"}, []string{"price price:* price:1"}},
		{CheckOptions{Pattern: "cart:*"}, []string{"cart:* cart:* "}},
	} {
		if d := cmp.Diff(tt.want, names(tt.opt)); d != "" {
			t.Errorf("%+v: %s", tt.opt, d)
		}
	}
	got, err := choose(cfg, CheckOptions{Pattern: "cart:*", Limit: 7})
	if err != nil || got.Canaries[0].Sample != 7 || len(got.Canaries[0].Layers) != 2 || got.Canaries[0].Layers[0].MaxStaleness != time.Second {
		t.Errorf("%+v, %v", got, err)
	}
	for _, opt := range []CheckOptions{{Class: "none"}, {Class: "none", Pattern: "x"}} {
		if _, err := choose(cfg, opt); !errors.Is(err, ErrUsage) {
			t.Errorf("%+v: %v", opt, err)
		}
	}
}

// growing finds two more keys of the pattern in each step, up to most.
type growing struct {
	steps, samplings, most int
	items                  float64
}

func (g *growing) Search(context.Context) consistency.Listing {
	g.steps++
	return consistency.Listing{Keys: min(2*g.steps, g.most), Largest: g.items}
}

func (g *growing) Sample(context.Context) *consistency.Result {
	g.samplings++
	return &consistency.Result{}
}

func TestReadLooksThroughTheKeyspace(t *testing.T) {
	cfg := &config.Config{Canaries: []config.Class{{Name: "user", Pattern: "*", Sample: 6}}}
	opt := CheckOptions{Sampler: consistency.Options{ScanCount: 10}}
	for name, tt := range map[string]struct {
		s     *growing
		steps int
	}{
		"until there are enough":    {&growing{most: 100, items: 1000}, 3},
		"until all were looked for": {&growing{most: 2, items: 45}, 5},
	} {
		if _, err := read(t.Context(), cfg, tt.s, opt); err != nil || tt.s.steps != tt.steps || tt.s.samplings != 1 {
			t.Errorf("%s: %d steps, want %d, and %d samplings (%v)", name, tt.s.steps, tt.steps, tt.s.samplings, err)
		}
	}
	once := &growing{}
	if _, err := read(t.Context(), &config.Config{Canaries: []config.Class{{Name: "user"}}}, once, opt); err != nil || once.steps != 0 || once.samplings != 1 {
		t.Errorf("keys alone took %d steps, %d samplings (%v)", once.steps, once.samplings, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := read(ended, cfg, &growing{}, opt); err == nil {
		t.Error("an interrupted check reported")
	}
}

// A refused listing, or a view that could not be read, is told, and is not well; keys that are no UTF-8 stay distinct.
func TestReportUnlearned(t *testing.T) {
	refused := probes.Refusal(errors.New("BUSY"))
	fresh := []consistency.ClassResult{{Class: "user", Nodes: []consistency.ClassNode{node("l2", "redis-1", map[verdict.State]int{verdict.Fresh: 3})}}}
	for name, r := range map[string]*consistency.Result{
		"SCAN": {Classes: fresh, Nodes: []consistency.NodeResult{{Identity: probes.Identity{Layer: "l2", Name: "redis-1"}, Up: true, Survey: probes.Survey{ScanErr: refused}}}},
		"all":  {Classes: fresh, Nodes: []consistency.NodeResult{{Identity: probes.Identity{Layer: "l2", Name: "redis-1"}, Err: refused}}},
		"view": {Classes: fresh, Groups: []probes.NodeGroup{{Layer: "l2", Name: "redis-1", Nodes: []string{"x"}, Err: refused}}},
	} {
		got := report(t, r)
		var table bytes.Buffer
		if err := got.Table(&table); err != nil {
			t.Fatal(err)
		}
		if got.ExitCode() != 2 || len(got.Unlearned) != 1 || !strings.Contains(table.String(), "Not learned: l2 redis-1") || !strings.Contains(table.String(), "BUSY") {
			t.Errorf("%s: code %d, %v:\n%s", name, got.ExitCode(), got.Unlearned, &table)
		}
	}
	var table bytes.Buffer
	alone := node("l2", "redis-1", map[verdict.State]int{verdict.Unverified: 1})
	if err := report(t, &consistency.Result{Classes: []consistency.ClassResult{{
		Class: "user", Nodes: []consistency.ClassNode{alone}, Reports: []consistency.KeyReport{{Key: "user:1"}},
	}}}).Table(&table); err != nil || !strings.Contains(table.String(), "Nothing was compared: of no key two copies") {
		t.Errorf("one copy alone (%v):\n%s", err, &table)
	}
	if got := report(t, &consistency.Result{Classes: fresh}); got.ExitCode() != 0 || got.Unlearned == nil {
		t.Errorf("all is well: code %d, %v", got.ExitCode(), got.Unlearned)
	}
	var keys []consistency.KeyReport
	for _, key := range []string{"user:\xff", "user:\xfe", "user:é"} {
		keys = append(keys, consistency.KeyReport{Key: key, Copies: []consistency.CopyReport{{Layer: "l2", Node: "redis-1", State: verdict.Stale}}})
	}
	var b bytes.Buffer
	if err := report(t, &consistency.Result{Classes: []consistency.ClassResult{{Class: "user", Reports: keys}}}).JSON(&b); err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for i, want := range []Differing{{Key: `user:\xff`, KeyBase64: []byte("user:\xff")}, {Key: `user:\xfe`, KeyBase64: []byte("user:\xfe")}, {Key: "user:é"}} {
		if d := got.Classes[0].Differing[i]; d.Key != want.Key || !bytes.Equal(d.KeyBase64, want.KeyBase64) {
			t.Errorf("%q, %q", d.Key, d.KeyBase64)
		}
	}
}

// Each field of the JSON is described.
func TestReportIsDescribed(t *testing.T) {
	page, err := os.ReadFile("../../docs/verdict.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "## The report of `check`")
	if !found {
		t.Fatal("docs/verdict.md has no such section")
	}
	fields := jsonFields(reflect.TypeFor[Report]())
	if len(fields) < 20 {
		t.Fatalf("only %v", fields)
	}
	for _, name := range fields {
		if !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, "`"+name+"[]`") && !strings.Contains(text, "."+name+"[]`") {
			t.Errorf("docs/verdict.md does not describe %s", name)
		}
	}
}

// jsonFields of a type, and of those that it holds.
func jsonFields(r reflect.Type) (out []string) {
	switch r.Kind() {
	case reflect.Slice, reflect.Pointer:
		return jsonFields(r.Elem())
	case reflect.Struct:
		for i := range r.NumField() {
			f := r.Field(i)
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				out = append(out, name)
			}
			out = append(out, jsonFields(f.Type)...)
		}
	}
	return out
}
