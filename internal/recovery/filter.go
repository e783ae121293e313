package recovery

import (
	"fmt"
	"slices"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/glob"
)

// keyFilter says which keys of a layer are wanted. hint is a glob for the server; empty: none serves.
type keyFilter struct {
	hint   string
	wanted func(name string) bool
}

// wantedIn a layer: the keys that match a pattern, by their own name or by the key that the layer's name stands for.
func (r *run) wantedIn(layer string) keyFilter {
	patterns := r.recovery.Patterns
	matches := func(key string) bool {
		for _, p := range patterns {
			if glob.Match(p, key) {
				return true
			}
		}
		return false
	}
	var renaming []config.ClassLayer
	for _, c := range r.config.Canaries {
		for _, l := range c.Layers {
			if l.Name == layer && l.Key.String() != "{key}" && reversible(l) {
				renaming = append(renaming, l)
			}
		}
	}
	out := keyFilter{wanted: func(name string) bool {
		if matches(name) {
			return true
		}
		for _, l := range renaming {
			if key, ok := l.Key.Key(name); ok && matches(key) {
				return true
			}
		}
		return false
	}}
	if len(patterns) == 1 && len(renaming) == 0 {
		out.hint = patterns[0]
	}
	return out
}

// reversible reports whether the names of a class's keys in a layer can be turned back into keys.
func reversible(l config.ClassLayer) bool {
	_, ok := l.Key.Key(l.Key.Expand(map[string]string{"key": ""}, nil))
	return ok
}

// noteBlind names the classes whose keys patterns can't find in a layer.
func (r *run) noteBlind(s *Step) {
	for _, layer := range r.config.Layers {
		if !slices.ContainsFunc(layer.Nodes, func(n config.Node) bool { return n.Traits.ListsKeys }) {
			continue
		}
		for _, c := range r.config.Canaries {
			for _, l := range c.Layers {
				if l.Name == layer.Name && !reversible(l) {
					s.note(fmt.Sprintf("%s: patterns can't find the keys of class %s, which are named %s there; the messages of the backlog can", l.Name, c.Name, l.Key))
				}
			}
		}
	}
}
