package drain

import (
	"slices"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/glob"
)

// namer knows under which names a message's key is stored in each layer: by the classes that take the key, and in a layer
// that none of them names, under its own.
type namer struct {
	classes []config.Class
	// literal keys of each class.
	literal []map[string]bool
}

func newNamer(classes []config.Class) *namer {
	n := &namer{classes: classes}
	for _, c := range classes {
		keys := map[string]bool{}
		for _, k := range c.Keys {
			keys[k] = true
		}
		n.literal = append(n.literal, keys)
	}
	return n
}

// names of a key by layer. A layer that is not among them has the key under its own name.
func (n *namer) names(key string) map[string][]string {
	var out map[string][]string
	for i, c := range n.classes {
		matched := c.Match == nil || c.Match.MatchString(key)
		if !n.literal[i][key] && (c.Pattern == "" || !matched || !glob.Match(c.Pattern, key)) {
			continue
		}
		vars := varsOf(c, key)
		for _, l := range c.Layers {
			name := l.Key.Expand(vars, nil)
			if out == nil {
				out = map[string][]string{}
			}
			if !slices.Contains(out[l.Name], name) {
				out[l.Name] = append(out[l.Name], name)
			}
		}
	}
	return out
}

// varsOf a key are what the templates of a class may name.
func varsOf(c config.Class, key string) map[string]string {
	vars := map[string]string{"key": key}
	if c.Match == nil {
		return vars
	}
	groups := c.Match.FindStringSubmatch(key)
	for i, name := range c.Match.SubexpNames() {
		if name != "" && groups != nil {
			vars[name] = groups[i]
		}
	}
	return vars
}
