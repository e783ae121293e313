package acceptance

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/demo"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// diagnosed is what diagnose -o json promises.
type diagnosed struct {
	Verdict *string `json:"verdict"`
	Causes  []struct {
		Cause string   `json:"cause"`
		Score *float64 `json:"score"`
	} `json:"causes"`
	Steps []struct {
		Step     string   `json:"step"`
		Evidence []string `json:"evidence"`
	} `json:"steps"`
	Next *string `json:"next"`
}

// diagnose by the binary, as JSON; it holds the shape.
func diagnose(t *testing.T, cfg string) (code int, d diagnosed) {
	t.Helper()
	code, output := once(t, "diagnose", "-o", "json", "--log.level", "error", "--config.file", writeFile(t, "cacheinv.yml", cfg))
	if err := json.Unmarshal([]byte(output), &d); err != nil {
		t.Fatalf("code %d, %v in\n%s", code, err, output)
	}
	letters := ""
	for _, s := range d.Steps {
		letters += s.Step
		if s.Evidence == nil {
			t.Errorf("step %s has no list of evidence", s.Step)
		}
	}
	if d.Verdict == nil || d.Causes == nil || d.Next == nil || *d.Next == "" || letters != "ABCDEFG" {
		t.Fatalf("the shape is not what is promised:\n%s", output)
	}
	if n := len(d.Causes); (n > 0) != (code == 1) || n > 0 && (d.Causes[0].Cause != *d.Verdict || d.Causes[0].Score == nil) {
		t.Errorf("code %d, verdict %s, causes %v", code, *d.Verdict, d.Causes)
	}
	return code, d
}

// twoRedis with the same copy each; rest is added to the layer's nodes.
func twoRedis(t *testing.T, rest string) string {
	t.Helper()
	a, b := servers.Redis(t), servers.Redis(t)
	for _, r := range []*servers.RedisServer{a, b} {
		r.Must(t, "set", "user:1:profile", `{"version":1}`, "ex", 3600)
	}
	return "layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n" + redisNodes(a.Addr, b.Addr) + rest + `
queues:
  - {name: invalidation_queue, redis: {node: redis-1, list: invalidation_queue}}
canaries:
  - {class: user_profile, keys: ["user:1:profile"], layers: [l2], version: {json: "$.version"}}
`
}

// TestDiagnoseCodes: 0 none, 1 a cause, 2 unknown, 64 usage or configuration.
func TestDiagnoseCodes(t *testing.T) {
	t.Parallel()
	well := twoRedis(t, "")
	if code, d := diagnose(t, well); code != 0 || *d.Verdict != "none" || *d.Next != "cacheinv_exporter check" {
		t.Errorf("all is well: code %d, %s, next %s", code, *d.Verdict, *d.Next)
	}
	dead := "\n      - {name: gone, redis: {address: \"redis://127.0.0.1:1\"}}"
	code, d := diagnose(t, twoRedis(t, dead))
	if code != 1 || *d.Verdict != "network" || *d.Next != "timeout 5 redis-cli -h 127.0.0.1 -p 1 INFO replication" {
		t.Errorf("a node is down: code %d, %s, next %s", code, *d.Verdict, *d.Next)
	}
	if c := strings.Join(d.Steps[2].Evidence, "\n"); !strings.Contains(c, "2 of 3 nodes answer") || !strings.Contains(c, "l2 gone does not answer") {
		t.Errorf("step C says\n%s", c)
	}
	if code, d := diagnose(t, "layers:\n  - name: l2\n    ttl: 1h\n    nodes:"+dead); code != 2 || *d.Verdict != "unknown" || len(d.Causes) > 0 {
		t.Errorf("nothing answers: code %d, %s, %v", code, *d.Verdict, d.Causes)
	}
	path := writeFile(t, "cacheinv.yml", well)
	for _, args := range [][]string{
		{"diagnose", "--config.file", path, "-o", "table"},
		{"diagnose", "--config.file", path, "--class=user_profile"},
		{"diagnose", "--config.file", path + "x"},
		{"diagnose", "--config.file", writeFile(t, "bad.yml", "layers: []")},
	} {
		if code, output := once(t, args...); code != 64 || output == "" {
			t.Errorf("%v: code %d\n%s", args, code, output)
		}
	}
	code, text := once(t, "diagnose", "--log.level", "error", "--config.file", path)
	if code != 0 || !strings.HasPrefix(text, "Verdict: none (") || !strings.Contains(text, "\nG  Root cause\n") || !strings.HasSuffix(text, "\nNext:\n  cacheinv_exporter check\n") {
		t.Errorf("as text: code %d\n%s", code, text)
	}
}

