package incident

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/events"
	"github.com/cacheinv/cacheinv_exporter/internal/turn"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/redis"
)

// reports are given one after the other, the last one again and again.
type reports struct {
	all []*diagnosis.Report
	at  []time.Time
}

func (r *reports) Report(context.Context, time.Duration) *diagnosis.Report {
	r.at = append(r.at, time.Now())
	return r.all[min(len(r.at), len(r.all))-1]
}

func (r *reports) ReportFor(*http.Request) *diagnosis.Report {
	return r.Report(context.Background(), 0)
}

func num(v float64) probes.Count { return probes.Count{Value: v, Known: true} }

// estateReport of nodes and classes, the first node down and the second stale.
func estateReport(nodes, classes int) *diagnosis.Report {
	e := diagnosis.Evidence{At: time.Now(), Result: &consistency.Result{}}
	for i := range nodes {
		n := consistency.NodeResult{Identity: probes.Identity{Layer: "l2", Name: fmt.Sprintf("redis-%d", i), Kind: "redis", Traits: redis.Backend.NodeTraits}, Up: i > 0}
		n.Survey.Items, n.Survey.Role = num(float64(1000*i)), "primary"
		if i == 0 {
			n.Err = errors.New("dial tcp: <refused>")
		}
		e.Result.Nodes = append(e.Result.Nodes, n)
	}
	for i := range classes {
		c := consistency.ClassResult{Class: fmt.Sprintf("class_%d", i)}
		for k := range nodes {
			n := node("l2", fmt.Sprintf("redis-%d", k), map[verdict.State]int{verdict.Fresh: 90})
			switch n.Read = k > 0; k {
			case 0:
				n.Copies = [verdict.NumStates]int{verdict.Error: 100}
			case 1:
				n.Copies[verdict.Stale], n.Overdue, n.OldestStale = 10, 5, 90*time.Second
			}
			c.Nodes = append(c.Nodes, n)
		}
		e.Result.Classes = append(e.Result.Classes, c)
	}
	list, kafka := probes.QueueTraits{Positions: true, LengthOnly: true, Messages: true}, probes.QueueTraits{Brokers: true, Positions: true, Messages: true}
	e.Queues = []diagnosis.Queue{
		{Name: "unknown", Kind: "redis_list", Traits: list},
		{
			Name: "list", Kind: "redis_list", Traits: list, Up: true, Depth: num(15000), EnqueuedRate: num(1000), ProcessedRate: num(4), Capacity: 20000,
			Sample: &probes.MessageSample{Messages: 10, HasKeys: true, DistinctKeys: 2, TopKey: "user:<1>", TopKeyMessages: 9},
		},
	}
	e.Queues = append(e.Queues, diagnosis.Queue{Name: "topic", Kind: "kafka", Traits: kafka, Up: true, Depth: num(3), BrokersDown: 2})
	if nodes > 2 {
		e.Replicas = []diagnosis.Replica{{Layer: "l2", Node: "redis-1", LinkUp: true}, {Layer: "l2", Node: "redis-2", LagSeconds: num(0.2)}}
	}
	return &diagnosis.Report{Evidence: e, Diagnosis: diagnosis.Diagnose(e)}
}

