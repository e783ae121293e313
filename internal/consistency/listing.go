package consistency

import (
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
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
			scan = &probes.Scan{Count: r.opt.ScanCount, Match: match}
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
	literal := strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`)
	return literal.Replace(before) + pattern + literal.Replace(after), true
}

// offerListed offers the keys that a node listed to the class's sample.
func (r *round) offerListed(c *class, nr *nodeReads) {
	template := c.Layers[c.layerOf[nr.result.Layer]].Key
	for _, name := range nr.result.Survey.Found {
		key := name
		if !template.IsZero() {
			var ok bool
			if key, ok = template.Key(name); !ok {
				continue
			}
		}
		if c.takes(key) {
			c.memory.sampled.offer(key)
		}
	}
}
