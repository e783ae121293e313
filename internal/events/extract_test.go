package events

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

func templates(texts ...string) []form.Template {
	var out []form.Template
	for _, s := range texts {
		t, err := form.ParseTemplate(s)
		if err != nil {
			panic(err)
		}
		out = append(out, t)
	}
	return out
}

// debezium is an envelope of a change of a row, with what was before and what is after it.
func debezium(before, after string) string {
	return `{"schema":{},"payload":{"before":` + before + `,"after":` + after + `,"source":{"lsn":24023128,"ts_ms":1709294399000},"op":"u","ts_ms":1709294399500}}`
}

func TestExtraction(t *testing.T) {
	now := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	written := now.Add(-3 * time.Second)
	message := &probes.Message{Key: "$.key", Version: "$.version", TimestampMS: "$.ts"}
	row := Spec{
		Message: &probes.Message{TimestampMS: "$.payload.source.ts_ms"}, Keys: templates("user:{id}:profile", "user:{id}:feed"),
		Vars: map[string][]string{"id": {"$.payload.after.id", "$.payload.before.id"}}, Version: "$.payload.source.lsn", VersionKind: "integer",
	}
	known := func() []string {
		return []string{"user:1:profile", "user:2:profile", "user:1:feed", strings.Repeat("x", longestKey+1)}
	}
	for _, c := range []struct {
		name       string
		spec       Spec
		key, value string
		keys       []string
		version    string
		at         time.Time
		unreadable bool
	}{
		{"the message's key", Spec{Message: message}, "", `{"key":"a","version":7,"ts":1709294398000}`, []string{"a"}, "7", now.Add(-2 * time.Second), false},
		{"a list of keys", Spec{Message: message}, "", `{"key":["b","a","b"]}`, []string{"a", "b"}, "", written, false},
		{"the key where it stands by default", Spec{}, "", `{"key":"a"}`, []string{"a"}, "", written, false},
		{"the record's key", Spec{}, "r", `{"key":"a"}`, []string{"r"}, "", written, false},
		{"the record's key does not go before a path", Spec{Message: message}, "r", `{"key":"a"}`, []string{"a"}, "", written, false},
		{"the record's key of a tombstone", Spec{}, "r", "", []string{"r"}, "", written, false},
		{"a word", Spec{Message: &probes.Message{Key: "$"}}, "", "user:1:profile", []string{"user:1:profile"}, "", written, false},
		{"no word", Spec{Message: &probes.Message{Key: "$"}}, "", "two words", nil, "", written, true},
		{"no JSON", Spec{Message: message}, "", "key", nil, "", written, true},
		{"no key", Spec{Message: message}, "", `{"version":7}`, nil, "7", written, true},
		{"an empty key", Spec{Message: message}, "", `{"key":""}`, nil, "", written, true},
		{"a key that is too long", Spec{Message: message}, "", `{"key":"` + strings.Repeat("a", longestKey+1) + `"}`, nil, "", written, true},
		{"a template of the key", Spec{Message: message, Keys: templates("v3:{key}")}, "", `{"key":"a"}`, []string{"v3:a"}, "", written, false},
		{"several keys", row, "", debezium(`{"id":1}`, `{"id":2}`), []string{"user:2:feed", "user:2:profile"}, "24023128", now.Add(-time.Second), false},
		{"a deletion", row, "", debezium(`{"id":1}`, `null`), []string{"user:1:feed", "user:1:profile"}, "24023128", now.Add(-time.Second), false},
		{"no row at all", row, "", debezium(`null`, `null`), nil, "24023128", now.Add(-time.Second), true},
		{
			"a list of values",
			Spec{Keys: templates("user:{id}"), Vars: map[string][]string{"id": {"$.ids"}}},
			"", `{"ids":[1,2]}`,
			[]string{"user:1", "user:2"},
			"", written, false,
		},
		{
			"two lists of values",
			Spec{Keys: templates("{a}{b}"), Vars: map[string][]string{"a": {"$.a"}, "b": {"$.b"}}},
			"", `{"a":[1,2],"b":["x","y"]}`,
			[]string{"1x", "1y", "2x", "2y"},
			"", written, false,
		},
		{
			"one name without a value",
			Spec{Keys: templates("{a}{b}", "{a}"), Vars: map[string][]string{"a": {"$.a"}, "b": {"$.b"}}},
			"", `{"a":1}`,
			[]string{"1"},
			"", written, false,
		},
		{"keys of another class", Spec{Message: message, Takes: func(k string) bool { return k != "a" }}, "", `{"key":["a","b"]}`, []string{"b"}, "", written, false},
		{"none of this class", Spec{Message: message, Takes: func(string) bool { return false }}, "", `{"key":"a"}`, nil, "", written, false},
		{"a pattern", Spec{Patterns: []string{"$.pattern"}, Known: known}, "", `{"pattern":"user:1:*"}`, []string{"user:1:feed", "user:1:profile"}, "", written, false},
		{"a list of patterns", Spec{Patterns: []string{"$.p"}, Known: known}, "", `{"p":["*:feed","user:2:*"]}`, []string{"user:1:feed", "user:2:profile"}, "", written, false},
		{"a pattern that fits nothing", Spec{Patterns: []string{"$.p"}, Known: known}, "", `{"p":"x"}`, nil, "", written, false},
		{"no pattern", Spec{Patterns: []string{"$.p"}, Known: known}, "", `{}`, nil, "", written, true},
		{"a version that is none", Spec{Message: message, VersionKind: "integer"}, "", `{"key":"a","version":"x"}`, []string{"a"}, "", written, false},
		{"a version of the class's kind", Spec{Message: message, VersionKind: "dotted"}, "", `{"key":"a","version":"1.2"}`, []string{"a"}, "1.2", written, false},
		{
			"a version that is yet to come",
			Spec{Message: message, VersionKind: "timestamp", MaxClockSkew: 5 * time.Second},
			"",
			`{"key":"a","version":1709294406}`,
			[]string{"a"},
			"", written, false,
		},
		{
			"a version within the skew",
			Spec{Message: message, VersionKind: "timestamp", MaxClockSkew: 5 * time.Second},
			"",
			`{"key":"a","version":1709294405}`,
			[]string{"a"},
			"2024-03-01T12:00:05Z", written, false,
		},
		{"a clock ahead of ours", Spec{Message: message}, "", `{"key":"a","ts":1709294460000}`, []string{"a"}, "", now, false},
		{"a time that is none", Spec{Message: message}, "", `{"key":"a","ts":"never"}`, []string{"a"}, "", written, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, err := newExtractor(&c.spec)
			if err != nil {
				t.Fatal(err)
			}
			e := probes.Event{Written: written}
			if c.key != "" {
				e.Key = []byte(c.key)
			}
			if c.value != "" {
				e.Value = []byte(c.value)
			}
			f := x.read(e, now)
			if diff := cmp.Diff(c.keys, f.keys); diff != "" && len(c.keys)+len(f.keys) > 0 {
				t.Error(diff)
			}
			if f.version.String() != c.version || !f.at.Equal(c.at) || f.readable == c.unreadable {
				t.Errorf("version %q at %s, readable %t", f.version, f.at, f.readable)
			}
		})
	}
}

