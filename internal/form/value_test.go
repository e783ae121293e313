package form

import (
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

// scalar is a value as it would stand in a file.
func scalar(text string) Value {
	return Value{doc: Read("c.yml", nil), node: &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Line: 1}, line: 1, path: "field"}
}

func TestReadDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "-0s": 0, "5s": 5 * time.Second, "1m30s": 90 * time.Second, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond,
		"1d": 24 * time.Hour, "1w2d": 9 * 24 * time.Hour, "10y": longest, "90m": 90 * time.Minute, "30µs": 30 * time.Microsecond,
	} {
		v := scalar(text)
		if got := v.Duration(time.Nanosecond); got != want || len(v.doc.faults) > 0 {
			t.Errorf("%q is %v, want %v; %v", text, got, want, v.doc.faults)
		}
	}
	for text, want := range map[string]string{
		"": "is no duration", "5": "is no duration", "s": "is no duration", "5 s": "is no duration", "NaN": "is no duration",
		"Inf": "is no duration", "1d1.5h": "is no duration", "--5s": "is negative", "-5s": "is negative", "-1d": "is negative", "-300y": "is negative",
		"11y": "is longer", "300y": "is longer", "99999999999y": "is longer", "100000h": "is longer", "99999999999999999999h": "is no duration",
	} {
		v := scalar(text)
		if got := v.Duration(time.Nanosecond); got != time.Nanosecond || len(v.doc.faults) != 1 || !strings.Contains(v.doc.faults[0].Message, want) {
			t.Errorf("%q is %v, %v; want %q", text, got, v.doc.faults, want)
		}
	}
}

func TestReadWhole(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "100": 100, "20000": 20000} {
		v := scalar(text)
		if got := v.Whole(7, 20000); got != want || len(v.doc.faults) > 0 {
			t.Errorf("%q is %d, want %d; %v", text, got, want, v.doc.faults)
		}
	}
	for _, text := range []string{"", "0", "-1", "+1", "1.0", "1e3", "0x10", "010", "1_000", "1,000", "NaN", ".inf", "many", "20001", "9223372036854775808", "-9223372036854775809", " 1"} {
		v := scalar(text)
		if got := v.Whole(7, 20000); got != 7 || len(v.doc.faults) != 1 {
			t.Errorf("%q is %d; %v", text, got, v.doc.faults)
		}
	}
	missing := Value{doc: Read("c.yml", nil)}
	if got := missing.Whole(7, 20000); got != 7 || len(missing.doc.faults) > 0 {
		t.Errorf("a field that is not there is %d; %v", got, missing.doc.faults)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"address", "replication", "username", "password", "password_file", "tls", "max_staleness", "ttl"}
	for name, want := range map[string]string{
		"adress": "address", "passwort": "password", "passwordFile": "password_file", "maxStaleness": "max_staleness", "TTL": "ttl", "tsl": "tls",
		"tttl": "ttl", "user": "", "dns": "", "cluster": "", "url": "", "": "",
	} {
		if got := Nearest(name, known); got != want {
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
		if got := scalar(text).Quoted(); got != want {
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
