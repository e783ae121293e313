package content

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

func TestSelectRefuses(t *testing.T) {
	for value, spec := range map[string]Spec{
		`secret`:         {Select: "$.d"},
		`{"secret":1`:    {Select: "$.d"},
		`{"secret":1}`:   {Select: "$.d"},
		`{"d":"secret"}`: {Select: "$.d.e"},
	} {
		refuses(t, spec, value)
	}
}

// refuses a value, without a word of it.
func refuses(t *testing.T, spec Spec, value string) {
	t.Helper()
	c, err := compile(t, spec).Value([]byte(value))
	if err == nil || strings.Contains(err.Error(), "secret") || c != (Content{}) {
		t.Errorf("%+v: %s: %v %v", spec, value, c, err)
	}
}

// TestNothingCompared: where compare has nothing to compare, no two values are alike.
func TestNothingCompared(t *testing.T) {
	version := &VersionSpec{JSON: "$.v"}
	for value, spec := range map[string]Spec{
		`secret`:               {Compare: []string{"$.a"}},
		``:                     {Compare: []string{"$.a"}},
		`1`:                    {Compare: []string{"$.a"}},
		`{"secret":1`:          {Compare: []string{"$.a"}},
		`{"secret":1}`:         {Compare: []string{"$.a", "$.b.c"}},
		`{"secret":1,"v":3}`:   {Compare: []string{"$.a"}, Version: version},
		`{"b":{"secret":1}}`:   {Compare: []string{"$.a", "$.b.c"}},
		`{"l":[{"secret":1}]}`: {Compare: []string{"$.l[*].a", "$.l[1]"}},
		`{"l":[]}`:             {Compare: []string{"$.l[*]"}},
		`{"d":"secret"}`:       {Select: "$.d", Compare: []string{"$.a"}},
		`{"d":1,"a":1}`:        {Select: "$.d", Compare: []string{"$.a"}},
		`{"a":1700000000}`:     {Compare: []string{"$.a"}, CachedAt: &VersionSpec{JSON: "$.a", Kind: "timestamp"}},
	} {
		refuses(t, spec, value)
	}
	for value, spec := range map[string]Spec{
		`{"a":null}`:         {Compare: []string{"$.a"}},
		`{"a":{}}`:           {Compare: []string{"$.a", "$.b"}},
		`{"l":[]}`:           {Compare: []string{"$.l"}},
		`{"l":[{},{"a":1}]}`: {Compare: []string{"$.l[*].a"}},
	} {
		read(t, compile(t, spec), value)
	}
	r := compile(t, Spec{Compare: []string{"a", "b"}, Version: &VersionSpec{Field: "v"}})
	if c, err := r.Fields([]Field{{[]byte("v"), []byte("1")}, {[]byte("secret"), nil}}); err == nil ||
		strings.Contains(err.Error(), "secret") || c != (Content{}) {
		t.Errorf("a hash: %v %v", c, err)
	}
	if _, err := r.Fields(nil); err == nil {
		t.Error("an empty hash")
	}
}

// TestAcrossLayers: what one layer holds within an envelope equals what another holds alone.
func TestAcrossLayers(t *testing.T) {
	selected, plain := compile(t, Spec{Select: "$.d"}), compile(t, Spec{})
	for text, alone := range map[string]string{
		`"plain"`:                   `plain`,
		`""`:                        ``,
		`"a\u00e9\n\"\ud83d\ude00"`: "aé\n\"😀",
		`"12.0"`:                    `12.0`,
		`"{\"p\":1, \"q\":2}"`:      `{"q":2.0,"p":1}`,
		`" [1]"`:                    `[1]`,
		`"{p"`:                      `{p`,
		`"\"quoted\""`:              `"quoted"`,
		`{"p":1}`:                   ` {"p":1e0}`,
	} {
		if read(t, selected, `{"d":`+text+`}`) != read(t, plain, alone) {
			t.Errorf("%s is not %s", text, alone)
		}
	}
}

func TestAbsent(t *testing.T) {
	none := regexp.MustCompile(`^(null|__none__)$`)
	for _, c := range []struct {
		name, value string
		spec        Spec
		absent      bool
	}{
		{"text", `__none__`, Spec{}, true},
		{"JSON", `null`, Spec{Version: &VersionSpec{JSON: "$.v"}}, true},
		{"all of it", `__none__ `, Spec{}, false},
		{"another", `{"v":null}`, Spec{}, false},
		{"an empty value", ``, Spec{}, false},
		{"selected null", `{"d":null}`, Spec{Select: "$.d"}, true},
		{"a selected string's text", `{"d":"\u005f_none__"}`, Spec{Select: "$.d"}, true},
		{"without what is selected", `null`, Spec{Select: "$.d"}, true},
		{"no JSON to select from", `__none__`, Spec{Select: "$.d"}, true},
		{"nothing to compare", `__none__`, Spec{Compare: []string{"$.a"}}, true},
		{"decoded", "\x08\x1c__none__", Spec{Decode: []string{"snappy"}}, true},
		{"not decoded", "__none__", Spec{Decode: []string{"gzip?"}}, true},
	} {
		c.spec.Absent = none
		got, err := compile(t, c.spec).Value([]byte(c.value))
		if errors.Is(err, ErrAbsent) != c.absent || (err == nil) == c.absent || (got == Content{}) != c.absent {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	for value, spec := range map[string]Spec{
		`{"secret":1}`: {Absent: none, Select: "$.d"},
		`null`:         {Absent: none, Decode: []string{"gzip"}},
	} {
		refuses(t, spec, value)
		if _, err := compile(t, spec).Value([]byte(value)); errors.Is(err, ErrAbsent) {
			t.Errorf("%s: %v", value, err)
		}
	}
}

// FuzzSelect: a string within an envelope is what its text is alone, whatever it holds.
func FuzzSelect(f *testing.F) {
	for _, s := range []string{"", "a", `{"v":1,"at":2}`, `[1.0,`, `{"a":"\ud800"}`, "\xff", `"x"`, " {}", `{"a":1,"a":2}`, "__none__"} {
		f.Add([]byte(s))
	}
	spec := Spec{
		Compare: []string{"$.a", "$.v", "$[*].x"}, Version: &VersionSpec{JSON: "$.v"},
		CachedAt: &VersionSpec{Regexp: regexp.MustCompile(`"at":(\d+)`), Kind: "timestamp"}, Absent: regexp.MustCompile("^(null|__none__)$"),
	}
	var alone, selected []*Reader
	for _, s := range []Spec{{}, spec} {
		alone = append(alone, compile(f, s))
		s.Select = "$.d"
		selected = append(selected, compile(f, s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for i := range alone {
			x, err := alone[i].Value(text)
			y, err2 := selected[i].Value(append(AppendString([]byte(`{"d":`), text), '}'))
			if (err == nil) != (err2 == nil) || x != y {
				t.Fatalf("%q: %+v and %+v, %v and %v", text, x, y, err, err2)
			}
		}
	})
}
