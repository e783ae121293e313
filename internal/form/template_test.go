package form

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestParseTemplate(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil, "plain": nil, "{key}": {"key"}, "v3:{key}": {"key"}, "{a}{b}/{a}": {"a", "b", "a"},
	} {
		got, err := ParseTemplate(text)
		if err != nil || got.String() != text || !slices.Equal(got.Names(), want) || got.IsZero() != (text == "") {
			t.Errorf("%q: names %q, error %v", text, got.Names(), err)
		}
	}
	for _, text := range []string{"{", "}", "{}", "{a", "a}", "{a}}", "{{a}}", "{a{b}", "http://u:hunter2@app/{"} {
		got, err := ParseTemplate(text)
		if err == nil || !got.IsZero() || !strings.Contains(err.Error(), "; write") || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v, error %v", text, got, err)
		}
	}
}

func template(t testing.TB, text string) Template {
	t.Helper()
	out, err := ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTemplateExpand(t *testing.T) {
	vars := map[string]string{"key": "user:1/ü", "id": "1"}
	for _, tt := range []struct {
		text   string
		escape func(string) string
		want   string
	}{
		{"v3:{key}", nil, "v3:user:1/ü"},
		{"http://app/{key}?id={id}", url.PathEscape, "http://app/user:1%2F%C3%BC?id=1"},
		{"{id}{none}{id}", nil, "11"},
		{"/literal/", url.PathEscape, "/literal/"},
		{"", nil, ""},
	} {
		if got := template(t, tt.text).Expand(vars, tt.escape); got != tt.want {
			t.Errorf("%q gives %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestTemplateKey(t *testing.T) {
	for _, tt := range []struct {
		text, expanded, want string
		ok                   bool
	}{
		{"{key}", "user:1", "user:1", true},
		{"{key}", "", "", true},
		{"v3:{key}", "v3:user:1", "user:1", true},
		{"v3:{key}", "v2:user:1", "", false},
		{"<{key}>", "<user:1>", "user:1", true},
		{"<{key}>", "<user:1", "", false},
		{"aa{key}aa", "aaa", "", false}, // the same letters can't be both
		{"aa{key}aa", "aaaa", "", true},
		{"{key}{key}", "abab", "", false},
		{"{id}", "1", "", false},
		{"{key}:{id}", "a:1", "", false},
		{"literal", "literal", "", false},
	} {
		if got, ok := template(t, tt.text).Key(tt.expanded); got != tt.want || ok != tt.ok {
			t.Errorf("%q of %q: %q, %t; want %q, %t", tt.text, tt.expanded, got, ok, tt.want, tt.ok)
		}
	}
}
