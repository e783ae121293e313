package drain

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

func template(t *testing.T, text string) form.Template {
	t.Helper()
	out, err := form.ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNames(t *testing.T) {
	n := newNamer([]config.Class{
		{
			Pattern: "user:*:profile", Match: regexp.MustCompile(`^user:(?P<id>[0-9]+):profile$`),
			Layers: []config.ClassLayer{{Name: "l2", Key: template(t, "{key}")}, {Name: "l3", Key: template(t, "v3:{id}")}},
		},
		{Keys: []string{"user:1:profile"}, Layers: []config.ClassLayer{{Name: "l3", Key: template(t, "one:{key}")}}},
	})
	for key, want := range map[string]map[string][]string{
		"user:2:profile": {"l2": {"user:2:profile"}, "l3": {"v3:2"}},
		"user:1:profile": {"l2": {"user:1:profile"}, "l3": {"v3:1", "one:user:1:profile"}},
		"user:x:profile": nil, // the pattern takes it, the expression doesn't
		"other":          nil,
	} {
		if diff := cmp.Diff(want, n.names(key)); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
}