func TestExtractionIsBounded(t *testing.T) {
	many := `["` + strings.Join(slices.Repeat([]string{"a"}, 10), `","`) + `"]`
	spec := Spec{Keys: templates("{a}{b}{c}{d}{e}"), Vars: map[string][]string{}}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		spec.Vars[name] = []string{"$"}
	}
	x, err := newExtractor(&spec)
	if err != nil {
		t.Fatal(err)
	}
	if f := x.read(probes.Event{Value: []byte(many)}, time.Now()); len(f.keys) != 1 {
		t.Errorf("%d keys of one that is named 100,000 times", len(f.keys))
	}
	var keys []string
	for i := range 1000 {
		keys = append(keys, strings.Repeat("k", i+1))
	}
	x, err = newExtractor(&Spec{Patterns: []string{"$"}, Known: func() []string { return keys }})
	if err != nil {
		t.Fatal(err)
	}
	if f := x.read(probes.Event{Value: []byte(`"*"`)}, time.Now()); len(f.keys) != mostKeys {
		t.Errorf("%d keys of one event", len(f.keys))
	}
}

// Of many keys those of other classes take no room, and values of which no key can be made end.
func TestExtractionOfOddLists(t *testing.T) {
	var others, long []string
	for i := range 200 {
		others = append(others, fmt.Sprintf("%q", fmt.Sprint("other:", i)))
		long = append(long, fmt.Sprintf("%q", strings.Repeat("x", longestKey)))
	}
	list := func(of []string) string { return "[" + strings.Join(of, ",") + "]" }
	ours := func(k string) bool { return strings.HasPrefix(k, "user:") }
	x, err := newExtractor(&Spec{Message: &probes.Message{Key: "$.keys"}, Takes: ours})
	if err != nil {
		t.Fatal(err)
	}
	f := x.read(probes.Event{Value: []byte(`{"keys":` + list(append(others, `"user:1"`)) + `}`)}, time.Now())
	if !slices.Equal(f.keys, []string{"user:1"}) || !f.readable {
		t.Errorf("behind those of others: %q", f.keys)
	}
	empty := list(slices.Repeat([]string{`""`}, 100_000))
	for _, value := range []string{`{"a":` + empty + `,"b":` + empty + `}`, `{"a":` + list(others) + `,"b":` + empty + `}`, `{"a":` + list(long) + `,"b":` + list(long) + `}`} {
		x, err := newExtractor(&Spec{Keys: templates("{a}{b}"), Vars: map[string][]string{"a": {"$.a"}, "b": {"$.b"}}})
		if err != nil {
			t.Fatal(err)
		}
		if f := x.read(probes.Event{Value: []byte(value)}, time.Now()); len(f.keys) > 0 || f.readable {
			t.Errorf("%d keys", len(f.keys))
		}
	}
	tried := 0
	many := slices.Repeat([]string{"v"}, 1000)
	fill(templates("{a}{b}{c}")[0], map[string][]string{"a": many, "b": many, "c": many}, func(string) bool { tried++; return true })
	if tried > mostTried {
		t.Errorf("%d keys were made of one message", tried)
	}
}

