package message

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

func TestKeyReader(t *testing.T) {
	const none, empty = "it has no key at ", "its key at "
	for _, c := range []struct {
		path, message string
		keys          []string
		poison        string
	}{
		{"$.key", `{"key":"a"}`, []string{"a"}, ""},
		{"$.key", `{"key":["b","a","b"]}`, []string{"a", "b"}, ""},
		{"$.key", `{"key":12}`, []string{"12"}, ""},
		{"$.key", `{"key":[]}`, nil, none + "$.key"},
		{"$.key", `{"key":["a",{}]}`, nil, none + "$.key"},
		{"$.key", `{"key":["a",null]}`, nil, none + "$.key"},
		{"$.key", `{"key":{"a":1}}`, nil, none + "$.key"},
		{"$.key", `{"key":null}`, nil, none + "$.key"},
		{"$.key", `{"key":""}`, nil, empty + "$.key is empty"},
		{"$.key", `{"key":["a",""]}`, nil, empty + "$.key is empty"},
		{"$.key", `{}`, nil, none + "$.key"},
		{"$.key", `word`, nil, "it is no JSON"},
		{"$.key", ``, nil, "it is no JSON"},
		{"$.a.b[1]", `{"a":{"b":["x","y"]}}`, []string{"y"}, ""},
		{"$", `word`, []string{"word"}, ""},
		{"$", `"word"`, []string{"word"}, ""},
		{"$", `["a","b"]`, []string{"a", "b"}, ""},
		{"$", `two words`, nil, "it is no JSON"},
		{"$", `{"key":"a"}`, nil, none + "$"},
	} {
		r, err := NewKeyReader(&probes.Message{Key: c.path})
		if err != nil {
			t.Fatal(err)
		}
		keys, poison := r.Read([]byte(c.message))
		if diff := cmp.Diff(c.keys, keys); diff != "" || poison != c.poison {
			t.Errorf("%s in %s: %q %s", c.path, c.message, poison, diff)
		}
	}
}

func TestKeyReaderOfEntries(t *testing.T) {
	for _, c := range []struct {
		path   string
		fields []string
		keys   []string
	}{
		{"$.key", []string{"key", "a", "version", "1"}, []string{"a"}},
		{"$.key", []string{"key", `["a","b"]`}, []string{"a", "b"}},
		{"$.key", []string{"key", `{user:1}:profile`}, []string{"{user:1}:profile"}},
		{"$.key", []string{"key", `[not JSON`}, []string{"[not JSON"}},
		{"$.message.key", []string{"message", `{"key":"a"}`}, []string{"a"}},
		{"$.message.keys", []string{"other", "x", "message", `{"keys":["b","a"]}`}, []string{"a", "b"}},
		{"$.message.key", []string{"message", "text"}, nil},
		{"$.key", nil, nil},
	} {
		r, err := NewKeyReader(&probes.Message{Key: c.path})
		if err != nil {
			t.Fatal(err)
		}
		keys, poison := r.ReadEntry(c.fields)
		if diff := cmp.Diff(c.keys, keys); diff != "" || (poison == "") != (keys != nil) {
			t.Errorf("%s in %q: %q %s", c.path, c.fields, poison, diff)
		}
	}
}

func TestKeyReaderNeedsAPath(t *testing.T) {
	for _, m := range []*probes.Message{nil, {Version: "$.v"}} {
		if _, err := NewKeyReader(m); !errors.Is(err, ErrNoKeyPath) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	if _, err := NewKeyReader(&probes.Message{Key: "key"}); err == nil {
		t.Error("a path without $ is read")
	}
}
