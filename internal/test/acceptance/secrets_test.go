package acceptance

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// Markers stand in values and passwords, and must stand nowhere else.
const (
	valueMarker  = "marker-of-a-value"
	secretMarker = "marker-of-a-secret"
	// awsMarker is in the name of AWS's key, which is told as little as the key.
	awsMarker = "AKIAMARKEROFAKEYSNAME"
)

// lyingDynamoDB refuses each request with all that authenticates it, also encoded, in the code or the message that its path names. The
// signatures that it was given are remembered.
type lyingDynamoDB struct {
	mu         sync.Mutex
	signatures []string
}

func (d *lyingDynamoDB) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	authorization, token := r.Header.Get("Authorization"), r.Header.Get("X-Amz-Security-Token")
	_, signature, _ := strings.Cut(authorization, "Signature=")
	d.mu.Lock()
	d.signatures = append(d.signatures, signature)
	d.mu.Unlock()
	said := map[string]string{
		"/header": authorization, "/token": token, "/key": awsSecret, "/encoded": base64.StdEncoding.EncodeToString([]byte(awsSecret)),
		"/name": awsMarker, "/signature": signature, "/cut": strings.Repeat("x", 185) + token,
	}[r.URL.Path]
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amzn-Requestid", token)
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": "ValidationException", "message": "refused: " + said})
}

// awsSecret is AWS's key, awsToken that of a session.
const (
	awsSecret = secretMarker + "/of+aws"
	awsToken  = secretMarker + "-of-a-session=="
)

// TestNothingTellsValuesOrSecrets plants markers in what is cached and in what authenticates, lets much fail, and looks
// through metrics, log at debug level, pages, reports and errors.
func TestNothingTellsValuesOrSecrets(t *testing.T) {
	good := servers.Redis(t, "--requirepass", secretMarker)
	other := servers.Redis(t)
	pipe := other.Pipeline()
	for i := range 3 {
		pipe.Set(t.Context(), fmt.Sprintf("user:%d", i), fmt.Sprintf(`{"version":"%s","n":%d}`, valueMarker, i), 0)
	}
	pipe.RPush(t.Context(), "user:3", valueMarker)
	pipe.RPush(t.Context(), "queue", `{"key":"user:1","data":"`+valueMarker+`"}`) // a plain word would be the key itself
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := servers.Memcached(t)
	setMemcached(t, m.Addr, map[string]string{"user:0": valueMarker, "user:1": valueMarker + "2"})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Secret", secretMarker)
		if strings.HasPrefix(r.URL.Path, "/broken") {
			w.WriteHeader(http.StatusInternalServerError)
		}
		if strings.HasPrefix(r.URL.Path, "/moved") {
			http.Redirect(w, r, "http://"+secretMarker+".example/", http.StatusFound)
			return
		}
		_, _ = fmt.Fprint(w, valueMarker+" \x1b "+secretMarker)
	}))
	t.Cleanup(web.Close)
	host := strings.TrimPrefix(web.URL, "http://")
	password := writeFile(t, "password", secretMarker)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": awsMarker, "AWS_SECRET_ACCESS_KEY": awsSecret, "AWS_SESSION_TOKEN": awsToken, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	aws := &lyingDynamoDB{}
	tables := httptest.NewServer(aws)
	t.Cleanup(tables.Close)
	cfg := fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: right, redis: {address: "redis://%[1]s", password_file: %[5]s}}
      - {name: open, redis: {address: "redis://%[2]s"}}
      - {name: refused, redis: {address: "redis://user:%[6]s@127.0.0.1:1"}}
      - {name: mc, memcached: {address: "%[3]s"}}
      - {name: web, http: {url: "http://%[4]s/{key}", username: user, password_file: %[5]s, stats: {url: "http://%[4]s/stats", hits: "$.hits"}}}
      - {name: broken, http: {url: "http://%[4]s/broken/{key}", headers: {Authorization: "Bearer %[6]s"}}}
      - {name: moved, http: {url: "http://%[4]s/moved/{key}", bearer_token_file: %[5]s}}
      - {name: nobody, http: {url: "http://127.0.0.1:1/{key}", username: user, password: %[6]s}}
  - name: l3
    ttl: 1h
    nodes:
      - {name: wrong, redis: {address: "redis://user:%[6]s@%[1]s"}}
      - {name: mc-auth, memcached: {address: "%[3]s", username: user, password: %[6]s}}
