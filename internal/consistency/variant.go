package consistency

import (
	"slices"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// A node may hold several variants of a copy, such as an edge that keeps an encoded body beside the plain one: a purge can
// reach one and miss the other. They are one copy, with one vote. The first that is there speaks for it, and the others are
// judged as a primary's replicas are: by all that can be said of them, and at last by that one. The copy has the worst of their
// states.

// variant is one that differs from the reading that it belongs to, or could not be read.
type variant struct {
	name string
	reading
}

// named says which variant the reading is; one without a name is the only one.
func (r *reading) named(name string) {
	if name != "" {
		r.more().variant = name
	}
}

// more gives the reading's detail.
func (r *reading) more() *detail {
	if r.detail == nil {
		r.detail = &detail{}
	}
	return r.detail
}

// addVariant takes a further variant in. One that is not there says nothing: it is made when it is asked for.
func (r *reading) addVariant(name string, further reading) {
	further.named(name)
	switch {
	case further.Presence == verdict.Absent:
	case r.Presence == verdict.Absent:
		*r = further
	case r.Presence == verdict.Present && further.Presence == verdict.Present && r.Content == further.Content:
		if further.cachedAt != 0 && (r.cachedAt == 0 || further.cachedAt < r.cachedAt) {
			r.cachedAt = further.cachedAt // what is too old is so in any variant
		}
	case r.Presence != verdict.Unread || further.Presence != verdict.Unread:
		d := r.more()
		d.variants = append(d.variants, variant{name, further})
	}
}

// differing are the variants that differ from the reading.
func (r *reading) differing() []variant {
	if r.detail == nil {
		return nil
	}
	return r.detail.variants
}

// differsInItself: a variant that could be read holds something else.
func (r *reading) differsInItself() bool {
	return slices.ContainsFunc(r.differing(), func(v variant) bool { return v.Presence == verdict.Present })
}

// as the variant of a name: the reading itself where that one does not differ.
func (r *reading) as(name string) *reading {
	variants := r.differing()
	for i := range variants {
		if variants[i].name == name {
			return &variants[i].reading
		}
	}
	return r
}

// addVariants of the key that is judged now to its case, behind its copies.
func (ct *counts) addVariants(h *keyMemory) {
	for i := range ct.copies {
		cp := &ct.copies[i]
		for _, name := range cp.variants() {
			first, last := cp.first.as(name), cp.last.as(name)
			for _, o := range [...]*reading{first, last} {
				o.TooOld = ct.class.MaxAge > 0 && o.Presence == verdict.Present && ct.class.tooOld(o, h, ct.round.began)
			}
			ct.c.Copies = append(ct.c.Copies, verdict.Copy{
				Layer: cp.on.column.layer, Left: cp.on.column.result.Survey.Left,
				Primary: verdict.Primary{Group: cp.on.column.source, InCase: true, At: verdict.CopyAt(i)},
				Reads:   [2]verdict.Observation{first.Observation, last.Observation},
			})
		}
	}
}

// variants of the copy that differ in either read.
func (cp *copyCount) variants() []string {
	var names []string
	for _, r := range [...]*reading{cp.first, cp.last} {
		for _, v := range r.differing() {
			if !slices.Contains(names, v.name) {
				names = append(names, v.name)
			}
		}
	}
	return names
}

// byVariant: the copy's state is that of a variant.
func (cp *copyCount) byVariant() bool { return cp.judged != cp.last }

// foldVariants gives each copy the worst of its variants' states.
func (ct *counts) foldVariants(v *verdict.Verdict) {
	at := len(ct.copies)
	for i := range ct.copies {
		cp, own := &ct.copies[i], &v.Copies[i]
		for _, name := range cp.variants() {
			of := v.Copies[at]
			at++
			if badness(of.State) > badness(own.State) {
				own.State, own.By, own.Target = of.State, of.By, of.Target
				cp.judged = cp.last.as(name)
			}
		}
	}
}

// badness orders states by what they say of the copy that one of its variants has them.
func badness(s verdict.State) int {
	return slices.Index([]verdict.State{verdict.Undecided, verdict.Error, verdict.Stale}, s)
}
