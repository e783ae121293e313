package content

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	const doc = `{"a":{"b":[10,20,{"c":"x\u0041\n"}],"":1,"é":2,"it's":3,"q\"":4,"n":null,"e":1.50e1,"t":true,"d":1,"d":2,"x-y":9},"0":7}`
	for path, want := range map[string]string{
		`$.a.b[0]`: "10", `$.a.b[-1].c`: "xA\n", `$['a']["b"][1]`: "20", `$.a['']`: "1", `$.a.é`: "2", `$.a['\u00e9']`: "2",
		`$.a['it\'s']`: "3",
		`$.a['q"']`:    "4", `$.a["q\""]`: "4", `$.a.e`: "1.50e1", `$.a.t`: "true", `$.a.d`: "2", `$['0']`: "7",
		`$[ 'a' ]  .t`: "true", `$.a['x-y']`: "9",
		`$.a.b[-3]`: "10",
	} {
		p, err := ParsePath(path, false)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got, ok := Lookup([]byte(doc), p); !ok || got != want {
			t.Errorf("%s gives %q %t, want %q", path, got, ok, want)
		}
	}
	for _, path := range []string{`$`, `$.a`, `$.a.b`, `$.a.n`, `$.z`, `$.a.b[3]`, `$.a.b[-4]`, `$.a[0]`, `$.a.b.c`, `$[0]`} {
		p, err := ParsePath(path, false)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if got, ok := Lookup([]byte(doc), p); ok {
			t.Errorf("%s gives %q", path, got)
		}
	}
	root, _ := ParsePath("$", false)
	if got, ok := Lookup([]byte(` "1.2.3" `), root); !ok || got != "1.2.3" {
		t.Errorf("a scalar document gives %q %t", got, ok)
	}
	if _, ok := Lookup([]byte(`nothing`), root); ok {
		t.Error("text that is no JSON gives something")
	}
}

func TestParsePathRefuses(t *testing.T) {
	for _, path := range []string{
		``, `a`, `.a`, `$a`, `$.`, `$..a`, `$.*`, `$.a.`, `$.a-b`, `$.1`, `$[`, `$[]`, `$[a]`, `$['a]`, `$['a'`, `$['a'b]`,
		`$[01]`, `$[-0]`, `$[-]`, `$[+1]`, `$[1:2]`,
		`$[0,1]`, `$[?@.a]`, `$['\x']`, `$["\'"]`, `$[9007199254740992]`, `$[99999999999999999999]`, `$.a `, ` $`, "$['\n']",
		`$.a b`, "$.\xff",
	} {
		for _, wildcards := range []bool{false, true} {
			_, err := ParsePath(path, wildcards)
			if err == nil {
				t.Errorf("%q is a path", path)
			} else if !strings.Contains(err.Error(), "; write $ followed by .name, ['name']") {
				t.Errorf("%q: the error does not say what to write: %v", path, err)
			}
		}
	}
	if _, err := ParsePath(`$.a[*].b`, true); err != nil {
		t.Error(err)
	}
	if _, err := ParsePath(`$.a[*].b`, false); err == nil || strings.Contains(err.Error(), "or [*]") {
		t.Errorf("a wildcard where one value is meant: %v", err)
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{`$`, `$.a[0]['b'][*]`, `$['\'"\u00e9\ud800']`, `$["a"]`, `$[-1]`, `$[ '' ]`, `$.é`} {
		f.Add(s)
	}
	doc := []byte(`{"a":[{"b":1},[2]],"":{"":3},"é":4}`)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePath(s, true)
		if err != nil {
			return
		}
		for _, st := range p.steps {
			if st.kind == 'n' {
				if again, ok := canonical(st.name); !ok || string(again) != string(st.name) {
					t.Fatalf("%q names %q, which is not canonical", s, st.name)
				}
			}
		}
		Lookup(doc, p)
		r, err := Compile(Spec{Compare: []string{s}, Ignore: []string{s}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = r.Value(doc); err != nil && !errors.Is(err, errNoPath) {
			t.Fatal(err)
		}
	})
}

// What is read as a list is what is read alone, or each element of an array as if it were asked for.
func FuzzLookup(f *testing.F) {
	for _, doc := range []string{`{"keys":["a",1,null],"key":"b"}`, `{"keys":[]}`, `[["a"],["b"]]`, `{"keys":[{}]}`, `{"keys":"a","keys":["b"]}`, `{`} {
		f.Add([]byte(doc), `$.keys`)
		f.Add([]byte(doc), `$[0]`)
	}
	f.Fuzz(func(t *testing.T, doc []byte, path string) {
		p, err := ParsePath(path, false)
		if err != nil {
			return
		}
		value, found := Lookup(doc, p)
		list, ok, isJSON := LookupList(doc, p)
		switch {
		case isJSON && !json.Valid(doc):
			t.Fatal("it is not JSON")
		case found && (!isJSON || !ok || !slices.Equal(list, []string{value})):
			t.Fatalf("%q alone, and %q (%v, JSON: %v)", value, list, ok, isJSON)
		case found || !ok:
			return
		}
		for i, want := range list {
			element, err := ParsePath(fmt.Sprintf("%s[%d]", path, i), false)
			if err != nil {
				return // a path of so many steps as there may be
			}
			if got, found := Lookup(doc, element); !found || got != want {
				t.Fatalf("element %d is %q (%v), and %q in the list", i, got, found, want)
			}
		}
	})
}
