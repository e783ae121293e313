package simulation

import (
	"slices"
	"strings"
)

// planFaults of the plan that happen now and then.
func (w *world) planFaults() {
	p := w.plan
	some := func() *node { return w.nodes[w.random.IntN(len(w.nodes))] }
	w.regularly(p.restarts, func() { some().restart() })
	w.regularly(p.replacements, func() { w.replace(some()) })
	w.regularly(p.evictions, func() {
		n, r := some(), w.records[w.random.IntN(len(w.records))]
		if n.primary == nil && n.copies[r.key].present() {
			n.evicted++
			n.drop(r)
		}
	})
	w.regularly(p.restores, func() {
		for _, r := range w.records {
			then := r.at(w.clock.Add(-p.restoredFrom))
			if then.value != r.now {
				r.version = then.version
				r.set(then.value, w.clock)
				w.judge(r)
			}
		}
		if p.anew {
			for _, n := range slices.Clone(w.nodes) {
				w.replace(n)
			}
		}
	})
	w.regularly(p.partition.every, func() { w.separate(true) })
	w.regularly(p.freezes.every, func() {
		for _, n := range w.nodes {
			if n.role == p.freezes.node && !n.frozen {
				n.frozen = true
				w.after(p.freezes.lasts, func() {
					n.frozen = false
					n.sync()
				})
			}
		}
	})
}

// separate the nodes of the plan's partition, or join them again, some time later.
func (w *world) separate(apart bool) {
	p := w.plan.partition
	names := func(list, name string) bool {
		for other := range strings.FieldsSeq(list) {
			if other == name {
				return true
			}
		}
		return false
	}
	for _, n := range w.nodes {
		n.cut = apart && names(p.cut, n.role)
		n.unread = apart && names(p.unread, n.role)
	}
	if apart {
		w.after(p.lasts, func() { w.separate(false) })
	}
}

// replace a node by a new one, with nothing in it.
func (w *world) replace(n *node) {
	if n.primary != nil {
		return
	}
	for _, other := range w.nodes {
		if other.primary == n {
			return
		}
	}
	n.gone, n.cut, n.left = true, true, true
	next := &node{w: w, layer: n.layer, name: n.role + "-" + w.clock.Format("150405"), role: n.role, copies: map[string]*held{}}
	n.layer.nodes[slices.Index(n.layer.nodes, n)] = next
	w.nodes[slices.Index(w.nodes, n)] = next
	w.open(next)
	if p := w.plan; p.lingers > 0 {
		w.leaving = append(w.leaving, n)
		w.after(p.lingers, func() { w.leaving = slices.DeleteFunc(w.leaving, func(other *node) bool { return other == n }) })
	}
	next.started = w.clock
}
