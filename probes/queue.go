package probes

import (
	"context"
	"fmt"
	"slices"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

// Queue is one configured queue. Sample is called by one goroutine at a time and returns soon after ctx ends; the
// Backlog beside an error holds what was learned all the same.
type Queue interface {
	Sample(ctx context.Context) (Backlog, error)
	Close()
}

// FirstGroups sorts the names of groups and keeps the first form.MaxGroups; the error says that there are more.
func FirstGroups(names []string) ([]string, error) {
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) <= form.MaxGroups {
		return names, nil
	}
	return names[:form.MaxGroups], fmt.Errorf("%d consumer groups match, and only the first %d by name are watched; "+
		"write narrower names in groups", len(names), form.MaxGroups)
}