func TestStatusJSON(t *testing.T) {
	w := httptest.NewRecorder()
	StatusJSON(&reports{all: []*diagnosis.Report{estateReport(3, 1)}}, turn.NewLine(1)).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	var got struct {
		Diagnosis struct {
			Verdict string `json:"verdict"`
			Steps   []any  `json:"steps"`
		} `json:"diagnosis"`
		Queues   []map[string]any `json:"queues"`
		Nodes    []map[string]any `json:"nodes"`
		Canaries []struct {
			Class  string `json:"class"`
			Layers []struct {
				Nodes []map[string]any `json:"nodes"`
			} `json:"layers"`
		} `json:"canaries"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"diagnosis":      got.Diagnosis.Verdict == "unknown" && len(got.Diagnosis.Steps) == 7,
		"top key":        got.Queues[0]["sample"].(map[string]any)["top_key"] == "user:<1>",
		"never drains":   got.Queues[0]["drain_seconds"] == nil && got.Queues[0]["never_drains"] == true,
		"unknown depth":  got.Queues[2]["depth"] == nil && got.Queues[2]["up"] == false && got.Queues[2]["sample"] == nil && got.Queues[2]["never_drains"] == nil,
		"brokers":        got.Queues[0]["brokers_down"] == nil && got.Queues[1]["brokers_down"] == 2.0,
		"replicas":       got.Nodes[0]["replication_link_up"] == nil && got.Nodes[1]["replication_link_up"] == true && got.Nodes[2]["replication_link_up"] == false,
		"node down":      got.Nodes[0]["up"] == false && got.Nodes[0]["items"] == nil && got.Nodes[0]["role"] == nil && got.Nodes[0]["error"] == "dial tcp: <refused>",
		"node up":        got.Nodes[1]["up"] == true && got.Nodes[1]["items"] == 1000.0 && got.Nodes[1]["uptime_seconds"] == nil && got.Nodes[1]["error"] == nil,
		"not read":       got.Canaries[0].Layers[0].Nodes[0]["overdue"] == nil && got.Canaries[0].Layers[0].Nodes[0]["oldest_stale_seconds"] == nil,
		"read and stale": got.Canaries[0].Layers[0].Nodes[1]["overdue"] == 5.0 && got.Canaries[0].Layers[0].Nodes[1]["oldest_stale_seconds"] == 90.0,
	} {
		if !ok {
			t.Errorf("%s is not as it should be in\n%s", name, w.Body)
		}
	}
}

// withEvents adds event checks to a report: of the first class two copies were bad, of the second none.
func withEvents(r *diagnosis.Report) *diagnosis.Report {
	at := time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC)
	r.Evidence.Events = []diagnosis.Events{
		{Class: "class_0", Within: time.Minute, Bad: []events.BadLook{
			{Key: "user:<1>", Layer: "l2", Node: "redis-1", Window: "1m", Result: events.Survived, Event: at, VersionSeen: "7", VersionWanted: "8"},
			{Key: "user:2:a-rather-long-key-of-a-profile", Layer: "l2", Node: "redis-2", Window: "5m", Result: events.Waiting, Event: at.Add(time.Second)},
		}},
		{Class: "class_1", Within: time.Minute},
	}
	return r
}

// TestStatusEvents: the bad looks are told, the newest first, and nothing where no class has event checks.
func TestStatusEvents(t *testing.T) {
	get := func(r *diagnosis.Report, query string) (got struct {
		Events []map[string]any `json:"events"`
	}, page string,
	) {
		w := httptest.NewRecorder()
		StatusJSON(&reports{all: []*diagnosis.Report{r}}, turn.NewLine(1)).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/"+query, nil))
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		w = httptest.NewRecorder()
		StatusPage(&reports{all: []*diagnosis.Report{r}}, turn.NewLine(1)).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/status"+query, nil))
		return got, w.Body.String()
	}
	got, page := get(withEvents(estateReport(3, 2)), "")
	want := []map[string]any{
		{
			"class": "class_0", "key": "user:2:a-rather-long-key-of-a-profile", "node": "redis-2", "window": "5m", "result": "waiting",
			"event_time": "2026-01-01T03:00:01Z", "version_seen": nil, "version_wanted": nil,
		},
		{
			"class": "class_0", "key": "user:<1>", "node": "redis-1", "window": "1m", "result": "survived",
			"event_time": "2026-01-01T03:00:00Z", "version_seen": "7", "version_wanted": "8",
		},
	}
	if d := cmp.Diff(want, got.Events); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	if !strings.Contains(page, "Invalidations without effect") || !strings.Contains(page, "user:&lt;1&gt;") {
		t.Error("the page does not show them")
	}
	if got, page = get(withEvents(estateReport(3, 2)), "?class=class_1"); got.Events == nil || len(got.Events) > 0 || !strings.Contains(page, "None of those") {
		t.Errorf("of the other class: %v", got.Events)
	}
	if got, page = get(estateReport(3, 2), ""); got.Events != nil || strings.Contains(page, "Invalidations without effect") {
		t.Errorf("without event checks: %v", got.Events)
	}
}

func TestStatusUnknown(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, NewStatus(nil, Digests{})); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"verdict": "unknown"`, `"queues": null`, `"nodes": null`, `"canaries": null`, `"scores": null`, `"causes": []`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is not in\n%s", want, &b)
		}
	}
}

