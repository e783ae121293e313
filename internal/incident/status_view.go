package incident

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
)

// pageKeys is how many keys /status shows, of all classes together; /api/v1/status has more.
const pageKeys = 1000

// stateOrder is the order of states from bad to good, as keys are sorted and counted.
var stateOrder = []string{"stale", "undecided", "error", "missing", "unverified", "fresh"}

// differs is the state of view that keeps the keys of which a copy is stale or undecided.
const differs = "differs"

// view is what of a status is asked for, and in which order: the parameters of /status and /api/v1/status.
type view struct {
	// Class to show alone; empty: all.
	Class string
	// State that a copy of a shown key has, or differs; empty: any.
	State string
	// Key is part of the names of keys that are shown.
	Key string
	// Sort of keys: empty (those that differ first), key, stale, ttl, age, or a node's column.
	Sort string
	// Once: the page does not load itself again.
	Once bool
}

// sortNode is what a Sort by a node's column begins with.
const sortNode = "node:"

// sorts are the orders of keys that need no node.
var sorts = []string{"", "key", "stale", "ttl", "age"}

// viewOf a request's parameters; an error says what may be written.
func viewOf(q url.Values) (view, error) {
	v := view{Class: q.Get("class"), State: q.Get("state"), Key: q.Get("key"), Sort: q.Get("sort"), Once: q.Get("reload") == "off"}
	if v.State != "" && v.State != differs && !slices.Contains(stateOrder, v.State) {
		return v, fmt.Errorf("state is %q; write %s or one of %s", v.State, differs, strings.Join(stateOrder, ", "))
	}
	if !slices.Contains(sorts, v.Sort) && !strings.HasPrefix(v.Sort, sortNode) {
		return v, fmt.Errorf("sort is %q; write key, stale, ttl, age or %sNAME, or leave it out", v.Sort, sortNode)
	}
	return v, nil
}

// Query of the view, as in a link, sorted otherwise.
func (v view) Query(sort string) string {
	q := url.Values{}
	for name, value := range map[string]string{"class": v.Class, "state": v.State, "key": v.Key, "sort": sort} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if v.Once {
		q.Set("reload", "off")
	}
	return "?" + q.Encode()
}

// narrow a status to what the view asks for.
func (v view) narrow(s *Status) {
	if s.Canaries == nil {
		return
	}
	s.Canaries = slices.DeleteFunc(s.Canaries, func(c CanaryStatus) bool { return v.Class != "" && c.Class != v.Class })
	s.Events = slices.DeleteFunc(s.Events, func(e EventStatus) bool { return v.Class != "" && e.Class != v.Class })
	for i := range s.Canaries {
		c := &s.Canaries[i]
		c.Keys = slices.DeleteFunc(c.Keys, func(k KeyStatus) bool { return !v.shows(&k) })
		v.sort(c.Keys)
	}
}

func (v view) shows(k *KeyStatus) bool {
	if v.Key != "" && !strings.Contains(strings.ToLower(k.Key), strings.ToLower(v.Key)) {
		return false
	}
	switch v.State {
	case "":
		return true
	case differs:
		return k.Differs
	}
	return slices.ContainsFunc(k.Copies, func(c KeyCopyStatus) bool { return c.State == v.State })
}

// sort keys; those that are alike keep their order.
func (v view) sort(keys []KeyStatus) {
	measure := func(k *KeyStatus) float64 { return k.badness() }
	switch {
	case v.Sort == "key":
		slices.SortStableFunc(keys, func(a, b KeyStatus) int { return strings.Compare(a.Key, b.Key) })
		return
	case v.Sort == "stale":
		measure = func(k *KeyStatus) float64 { return -k.most(func(c *KeyCopyStatus) *float64 { return c.StaleSeconds }) }
	case v.Sort == "ttl":
		measure = func(k *KeyStatus) float64 { return k.least(func(c *KeyCopyStatus) *float64 { return c.TTLSeconds }) }
	case v.Sort == "age":
		measure = func(k *KeyStatus) float64 { return -k.most((*KeyCopyStatus).atLeastOld) }
	case v.Sort != "":
		node := strings.TrimPrefix(v.Sort, sortNode)
		measure = func(k *KeyStatus) float64 { return k.badnessOn(node) }
	}
	type measured struct {
		of  KeyStatus
		key float64
	}
	all := make([]measured, len(keys))
	for i := range keys {
		all[i] = measured{keys[i], measure(&keys[i])}
	}
	slices.SortStableFunc(all, func(a, b measured) int { return cmp.Compare(a.key, b.key) })
	for i := range all {
		keys[i] = all[i].of
	}
}

// badness sorts a key: the lower the worse, by the worst of its copies, then by how many are so.
func (k *KeyStatus) badness() float64 {
	worst, many := len(stateOrder), 0
	for i := range k.Copies {
		switch at := slices.Index(stateOrder, k.Copies[i].State); {
		case at < worst:
			worst, many = at, 1
		case at == worst:
			many++
		}
	}
	return float64(worst) - float64(many)/(1+float64(many))
}

// badnessOn one node; a key that the node should not hold comes last.
func (k *KeyStatus) badnessOn(node string) float64 {
	for i := range k.Copies {
		if k.Copies[i].Node == node {
			return float64(slices.Index(stateOrder, k.Copies[i].State))
		}
	}
	return math.Inf(1)
}

// most of what the copies of a key have; below 0 where none has any.
func (k *KeyStatus) most(of func(*KeyCopyStatus) *float64) float64 {
	most := -1.0
	for i := range k.Copies {
		if v := of(&k.Copies[i]); v != nil {
			most = max(most, *v)
		}
	}
	return most
}

// least of what the copies of a key have; without end where none has any.
func (k *KeyStatus) least(of func(*KeyCopyStatus) *float64) float64 {
	least := math.Inf(1)
	for i := range k.Copies {
		if v := of(&k.Copies[i]); v != nil {
			least = min(least, *v)
		}
	}
	return least
}

// atLeastOld is the age of a copy, as far as it is known.
func (c *KeyCopyStatus) atLeastOld() *float64 { return cmp.Or(c.AgeSeconds, c.SeenSeconds) }

// firstKeys leaves n keys, those of all classes that differ first, and says how many each class has left out.
func firstKeys(classes []CanaryStatus, n int) []int {
	differing := 0
	for i := range classes {
		for k := range classes[i].Keys {
			if classes[i].Keys[k].Differs {
				differing++
			}
		}
	}
	others := max(n-differing, 0)
	out := make([]int, len(classes))
	for i := range classes {
		c := &classes[i]
		had := len(c.Keys)
		c.Keys = slices.DeleteFunc(slices.Clone(c.Keys), func(k KeyStatus) bool {
			if k.Differs {
				n--
				return n < 0
			}
			others--
			return others < 0
		})
		out[i] = had - len(c.Keys)
	}
	return out
}
