package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cacheinv.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The configuration's nodes are never there: port 1 refuses.
const unreachable = `
layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: redis-1, redis: {address: "redis://127.0.0.1:1/0"}}
      - {name: redis-2, redis: {address: "redis://127.0.0.1:1/1"}}
canaries:
  - class: user
    keys: ["user:1"]
    layers: [l2]
`

func TestExitCodes(t *testing.T) {
	out := t.TempDir()
	good, bad := write(t, unreachable), write(t, "layers:\n  - name: l2\n    tttl: 1h\n")
	for name, tt := range map[string]struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		"unknown flag":            {[]string{"--nothing"}, 64, "", "--help"},
		"unknown command":         {[]string{"nothing"}, 64, "", "--help"},
		"unknown output":          {[]string{"check", "-o", "xml"}, 64, "", "--help"},
		"valid":                   {[]string{"check-config", "--config.file", good}, 0, "is valid", ""},
		"invalid":                 {[]string{"check-config", "--config.file", bad}, 64, "", bad + ":3: layers[0].tttl: "},
		"no file":                 {[]string{"check-config", "--config.file", good + ".no"}, 64, "", good + ".no"},
		"check without a file":    {[]string{"check", "--config.file", good + ".no"}, 64, "", good + ".no"},
		"no path":                 {[]string{"--web.telemetry-path=metrics"}, 64, "", "--web.telemetry-path"},
		"no number":               {[]string{"--canary.scan-count=0"}, 64, "", "--canary.scan-count"},
		"serve with a bad file":   {[]string{"--config.file", bad}, 64, "", bad + ":3: "},
		"no such class":           {[]string{"check", "--config.file", good, "--class", "none"}, 64, "", `no canary class "none"`},
		"no key file":             {[]string{"check", "--config.file", good, "--digest.key-file", good + ".no"}, 64, "", "--digest.key-file"},
		"recover without queues":  {[]string{"recover", "--config.file", good}, 64, "", "has no queues"},
		"no rate":                 {[]string{"recover", "--config.file", good, "--rate=fast"}, 64, "", "--rate"},
		"no strategy":             {[]string{"recover", "--config.file", good, "--strategy=gentle"}, 64, "", "--help"},
		"nothing to recover on":   {[]string{"recover", "--config.file", good, "--strategy=aggressive"}, 1, "Plan", ""},
		"nothing could be read":   {[]string{"check", "--config.file", good, "-o", "json"}, 2, `"error": 1`, ""},
		"diagnose, nothing known": {[]string{"diagnose", "--config.file", good, "-o", "json"}, 2, `"verdict": "unknown"`, ""},
		"diagnose as text":        {[]string{"diagnose", "--config.file", good}, 2, "Verdict: unknown", ""},
		"diagnose without a file": {[]string{"diagnose", "--config.file", good + ".no"}, 64, "", good + ".no"},
		"diagnose as xml":         {[]string{"diagnose", "-o", "xml"}, 64, "", "--help"},
		"metrics at /status":      {[]string{"--web.telemetry-path=/status"}, 64, "", "--web.telemetry-path"},
		"bundle":                  {[]string{"bundle", "--out", out + "/new"}, 0, out + "/new/alerts/queue.yml", ""},
		"bundle to nowhere":       {[]string{"bundle"}, 64, "", "--out"},
		"bundle to a file":        {[]string{"bundle", "--out", good}, 1, "", good},
		"bundle with a bad URL":   {[]string{"bundle", "--out", out, "--grafana.url", "grafana"}, 64, "", "--grafana.url"},
		"bundle with settings":    {[]string{"bundle", "--out", out + "/set", "--set=stale_share=2%", "--set=job=x"}, 0, out + "/set/settings.yml", ""},
		"bundle with a bad one":   {[]string{"bundle", "--out", out, "--set=stale_shar=2%"}, 64, "", "did you mean stale_share?"},
		"settings of the bundle":  {[]string{"bundle", "--list-settings", "--set=stale_share=2%"}, 0, "0.02 (default 0.01)", ""},
		"a table of nothing too":  {[]string{"check", "--config.file", good}, 2, "redis-2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), tt.args, &stdout, &stderr)
			if code != tt.code || !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("code %d, want %d\nstdout: %s\nstderr: %s", code, tt.code, &stdout, &stderr)
			}
		})
	}
}