func TestExtractionRefuses(t *testing.T) {
	for want, s := range map[string]Spec{
		"message.key":          {Message: &probes.Message{Key: "key"}},
		"message.timestamp_ms": {Message: &probes.Message{TimestampMS: "ts"}},
		"version":              {Version: "v"},
		"patterns":             {Patterns: []string{"p"}},
		"vars.id":              {Vars: map[string][]string{"id": {"id"}}},
		"names {id}":           {Keys: templates("user:{id}")},
	} {
		if _, err := newExtractor(&s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func FuzzExtraction(f *testing.F) {
	for _, s := range []string{debezium(`{"id":1}`, `{"id":2}`), debezium(`null`, `null`), `{"key":["a","b"],"version":"1.2","pattern":"a*"}`, "word", "", `"*"`} {
		f.Add([]byte("key"), []byte(s), int64(1_772_366_399_000))
	}
	specs := []Spec{
		{},
		{Message: &probes.Message{Key: "$", Version: "$.version", TimestampMS: "$.ts"}, VersionKind: "dotted"},
		{
			Keys: templates("user:{id}:{key}", "{id}"), Vars: map[string][]string{"id": {"$.payload.after.id", "$.payload.before.id", "$.key"}},
			Patterns: []string{"$.pattern", "$"}, Known: func() []string { return []string{"a", "ab"} }, Takes: func(k string) bool { return k != "ab" },
		},
	}
	var all []*extractor
	for i := range specs {
		x, err := newExtractor(&specs[i])
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, x)
	}
	f.Fuzz(func(t *testing.T, key, value []byte, written int64) {
		now := time.UnixMilli(1_772_366_400_000)
		for _, x := range all {
			got := x.read(probes.Event{Key: key, Value: value, Written: time.UnixMilli(written)}, now)
			if len(got.keys) > mostKeys || len(got.keys) > 0 && !got.readable || got.at.After(now) {
				t.Fatalf("%+v", got)
			}
			var p pending
			p.setText(got.keys, string(key))
			if back := slices.Collect(p.keys()); !slices.Equal(back, got.keys) {
				t.Fatalf("%q became %q", got.keys, back)
			}
			for i, k := range got.keys {
				if k == "" || len(k) > longestKey || i > 0 && got.keys[i-1] >= k || x.spec.Takes != nil && !x.spec.Takes(k) {
					t.Fatalf("keys %q", got.keys)
				}
			}
		}
	})
}
