package consistency

import (
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/glob"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Nodes list their keys step by step, in their surveys. What they list is matched against the patterns of the classes.

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
		match, ok := listedAs(c.Layers[i].Key, c.Pattern)
		if !ok {
			continue
		}
		if scan == nil {
			scan = &probes.Scan{Count: r.opt.ScanCount, Match: match, Wait: r.waits, Found: r.listedIn(id.Layer)}
		} else if scan.Match != match {
			scan.Match = "" // several patterns: one step serves them all
		}
	}
	return scan
}

// listedAs is the glob of a pattern's keys as a layer names them; false: its names can't be turned back into keys.
func listedAs(name form.Template, pattern string) (match string, ok bool) {
	if _, ok := name.Key(name.Expand(map[string]string{"key": ""}, nil)); !ok {
		return "", false
	}
	const mark = "\x00"
	before, after, _ := strings.Cut(name.Expand(map[string]string{"key": mark}, nil), mark)
	return glob.Quote(before) + pattern + glob.Quote(after), true
}

// longestSampled is how long a key may be that is chosen for a pattern: each is held, and asked for on every node.
const longestSampled = 1 << 10

// listedIn a layer gives what takes the keys that its nodes list: they are offered to the samples of the classes as they come. It may be
// called at any time, also while a sampling goes on.
func (s *Sampler) listedIn(layer string) func(name string) {
	return func(name string) {
		if len(name) > longestSampled {
			return
		}
		for _, c := range s.classes {
			l, holds := c.layerOf[layer]
			if !holds || c.sampled == nil {
				continue
			}
			key, named := name, true
			if template := c.Layers[l].Key; !template.IsZero() {
				key, named = template.Key(name)
			}
			if named && c.takes(key) {
				c.sampled.offer(key)
			}
		}
	}
}
