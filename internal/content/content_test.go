package content

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func compile(t testing.TB, s Spec) *Reader {
	t.Helper()
	r, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func read(t testing.TB, r *Reader, value string) Content {
	t.Helper()
	c, err := r.Value([]byte(value))
	if err != nil {
		t.Fatalf("%q: %v", value, err)
	}
	return c
}

func TestWhatCounts(t *testing.T) {
	whole := Spec{}
	for _, c := range []struct {
		name string
		spec Spec
		a, b string
		same bool
	}{
		{"members in any order", whole, `{"a":1,"b":[1,2]}`, "\n{ \"b\" : [1,2.0], \"a\" : 10e-1 }\n", true},
		{"array order counts", whole, `[1,2]`, `[2,1]`, false},
		{"null is not absence", whole, `{"a":null}`, `{}`, false},
		{"numbers exactly", whole, `[9007199254740993]`, `[9007199254740992]`, false},
		{"a number is no string", whole, `[1]`, `["1"]`, false},
		{"lone surrogates stay distinct", whole, `["\ud800"]`, `["\ud801"]`, false},
		{"a lone surrogate is no replacement character", whole, `["\ud800"]`, `["\ufffd"]`, false},
		{"a lone surrogate is not its bytes", whole, `["\ud800"]`, "[\"\xed\xa0\x80\"]", false},
		{"an escaped escape is no escape", whole, `["\\ud800"]`, `["\ud800"]`, false},
		{"bytes that are no UTF-8 stay distinct", whole, "[\"\xff\"]", "[\"\xfe\"]", false},
		{"broken JSON is compared raw", whole, `{"a":1`, `{"a": 1`, false},
		{"scalars are compared raw", whole, `1`, `1.0`, false},
		{"text is compared raw", whole, "a b", "a  b", false},
		{"an empty value is one", whole, "", "", true},
		{"too deep is compared raw", whole, strings.Repeat("[", 1001) + strings.Repeat("]", 1001), strings.Repeat("[",
			1001) + " " + strings.Repeat("]", 1001), false},

		{"selected", Spec{Select: "$.d"}, `{"d":{"a":1},"at":1}`, `{"at":2,"d":{"a":1.0}}`, true},
		{"what is selected is JSON, scalars too", Spec{Select: "$.d"}, `{"d":1}`, `{"d":1.0}`, true},
		{"a selected string's escapes are free", Spec{Select: "$.d"}, `{"d":"\u0041\/"}`, `{"d":"A/"}`, true},
		{"a selected string's text counts byte for byte", Spec{Select: "$.d"}, `{"d":"1"}`, `{"d":"1.0"}`, false},
		{"a selected string that holds JSON", Spec{Select: "$.d"}, `{"d":"{\"a\":1,\"b\":[]}"}`, `{"d":" { \"b\":[ ], \"a\":1.0}"}`, true},
		{"is what it holds", Spec{Select: "$.d"}, `{"d":"[1.0]"}`, `{"d":[1]}`, true},
		{"and a string in it is none", Spec{Select: "$.d"}, `{"d":"[\"1\"]"}`, `{"d":[1]}`, false},
		{"a selected string that begins like JSON", Spec{Select: "$.d"}, `{"d":"{a"}`, `{"d":"{ a"}`, false},
		{"lone surrogates in a selected string", Spec{Select: "$.d"}, `{"d":"\ud800"}`, `{"d":"\ud801"}`, false},
		{"a lone surrogate in it is no replacement character", Spec{Select: "$.d"}, `{"d":"\ud800"}`, `{"d":"\ufffd"}`, false},
		{"ignored in a selected string", Spec{Select: "$.d", Ignore: []string{"$.t"}}, `{"d":"{\"t\":1,\"v\":1}"}`, `{"d":{"v":1}}`, true},
		{"compared in a selected string", Spec{Select: "$.d", Compare: []string{"$.v"}}, `{"d":"{\"t\":1,\"v\":1}"}`, `{"d":{"v":1}}`, true},

		{
			"ignored",
			Spec{Ignore: []string{"$.t", "$.l[*].t", "$['x-y']"}},
			`{"t":1,"x-y":0,"l":[{"t":1,"v":1}]}`,
			`{"l":[{"v":1,"t":2}]}`, true,
		},
		{"not ignored", Spec{Ignore: []string{"$.t"}}, `{"l":{"t":1}}`, `{"l":{"t":2}}`, false},
		{"ignored indices name what was there", Spec{Ignore: []string{"$[0]", "$[1]"}}, `[1,2,3]`, `[7,8,3]`, true},
		{"ignored indices leave the others", Spec{Ignore: []string{"$[0]", "$[1]"}}, `[1,2,3]`, `[1,2,4]`, false},
		{"ignored from the end", Spec{Ignore: []string{"$[-1]"}}, `[1,2]`, `[1,3]`, true},
		{"a member by its bare name", Spec{Ignore: []string{"t"}}, `{"t":1}`, `{}`, true},
		{"ignored by its escaped name", Spec{Ignore: []string{"$.é"}}, `{"\u00e9":1}`, `{}`, true},
		{"the whole ignored", Spec{Ignore: []string{"$"}}, `{"a":1}`, `[2]`, true},
		{"ignore leaves text alone", Spec{Ignore: []string{"$.t", "$"}}, `a`, `b`, false},

		{
			"compared",
			Spec{Compare: []string{"$.a", "$.b.c"}},
			`{"a":1,"b":{"c":[2],"d":1},"e":1}`,
			`{"a":1e0,"b":{"c":[2]},"e":2}`, true,
		},
		{"compared differs", Spec{Compare: []string{"$.a", "$.b.c"}}, `{"a":1,"b":{"c":2}}`, `{"a":1,"b":{"c":3}}`, false},
		{"compared absent is not null", Spec{Compare: []string{"$.a", "$.b"}}, `{"a":null,"b":1}`, `{"b":1}`, false},
		{"compared absent is absent", Spec{Compare: []string{"$.a", "$.b"}}, `{"b":1,"c":1}`, `{"b":1,"c":2}`, true},
		{"compared values keep their paths", Spec{Compare: []string{"$.a", "$.b"}}, `{"a":1}`, `{"b":1}`, false},
		{
			"compared wildcard",
			Spec{Compare: []string{"$.l[*].p"}},
			`{"l":[{"p":1,"q":1},{"p":2}]}`,
			`{"l":[{"p":1},{"p":2,"q":5}]}`, true,
		},
		{"compared wildcard keeps places", Spec{Compare: []string{"$.l[*].p"}}, `{"l":[{"p":1},{}]}`, `{"l":[{},{"p":1}]}`, false},
		{"compared wildcard keeps names", Spec{Compare: []string{"$[*]"}}, `{"a":1,"b":2}`, `{"a":1,"c":2}`, false},
		{"compared wildcard tells arrays from objects", Spec{Compare: []string{"$[*]"}}, `[1]`, `{"0":1}`, false},
		{
			"compared but ignored",
			Spec{Compare: []string{"$.a"}, Ignore: []string{"$.a.t"}},
			`{"a":{"t":1,"v":1}}`,
			`{"a":{"t":2,"v":1}}`, true,
		},
		{
			"compared in what is selected",
			Spec{Select: "$.d", Compare: []string{"$.a"}},
			`{"d":{"a":1,"b":1},"a":1}`,
			`{"d":{"a":1,"b":2},"a":2}`, true,
		},

		{
			"when the copy was made does not count",
			Spec{CachedAt: &VersionSpec{JSON: "$.at", Kind: "timestamp"}},
			`{"at":1,"v":1}`, `{"at":2,"v":1}`, true,
		},
		{
			"nor where it can't be read",
			Spec{CachedAt: &VersionSpec{JSON: "$.at", Kind: "timestamp"}},
			`{"at":"x","v":1}`,
			`{"at":2,"v":1}`, true,
		},
		{"a version counts", Spec{Version: &VersionSpec{JSON: "$.v"}}, `{"v":1}`, `{"v":2}`, false},
		{"a time found by regexp in text", Spec{CachedAt: &VersionSpec{
			Regexp: regexp.MustCompile(`at=(\d+)`),
			Kind:   "timestamp",
		}}, `x at=1`, `x at=22`, true},
		{
			"and what stands around it",
			Spec{CachedAt: &VersionSpec{Regexp: regexp.MustCompile(`at=(\d+)`), Kind: "timestamp"}},
			`x at=1`, `y at=1`, false,
		},
		{"a time found by regexp in JSON", Spec{CachedAt: &VersionSpec{
			Regexp: regexp.MustCompile(`"at":(\d+)`),
			Kind:   "timestamp",
		}}, `{"at":1,"v":1}`, `{"v":1.0,"at":2}`, true},
		{
			"in a string of it",
			Spec{CachedAt: &VersionSpec{Regexp: regexp.MustCompile(`"at":"([^"]+)"`), Kind: "rfc3339"}},
			`{"at":"2024-01-01T00:00:00Z"}`, `{"at":"y"}`, true,
		},
		{"in a selected string", Spec{Select: "$.d", CachedAt: &VersionSpec{
			Regexp: regexp.MustCompile(`^(\d+);`),
			Kind:   "timestamp",
		}}, `{"d":"1;\u0041"}`, `{"d":"2;A"}`, true},
		{"in the JSON of a selected string", Spec{Select: "$.d", CachedAt: &VersionSpec{
			Regexp: regexp.MustCompile(`"at":(\d+)`),
			Kind:   "timestamp",
		}}, `{"d":"{\"at\":1,\"v\":1}"}`, `{"d":"{\"v\":1.0,\"at\":2}"}`, true},
		{"only in what is selected", Spec{Select: "$.d", CachedAt: &VersionSpec{
			Regexp: regexp.MustCompile(`"at":(\d+)`),
			Kind:   "timestamp",
		}}, `{"at":1,"d":[1]}`, `{"at":2,"d":[1.0]}`, true},
	} {
		r := compile(t, c.spec)
		a, b := read(t, r, c.a), read(t, r, c.b)
		if (a.Digest == b.Digest) != c.same {
			t.Errorf("%s: %s and %s: same %t", c.name, c.a, c.b, !c.same)
		}
		if again := read(t, r, c.a); again != a {
			t.Errorf("%s: %s gives %v, then %v", c.name, c.a, a, again)
		}
	}
}

func TestDigestsStay(t *testing.T) {
	// Fixed, since exporters of different releases run side by side.
	for in, want := range map[string]string{
		`hello`:               "2cf24dba5fb0a30e26e83b2ac5b9e29e",
		`{"b":1.0, "a":"\/"}`: "63533aeb5c80597884f1cab1f62e194d",
	} {
		if got := read(t, compile(t, Spec{}), in).Digest.String(); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestVersionsAndTimes(t *testing.T) {
	group := regexp.MustCompile(`v=(\d+)?`)
	for _, c := range []struct {
		name          string
		spec          Spec
		value         string
		version, made string
	}{
		{"a number", Spec{Version: &VersionSpec{JSON: "$.v"}}, `{"v":7.0}`, "7", ""},
		{"digits", Spec{Version: &VersionSpec{JSON: "$.v"}}, `{"v":"7"}`, "7", ""},
		{"a fraction is none", Spec{Version: &VersionSpec{JSON: "$.v"}}, `{"v":7.5}`, "", ""},
		{"true is none", Spec{Version: &VersionSpec{JSON: "$.v"}}, `{"v":true}`, "", ""},
		{"null is none", Spec{Version: &VersionSpec{JSON: "$.v"}}, `{"v":null}`, "", ""},
		{"nor in text", Spec{Version: &VersionSpec{JSON: "$.v"}}, `v=7`, "", ""},
		{"a scalar is its own", Spec{Version: &VersionSpec{JSON: "$"}}, `42`, "42", ""},
		{"in what is left first", Spec{Select: "$.d", Version: &VersionSpec{JSON: "$.v"}}, `{"v":1,"d":{"v":2}}`, "2", ""},
		{"then in the whole", Spec{Select: "$.d", Version: &VersionSpec{JSON: "$.v"}}, `{"v":1,"d":{}}`, "1", ""},
		{"in a selected string's JSON", Spec{Select: "$.d", Version: &VersionSpec{JSON: "$.v"}}, `{"v":1,"d":"{\"v\":2}"}`, "2", ""},
		{"in the whole around a selected string", Spec{Select: "$.d", Version: &VersionSpec{JSON: "$.v"}}, `{"v":1,"d":"{}"}`, "1", ""},
		{"a selected string itself", Spec{Select: "$.d", Version: &VersionSpec{JSON: "$"}}, `{"d":"3"}`, "3", ""},
		{
			"what is left decides, even unreadable",
			Spec{Select: "$.d", Version: &VersionSpec{JSON: "$.v"}},
			`{"v":1,"d":{"v":"x"}}`, "", "",
		},
		{"ignored, but there", Spec{Ignore: []string{"$.v"}, Version: &VersionSpec{JSON: "$.v"}}, `{"v":1}`, "1", ""},
		{"by regexp", Spec{Version: &VersionSpec{Regexp: group}}, `x v=12;`, "12", ""},
		{"by regexp, an empty group", Spec{Version: &VersionSpec{Regexp: group}}, `x v=;`, "", ""},
		{"by regexp, not there", Spec{Version: &VersionSpec{Regexp: group}}, `x`, "", ""},
		{"by regexp, left first", Spec{Select: "$.d", Version: &VersionSpec{Regexp: group}}, `{"a":"v=1","d":"v=2"}`, "2", ""},
		{"by regexp, then the whole", Spec{Select: "$.d", Version: &VersionSpec{Regexp: group}}, `{"a":"v=1","d":"x"}`, "1", ""},
		{"dotted", Spec{Version: &VersionSpec{JSON: "$.v", Kind: "dotted"}}, `{"v":"v1.10.2"}`, "1.10.2", ""},
		{
			"made",
			Spec{CachedAt: &VersionSpec{JSON: "$.at", Kind: "timestamp_ms"}},
			`{"at":1700000000250}`, "",
			"2023-11-14T22:13:20.25Z",
		},
		{
			"made, in the whole",
			Spec{Select: "$.d", CachedAt: &VersionSpec{JSON: "$.at", Kind: "rfc3339"}},
			`{"at":"2023-11-14T22:13:20Z","d":1}`, "", "2023-11-14T22:13:20Z",
		},
		{"made, unreadable", Spec{CachedAt: &VersionSpec{JSON: "$.at", Kind: "rfc3339"}}, `{"at":5}`, "", ""},
		{
			"made, by regexp",
			Spec{CachedAt: &VersionSpec{Regexp: regexp.MustCompile(`at (\S+)`), Kind: "timestamp"}},
			`at 1700000000 x`, "", "2023-11-14T22:13:20Z",
		},
		{
			"one place for both",
			Spec{Version: &VersionSpec{JSON: "$.at", Kind: "timestamp"}, CachedAt: &VersionSpec{
				JSON: "$.at",
				Kind: "timestamp",
			}},
			`{"at":1}`,
			"1970-01-01T00:00:01Z", "1970-01-01T00:00:01Z",
		},
	} {
		got := read(t, compile(t, c.spec), c.value)
		made := ""
		if !got.CachedAt.IsZero() {
			made = got.CachedAt.UTC().Format(time.RFC3339Nano)
		}
		if got.Version.String() != c.version || made != c.made {
			t.Errorf("%s: version %q, made %q", c.name, got.Version, made)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, s := range []Spec{
		{Decode: []string{"lz4"}},
		{Decode: []string{"gzip??"}},
		{Decode: []string{"?"}},
		{Select: "d"},
		{Select: "$[*]"},
		{Compare: []string{"$.a-b"}},
		{Ignore: []string{""}},
		{Ignore: []string{"$["}},
		{Version: &VersionSpec{}},
		{Version: &VersionSpec{JSON: "$[*]"}},
		{Version: &VersionSpec{Regexp: regexp.MustCompile(`\d+`)}},
		{Version: &VersionSpec{JSON: "$.v", Kind: "semver"}},
		{CachedAt: &VersionSpec{JSON: "v"}},
	} {
		if _, err := Compile(s); err == nil || !strings.Contains(err.Error(), "; write ") {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func hash(t testing.TB, r *Reader, pairs ...string) Content {
	t.Helper()
	var fields []Field
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, Field{[]byte(pairs[i]), []byte(pairs[i+1])})
	}
	c, err := r.Fields(fields)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHashes(t *testing.T) {
	r := compile(t, Spec{})
	a := hash(t, r, "a", "1", "b", "2")
	if hash(t, r, "b", "2", "a", "1") != a {
		t.Error("the order of fields counts")
	}
	for _, other := range [][]string{{"a", "1"}, {"a", "1", "b", "2.0"}, {"a", "1b", "", "2"}, {"a1", "", "b", "2"}, {
		"a", "1",
		"b", "2", "c", "",
	}, {}} {
		if hash(t, r, other...).Digest == a.Digest {
			t.Errorf("%q is the same", other)
		}
	}
	for _, ignore := range []string{"b", "$.b", "$['b']", "$[\"\\u0062\"]"} {
		r := compile(t, Spec{Ignore: []string{ignore}})
		if hash(t, r, "a", "1", "b", "2") != hash(t, r, "a", "1", "b", "3") || hash(t, r, "a", "1") == hash(t, r, "a", "2") {
			t.Errorf("ignore %s", ignore)
		}
		r = compile(t, Spec{Compare: []string{ignore}})
		if hash(t, r, "a", "1", "b", "2") != hash(t, r, "a", "2", "b", "2") || hash(t, r, "b", "1") == hash(t, r, "b", "2") ||
			hash(t, r, "b", "") == hash(t, r, "b", "1") {
			t.Errorf("compare %s", ignore)
		}
	}
	odd := compile(t, Spec{Ignore: []string{"x\"y\n\xff"}})
	if hash(t, odd, "x\"y\n\xff", "1") != hash(t, odd) {
		t.Error("a field's name may be any bytes")
	}
	for _, spec := range []Spec{
		{Version: &VersionSpec{Field: "v"}, CachedAt: &VersionSpec{Field: "at", Kind: "timestamp"}},
		{Version: &VersionSpec{JSON: "$.v"}, CachedAt: &VersionSpec{JSON: "$.at", Kind: "timestamp"}},
	} {
		r := compile(t, spec)
		c := hash(t, r, "v", "12", "at", "1700000000")
		if c.Version.String() != "12" || c.CachedAt.Unix() != 1700000000 {
			t.Errorf("version %s, made %v", c.Version, c.CachedAt)
		}
		if hash(t, r, "v", "12", "at", "1").Digest != c.Digest || hash(t, r, "v", "13", "at", "1700000000").Digest == c.Digest {
			t.Error("all but when the copy was made counts")
		}
	}
	if v := hash(t, compile(t, Spec{Version: &VersionSpec{Field: "v"}}), "v", "x").Version; !v.IsZero() {
		t.Errorf("x is version %s", v)
	}
}

// TestLayoutIsFree: white space and order change nothing, whatever is selected, compared and ignored.
func TestLayoutIsFree(t *testing.T) {
	specs := []*Reader{
		compile(t, Spec{}), compile(t, Spec{Select: "$.d"}), compile(t, Spec{Ignore: []string{"$.d[*]", "$.d.a"}}),
		compile(t, Spec{Compare: []string{"$.d[*][*]", "$.d[0]", "$.x"}}), compile(t, Spec{CachedAt: &VersionSpec{
			JSON: "$.d.a",
			Kind: "timestamp",
		}}),
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := jsonText(t, 3)
		for i, r := range specs {
			x, err := r.Value([]byte(`{"x":1,"d":` + a + `}`))
			y, err2 := r.Value([]byte("\n{ \"d\" :" + b + `,"x":1.0}`))
			if err != nil || err2 != nil || x != y {
				t.Fatalf("spec %d: %s and %s: %v %v %v %v", i, a, b, x, y, err, err2)
			}
		}
	})
}

func BenchmarkValue(b *testing.B) {
	for _, c := range benchmarkCases() {
		b.Run(c.name, func(b *testing.B) { benchmarkRead(b, c, (*Reader).Value) })
	}
}

// Values that were not read before.
func BenchmarkRead(b *testing.B) {
	for _, c := range benchmarkCases() {
		b.Run(c.name, func(b *testing.B) { benchmarkRead(b, c, (*Reader).read) })
	}
}

func benchmarkRead(b *testing.B, c benchmarkCase, read func(*Reader, []byte) (Content, error)) {
	r := compile(b, c.spec)
	value := []byte(c.value)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := read(r, value); err != nil {
			b.Fatal(err)
		}
	}
}

type benchmarkCase struct {
	name, value string
	spec        Spec
}

func benchmarkCases() []benchmarkCase {
	small := `{"id":12345,"name":"Jane Doe","email":"jane@example.com","plan":"pro","version":17,"tags":["a","b"]}`
	return []benchmarkCase{
		{"text", strings.Repeat("x", 100), Spec{}},
		{"json", small, Spec{}},
		{"version", small, Spec{Version: &VersionSpec{JSON: "$.version"}}},
		{
			"unsorted+ignore+time",
			`{"version":17,"at":1700000000250,"name":"Jane \"J\" Doe","a":1.50,"trace":"x","data":{"b":1,"a":2}}`,
			Spec{
				Ignore: []string{"$.trace"}, CachedAt: &VersionSpec{JSON: "$.at", Kind: "timestamp_ms"},
				Version: &VersionSpec{JSON: "$.version"},
			},
		},
		{"select", `{"version":17,"data":` + small + `}`, Spec{Select: "$.data", Version: &VersionSpec{JSON: "$.version"}}},
		{"compare", small, Spec{Compare: []string{"$.id", "$.tags[*]"}}},
		{"gzip", string(encoders["gzip"][0]([]byte(small))), Spec{Decode: []string{"gzip"}}},
		{"zstd", string(encoders["zstd"][0]([]byte(small))), Spec{Decode: []string{"zstd"}}},
		{"snappy", string(encoders["snappy"][0]([]byte(small))), Spec{Decode: []string{"snappy"}}},
		{"large", "[" + strings.TrimSuffix(strings.Repeat(small+",", 1000), ",") + "]", Spec{}},
	}
}

func BenchmarkFields(b *testing.B) {
	r := compile(b, Spec{Version: &VersionSpec{Field: "version"}, Ignore: []string{"trace"}})
	fields := []Field{
		{[]byte("version"), []byte("12")},
		{[]byte("name"), []byte("Jane Doe")},
		{[]byte("trace"), []byte("x")},
		{[]byte("plan"), []byte("pro")},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Fields(fields); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompare(b *testing.B) {
	v, w := parseVersion("integer", "1700000000250"), parseVersion("integer", "1700000000251")
	for b.Loop() {
		if v.Compare(w) != -1 {
			b.Fatal()
		}
	}
}
