package consistency

import (
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/glob"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// keyAt is one observation to be made: a key of a class, by their indices in round.classes and classKeys.names.
type keyAt struct {
	class, key int
}

// plan is keys that a node is asked for, as the node names them: those that each node of its layer should hold, or a part of
// them.
type plan struct {
	at   []keyAt
	keys []probes.Key
	// first index by class; nil where the plan is a part of another.
	first []int
}

// plan lists the keys that a node of this layer should hold.
func (r *round) plan(layer string) *plan {
	p := &plan{first: make([]int, len(r.classes))}
	for i, c := range r.classes {
		p.first[i] = len(p.at)
		own, ok := c.layerOf[layer]
		if !ok {
			continue
		}
		template := c.Layers[own].Key
		p.at, p.keys = slices.Grow(p.at, len(r.keys[i].names)), slices.Grow(p.keys, len(r.keys[i].names))
		for key, name := range r.keys[i].names {
			if template.String() != "{key}" {
				name = template.Expand(c.vars(name), nil)
			}
			p.at = append(p.at, keyAt{class: i, key: key})
			p.keys = append(p.keys, probes.Key{Name: name, Hash: c.Hash})
		}
	}
	return p
}

// scanFor says whether a node is asked for a step of its keys. A primary is not while one of its replicas answers.
func (r *round) scanFor(id probes.Identity) *probes.Scan {
	if r.replicated[id.Name] {
		return nil
	}
	var scan *probes.Scan
	for _, c := range r.classes {
		i, ok := c.layerOf[id.Layer]
		if c.Pattern == "" || !ok {
			continue
		}
		match, ok := listed(c.Layers[i].Key, c.Pattern)
		if !ok {
			continue
		}
		if scan == nil {
			scan = &probes.Scan{Count: r.opt.ScanCount, Match: match}
		} else if scan.Match != match {
			scan.Match = "" // several patterns: one step serves them all
		}
	}
	return scan
}

// listed is the glob of a pattern's keys as a layer names them; false: its names can't be turned back into keys.
func listed(name form.Template, pattern string) (match string, ok bool) {
	if _, ok := name.Key(name.Expand(map[string]string{"key": ""}, nil)); !ok {
		return "", false
	}
	const mark = "\x00"
	before, after, _ := strings.Cut(name.Expand(map[string]string{"key": mark}, nil), mark)
	literal := strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`)
	return literal.Replace(before) + pattern + literal.Replace(after), true
}

// found offers a node's listed keys to the class's sample.
func (r *round) found(c *class, nr *nodeReads) {
	template := c.Layers[c.layerOf[nr.result.Layer]].Key
	for _, name := range nr.result.Survey.Found {
		key := name
		if !template.IsZero() {
			var ok bool
			if key, ok = template.Key(name); !ok {
				continue
			}
		}
		if !c.literal[key] && glob.Match(c.Pattern, key) && (c.Match == nil || c.Match.MatchString(key)) {
			c.memory.sampled.found(key)
		}
	}
}
