package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// scalar is a value as it would stand in a file.
func scalar(text string) value {
	return value{reader: newReader("c.yml"), node: &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Line: 1}, line: 1, path: "field"}
}

func TestReadDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "-0s": 0, "5s": 5 * time.Second, "1m30s": 90 * time.Second, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond,
		"1d": 24 * time.Hour, "1w2d": 9 * 24 * time.Hour, "10y": longest, "90m": 90 * time.Minute, "30µs": 30 * time.Microsecond,
	} {
		v := scalar(text)
		if got := v.duration(time.Nanosecond); got != want || len(v.faults) > 0 {
			t.Errorf("%q is %v, want %v; %v", text, got, want, v.faults)
		}
	}
	for text, want := range map[string]string{
		"": "is no duration", "5": "is no duration", "s": "is no duration", "5 s": "is no duration", "NaN": "is no duration",
		"Inf": "is no duration", "1d1.5h": "is no duration", "--5s": "is negative", "-5s": "is negative", "-1d": "is negative", "-300y": "is negative",
		"11y": "is longer", "300y": "is longer", "99999999999y": "is longer", "100000h": "is longer", "99999999999999999999h": "is no duration",
	} {
		v := scalar(text)
		if got := v.duration(time.Nanosecond); got != time.Nanosecond || len(v.faults) != 1 || !strings.Contains(v.faults[0].Message, want) {
			t.Errorf("%q is %v, %v; want %q", text, got, v.faults, want)
		}
	}
}

func TestReadWhole(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "100": 100, "20000": 20000} {
		v := scalar(text)
		if got := v.whole(7, 20000); got != want || len(v.faults) > 0 {
			t.Errorf("%q is %d, want %d; %v", text, got, want, v.faults)
		}
	}
	for _, text := range []string{"", "0", "-1", "+1", "1.0", "1e3", "0x10", "010", "1_000", "1,000", "NaN", ".inf", "many", "20001", "9223372036854775808", "-9223372036854775809", " 1"} {
		v := scalar(text)
		if got := v.whole(7, 20000); got != 7 || len(v.faults) != 1 {
			t.Errorf("%q is %d; %v", text, got, v.faults)
		}
	}
	missing := value{reader: newReader("c.yml")}
	if got := missing.whole(7, 20000); got != 7 || len(missing.faults) > 0 {
		t.Errorf("a field that is not there is %d; %v", got, missing.faults)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"address", "replication", "username", "password", "password_file", "tls", "max_staleness", "ttl"}
	for name, want := range map[string]string{
		"adress": "address", "passwort": "password", "passwordFile": "password_file", "maxStaleness": "max_staleness", "TTL": "ttl", "tsl": "tls",
		"tttl": "ttl", "user": "", "dns": "", "cluster": "", "url": "", "": "",
	} {
		if got := nearest(name, known); got != want {
			t.Errorf("%q is near %q, want %q", name, got, want)
		}
	}
}

func TestQuotedHidesLogins(t *testing.T) {
	for text, want := range map[string]string{
		"user:12345:profile":       `"user:12345:profile"`,
		"redis://cache-1:6379/0":   `"redis://cache-1:6379/0"`,
		"redis://u:hunter2@h:1":    `"redis://<secret>@h:1"`,
		"u:hun@ter2@h:1":           `"<secret>@h:1"`,
		"redis://hunter2@h:6379":   `"<secret>@h:6379"`,
		"a\nb":                     `"a\nb"`,
		"${NAME}":                  `"${NAME}" (with the environment's values)`,
		strings.Repeat("x", 1000):  `"` + strings.Repeat("x", 80) + `…"`,
		"rediss://:hun\nter2@h:1/": `"rediss://<secret>@h:1/"`,
	} {
		if got := scalar(text).quoted(); got != want {
			t.Errorf("%q is shown as %s, want %s", text, got, want)
		}
	}
}

func TestFaults(t *testing.T) {
	faults := Faults{{File: "c.yml", Line: 3, Field: "layers[0].ttl", Message: "one; write"}, {File: "c.yml", Line: 4, Message: "two; write"}}
	if got := faults.Error(); got != "c.yml:3: layers[0].ttl: one; write\nc.yml:4: two; write" {
		t.Error(got)
	}
}

// Aliases can make a short file stand for a very long one; none takes long to refuse, or to read.
func TestAliasesAreBounded(t *testing.T) {
	const times = 60
	list := func(of string) string { return "[" + strings.TrimSuffix(strings.Repeat(of+", ", times), ", ") + "]" }
	text := "layers: [{name: l2, ttl: 1h, nodes: [{name: a, redis: {address: \"a:1\"}}]}]\ncanaries:\n" +
		"  - &c\n    class: user\n    keys: &k " + list("x") + "\n    layers: &l " + list("&e {name: l2, decode: [gzip]}") + "\n" +
		strings.Repeat("  - *c\n", times)
	begin := time.Now()
	_, err := Parse("c.yml", []byte(text))
	if err == nil || time.Since(begin) > 20*time.Second {
		t.Errorf("it took %v: %v", time.Since(begin), err)
	}
}

// Faults come in the order of the lines, all of one run.
func TestFaultsComeTogether(t *testing.T) {
	const text = `versions:
  - {app: web, nodes: {a: nowhere}}
canaries:
  - {class: user, keys: [], layers: [l9]}
queues:
  - {name: q}
layers:
  - {name: l2, ttl: 0, nodes: []}
`
	_, err := Parse("c.yml", []byte(text))
	var at []string
	for line := range strings.Lines(fmt.Sprint(err)) {
		parts := strings.SplitN(line, ": ", 3)
		at = append(at, parts[0]+" "+parts[1])
	}
	want := []string{
		"c.yml:2 versions[0].nodes.a", "c.yml:4 canaries[0].keys", "c.yml:4 canaries[0].layers[0]", "c.yml:6 queues[0]",
		"c.yml:8 layers[0].ttl", "c.yml:8 layers[0].nodes",
	}
	if d := cmp.Diff(want, at); d != "" {
		t.Error(d)
	}
}
