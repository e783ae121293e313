package probes

import (
	"context"
	"fmt"
	"slices"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// maxGroups of one queue; more would make more series than anybody reads.
const maxGroups = 100

// Queue is one configured queue. Sample is called by one goroutine at a time and returns soon after ctx ends; the
// Backlog beside an error holds what was learned all the same.
type Queue interface {
	Sample(ctx context.Context) (Backlog, error)
	Close()
}

// FirstGroups sorts the names of groups and keeps the first maxGroups; the error says that there are more.
func FirstGroups(names []string) ([]string, error) {
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) <= maxGroups {
		return names, nil
	}
	return names[:maxGroups], fmt.Errorf("%d consumer groups match, and only the first %d by name are watched; "+
		"write narrower names in groups", len(names), maxGroups)
}

// AnyMatches reports whether any of the matches means name.
func AnyMatches(matches []config.NameMatch, name string) bool {
	return slices.ContainsFunc(matches, func(m config.NameMatch) bool { return m.Matches(name) })
}

// ExactNames are those of the matches that are no regular expressions.
func ExactNames(matches []config.NameMatch) []string {
	var out []string
	for _, m := range matches {
		if m.Regexp == nil {
			out = append(out, m.Exact)
		}
	}
	return out
}