queues:
  - {name: list, redis: {node: open, list: queue}}
  - {name: typed, redis: {node: open, stream: queue}}
  - {name: wrong, redis: {node: wrong, list: queue}}
  - {name: web, http: {url: "http://%[4]s/queue", depth: "$.depth", username: user, password: %[6]s}}
  - {name: kafka, kafka: {brokers: ["%[2]s"], topics: [inv], groups: [g], sasl: {mechanism: PLAIN, username: user, password: %[6]s}}}
  - {name: scram, kafka: {brokers: ["127.0.0.1:1"], topics: [inv], groups: [g], sasl: {mechanism: SCRAM-SHA-256, username: user, password_file: %[5]s}}}
canaries:
  - class: user
    keys: ["user:0", "user:1", "user:2", "user:3"]
    pattern: "user:*"
    layers: [l2, l3]
    version: {json: "$.version"}
    origin: {http: {url: "http://%[4]s/api/{key}", username: user, password_file: %[5]s}, select: "$.x"}
  - {class: packed, keys: ["user:0"], layers: [{name: l2, decode: [gzip]}]}
versions:
  - {app: web, nodes: {app-1: "http://%[4]s/version", app-2: "http://127.0.0.1:1/version"}, username: user, password: %[6]s}
`, good.Addr, other.Addr, m.Addr, host, password, secretMarker)
	cfg += attemptsOf("header", tables.URL+"/header")
	lies := []string{"token", "key", "encoded", "name", "signature", "cut"}
	for _, lie := range lies {
		cfg += strings.TrimPrefix(attemptsOf(lie, tables.URL+"/"+lie), "history:\n")
	}
	path := writeFile(t, "cacheinv.yml", cfg)
	p := run(t, "--config.file", path, "--log.level", "debug", "--web.enable-lifecycle")
	var seen strings.Builder
	for range 3 {
		seen.WriteString(p.get("/metrics"))
		servers.Eventually(t, "another sampling", func() bool {
			status, _, err := fetch(p.url + "/")
			return err == nil && status == http.StatusOK
		})
	}
	for _, path := range []string{"/", "/status", "/api/v1/status"} {
		seen.WriteString(p.get(path))
	}
	for _, args := range [][]string{
		{"check", "--config.file", path, "--log.level", "debug"},
		{"check", "--config.file", path, "-o", "json"},
		{"diagnose", "--config.file", path, "--log.level", "debug"},
		{"diagnose", "--config.file", path, "-o", "json"},
		{"check-config", "--config.file", path},
	} {
		_, output := once(t, args...)
		seen.WriteString(output)
	}
	// The same file with a fault at each secret.
	for _, broken := range []string{
		strings.Replace(cfg, "redis://user:", "rediss//user:", 1), strings.Replace(cfg, "redis://user:", "ftp://user:", 1),
		strings.Replace(cfg, "mechanism: PLAIN", "mechanism: PLANE", 1), strings.ReplaceAll(cfg, "username: user, password: ", "user: x, pasword: "),
		strings.Replace(cfg, `"redis://user:`, `"redis://user:%zz`, 1), strings.Replace(cfg, "url: \"http://", "url: \"http://user:"+secretMarker+"@", 3),
		strings.Replace(cfg, "password: "+secretMarker, "password: ["+secretMarker+"]", 1),
	} {
		code, output := once(t, "check-config", "--config.file", writeFile(t, "broken.yml", broken))
		if code != 64 {
			t.Errorf("a broken file gave code %d: %s", code, output)
		}
		seen.WriteString(output)
	}
	seen.WriteString(p.out.String())
	page := parse(t, p.get("/metrics"))
	page.want(1, "node_up", "node", "right")
	page.want(0, "node_up", "node", "wrong")
	if n := page.number("history_up"); n != len(lies)+1 || page.sum("history_up") != 0 || strings.Count(p.out.String(), "the query does not fit table attempts") == 0 {
		t.Errorf("%d histories, of which %v are up", n, page.sum("history_up"))
	}
	markers := []string{valueMarker, secretMarker, awsMarker, "bWFya2VyLW9m"}
	tables.Close()
	if len(aws.signatures) == 0 || slices.Contains(aws.signatures, "") {
		t.Errorf("requests were not signed: %q", aws.signatures)
	}
	for _, marker := range append(markers, aws.signatures...) {
		if at := strings.Index(seen.String(), marker); at >= 0 {
			text := seen.String()
			t.Errorf("%s is told: …%s…", marker, text[max(0, at-300):min(len(text), at+100)])
		}
	}
	// What was looked for is there when it is asked for.
	if _, output := once(t, "check", "--config.file", path, "--show-values"); !strings.Contains(output, valueMarker) {
		t.Errorf("--show-values shows none:\n%s", output)
	}
	if err := os.Remove(password); err != nil {
		t.Fatal(err)
	}
}