// TestDiagnoseTheDemo: the command names each scenario's cause, by two samplings of its own.
func TestDiagnoseTheDemo(t *testing.T) {
	t.Parallel()
	for scenario, cause := range map[string]string{
		demo.Healthy: "none", demo.Partition: "network", demo.QueueBacklog: "queue", demo.VersionDrift: "version", demo.InvalidationLoop: "logic",
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			journal := &journal{}
			d, err := demo.Start(t.Context(), scenario, slog.New(slog.NewTextHandler(journal, nil)))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(d.Close)
			servers.Eventually(t, "the fault begins", func() bool {
				return scenario == demo.Healthy || strings.Contains(journal.String(), "fault=begins")
			})
			_, got := diagnose(t, string(d.Config()))
			if *got.Verdict != cause {
				t.Errorf("verdict %s, causes %v, want %s: %v", *got.Verdict, got.Causes, cause, got.Steps[6].Evidence)
			}
			if text := fmt.Sprint(got.Steps); scenario == demo.Partition && (!strings.Contains(text, "redis-3") || !strings.Contains(text, "memcached-2")) {
				t.Errorf("the cut-off nodes are not named in\n%s", text)
			}
		})
	}
}

// TestStatus: page and JSON are of the sampling that /metrics told, and hold no values.
func TestStatus(t *testing.T) {
	p := run(t, "--config.file", writeFile(t, "cacheinv.yml", estate(t)), "--scrape.min-interval=1h")
	metrics := p.scrape()
	text := p.get("/api/v1/status")
	page := p.get("/status")
	if again := p.get("/api/v1/status"); again != text {
		t.Errorf("two answers of one sampling differ:\n%s", cmp.Diff(text, again))
	}
	var got struct {
		Diagnosis diagnosed        `json:"diagnosis"`
		Queues    []map[string]any `json:"queues"`
		Nodes     []map[string]any `json:"nodes"`
		Canaries  []map[string]any `json:"canaries"`
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Queues) != 1 || len(got.Nodes) != 4 || len(got.Canaries) != 1 || len(got.Diagnosis.Steps) != 7 {
		t.Fatalf("it says\n%s", text)
	}
	for _, n := range got.Nodes {
		name := n["node"].(string)
		if up := metrics.one("node_up", "node", name) == 1; n["up"] != up || (n["items"] != nil) != up || (n["error"] == nil) != up {
			t.Errorf("node %s is %v", name, n)
		}
	}
	q := got.Queues[0]
	if q["depth"] != metrics.one("queue_depth", "queue", "invalidation_queue") || q["capacity"] != 20000.0 || q["drain_seconds"] != nil || q["brokers_down"] != nil {
		t.Errorf("the queue is %v", q)
	}
	if stale := got.Canaries[0]["stale"]; stale != metrics.sum("canary_copies", "state", "stale") {
		t.Errorf("%v copies are stale, by the metrics %v", stale, metrics.sum("canary_copies", "state", "stale"))
	}
	for _, want := range []string{"redis-1", "memcached-1", "invalidation_queue", "user_profile", "Root cause", "cacheinv_exporter check"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	// The queue's one message holds the same word as the copies. What it says is not configured, and nothing of it is told.
	if sample := q["sample"].(map[string]any); strings.Contains(text+page, "marker-value") || sample["messages"] != 1.0 || sample["top_key"] != nil {
		t.Errorf("a value or a message is told:\n%s\n%s", text, page)
	}
	if !strings.Contains(p.get("/"), "/status") {
		t.Error("the landing page does not link to the status")
	}
	for path, status := range map[string]int{"/status": http.StatusMethodNotAllowed, "/api/v1/status": http.StatusMethodNotAllowed} {
		r, err := http.Post(p.url+path, "text/plain", nil) //nolint:noctx // on loopback
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
		if r.StatusCode != status {
			t.Errorf("POST %s gives %d", path, r.StatusCode)
		}
	}
}