func TestStatusPage(t *testing.T) {
	w := httptest.NewRecorder()
	StatusPage(&reports{all: []*diagnosis.Report{estateReport(12, 10)}}, turn.NewLine(1)).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	page := w.Body.String()
	for _, want := range []string{
		"redis-11", "class_9", "dial tcp: &lt;refused&gt;", "user:&lt;1&gt;", "15,000", ">never<", "90 s", ">2 brokers down<",
		`<span class="ok">link up</span>`, `<span class="bad">link down</span>, 0.2 s behind`, "<title>unknown ·", `content="10"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	for _, never := range []string{"<script src", " style=", " onclick", "http://", "https://", "<refused>"} {
		if strings.Contains(page, never) {
			t.Errorf("%q is on the page", never)
		}
	}
	if len(page) > 128<<10 {
		t.Errorf("%d bytes for 12 nodes and 10 classes", len(page))
	}
	if csp := w.Header().Get("Content-Security-Policy"); w.Code != http.StatusOK || !strings.HasPrefix(csp, "default-src 'none'") {
		t.Errorf("status %d, policy %q", w.Code, csp)
	}
	w = httptest.NewRecorder()
	StatusPage(&reports{all: []*diagnosis.Report{nil}}, turn.NewLine(1)).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	if !strings.Contains(w.Body.String(), "nothing could be sampled") {
		t.Errorf("a page of nothing:\n%s", w.Body)
	}
}

// TestDiagnoseCommand: two samplings a second apart, of which the second is told; the exit code says what it is.
func TestDiagnoseCommand(t *testing.T) {
	reporting := func(v string) *diagnosis.Report {
		return &diagnosis.Report{Diagnosis: diagnosis.Diagnosis{
			Verdict: v, Causes: []diagnosis.Score{{Cause: "queue", Score: 0.9}}, Next: "true",
			Steps: []diagnosis.Step{{Step: "A", Title: "Stale data", Evidence: []string{"evil \x1b[2J"}}},
		}}
	}
	for v, code := range map[string]int{"none": 0, "network": 1, "logic": 1, "unknown": 2} {
		synctest.Test(t, func(t *testing.T) {
			r := &reports{all: []*diagnosis.Report{reporting("queue"), reporting("queue"), reporting(v)}}
			var b bytes.Buffer
			got, err := RunDiagnose(t.Context(), r, "text", &b)
			if err != nil || got != code || len(r.at) != 3 || r.at[2].Sub(r.at[1]) != time.Second {
				t.Errorf("%s: code %d, %v, sampled at %v", v, got, err, r.at)
			}
			if text := b.String(); !strings.HasPrefix(text, "Verdict: "+v+" (") || !strings.Contains(text, "queue    0.90") ||
				strings.Contains(text, "\x1b") || !strings.HasSuffix(text, "Next:\n  true\n") {
				t.Errorf("it says\n%q", text)
			}
			b.Reset()
			if _, err := RunDiagnose(t.Context(), r, "json", &b); err != nil || !strings.HasPrefix(b.String(), "{\n  \"verdict\": \""+v+"\"") {
				t.Errorf("%v:\n%s", err, &b)
			}
		})
	}
	// Copies are stale, and nothing explains it: that is not well.
	stale := reporting("none")
	stale.Evidence.Result = &consistency.Result{Classes: []consistency.ClassResult{{Class: "user", Nodes: []consistency.ClassNode{{Node: "n", Read: true}}}}}
	stale.Evidence.Result.Classes[0].Nodes[0].Copies[verdict.Stale] = 3
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		code, err := RunDiagnose(t.Context(), &reports{all: []*diagnosis.Report{stale}}, "text", &b)
		if err != nil || code != 2 || !strings.Contains(b.String(), "3 copies are stale") {
			t.Errorf("code %d, %v:\n%s", code, err, &b)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := RunDiagnose(ctx, &reports{all: []*diagnosis.Report{nil}}, "text", &bytes.Buffer{}); err == nil {
		t.Error("an interrupted diagnosis was told")
	}
}

// What servers tell is cut as labels are, however long it is.
func TestStatusOfLongTexts(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	r := estateReport(3, 1)
	e := &r.Evidence
	for i := range e.Result.Nodes {
		n := &e.Result.Nodes[i]
		n.Err, n.Survey.Role, n.Survey.Version, n.Survey.EvictionPolicy = errors.New(long), long, long, long
	}
	e.Result.Groups = []probes.NodeGroup{{Name: "g", Err: errors.New(long)}}
	e.Queues[0].Groups = []diagnosis.Group{{Name: long, State: long}}
	e.Queues[1].Sample.TopKey = long
	e.Events = []diagnosis.Events{{Bad: []events.BadLook{{VersionSeen: long, VersionWanted: long}}}}
	var b bytes.Buffer
	if err := WriteJSON(&b, NewStatus(r, Digests{})); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 32<<10 || !strings.Contains(b.String(), probes.Shown(long)) {
		t.Errorf("%d bytes: %.2000s", b.Len(), b.String())
	}
}
