package probes

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

// FoundGroup is a consumer group that a server lists.
type FoundGroup struct {
	Name string
	// Live: it has members; valid where Known.
	Live, Known bool
}

// ChosenGroups are the groups of a queue.
type ChosenGroups struct {
	// Names of those that are watched, sorted: at most form.MaxGroups.
	Names []string
	// Leftover groups, also such as are not watched: only a regexp names them, and they have no members beside live ones of the
	// same regexp. Where each instance has a group of its own, theirs are gone.
	Leftover map[string]bool
}

// ChooseGroups chooses among the groups that matches select (none: all); those that are named come whether they were found
// or not. Named groups come first, then live ones, and leftover ones last. The error says that others than leftover ones are
// left out.
func ChooseGroups(matches []form.NameMatch, found []FoundGroup) (ChosenGroups, error) {
	named := form.ExactNames(matches)
	isLive := map[string]bool{}
	alive := make([]bool, len(matches)) // by regexp
	for _, g := range found {
		isLive[g.Name] = g.Known && g.Live
		for i, m := range matches {
			alive[i] = alive[i] || isLive[g.Name] && m.Regexp != nil && m.Matches(g.Name)
		}
	}
	names, out := slices.Clone(named), ChosenGroups{Leftover: map[string]bool{}}
	for _, g := range found {
		if len(matches) > 0 && !form.Selected(matches, g.Name) {
			continue
		}
		names = append(names, g.Name)
		for i, m := range matches {
			if alive[i] && g.Known && !g.Live && m.Matches(g.Name) && !slices.Contains(named, g.Name) {
				out.Leftover[g.Name] = true
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	rank := func(name string) int {
		switch {
		case slices.Contains(named, name):
			return 0
		case isLive[name]:
			return 1
		case !out.Leftover[name]:
			return 2
		}
		return 3
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	var err error
	if wanted := len(names) - len(out.Leftover); wanted > form.MaxGroups {
		err = fmt.Errorf("%d consumer groups match, and only the first %d are watched: those that are named, then those with members, "+
			"by name; write narrower names in groups", wanted, form.MaxGroups)
	}
	out.Names = names[:min(len(names), form.MaxGroups)]
	slices.Sort(out.Names)
	return out, err
}
