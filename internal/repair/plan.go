package repair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/incident"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// lanes is how many nodes, origins or hooks are asked at once.
	lanes = 16
	// patience is how long one answer is waited for.
	patience = 5 * time.Second
)

// node is a cache node as the reading found it.
type node struct {
	probes.Identity
	// edit is nil where its copies can't be written.
	edit probes.Editable
	// replica of a primary, with which it shares run: the replication id.
	replica bool
	run     string
}

// nodesOf a fleet, by name, with what they told when they were read.
func nodesOf(all []probes.Node, r *consistency.Result) map[string]*node {
	out := map[string]*node{}
	for _, n := range all {
		id := n.Identity()
		edit, _ := n.(probes.Editable)
		out[id.Name] = &node{Identity: id, edit: edit}
	}
	for i := range r.Nodes {
		told := &r.Nodes[i]
		n := out[told.Name]
		if n == nil {
			continue
		}
		n.replica = told.Survey.Follows()
		if told.Survey.Replication != nil {
			n.run = told.Survey.Replication.ReplID
		}
	}
	return out
}

func classesOf(cfg *config.Config) map[string]*config.Class {
	out := map[string]*config.Class{}
	for i := range cfg.Canaries {
		out[cfg.Canaries[i].Name] = &cfg.Canaries[i]
	}
	return out
}

// planner says what is done with each stale copy.
type planner struct {
	strategy string
	classes  map[string]*config.Class
	nodes    map[string]*node
	digests  incident.Digests
	// inspect and askOrigin are the sampler's.
	inspect   func(class, layer string, raw probes.Raw) (consistency.Seen, error)
	askOrigin func(ctx context.Context, class, key string) (consistency.Truth, error)
	// turn waits until an origin may be asked once more; nil: at once.
	turn func(ctx context.Context) error

	report *Report
}

// keyPlan is one key with a stale copy.
type keyPlan struct {
	*consistency.KeyReport
	class *config.Class
	// truth by the origin, where it is asked.
	truth consistency.Truth
	err   error
}

// plan what to do about a reading.
func (p *planner) plan(ctx context.Context, r *consistency.Result) *Report {
	p.report = &Report{
		Strategy: p.strategy, Compared: new(int), Stale: new(int), Writes: []*Write{}, NotRepaired: []Left{}, Following: []Left{}, Unreadable: []Unreadable{},
	}
	var keys []*keyPlan
	for i := range r.Classes {
		c := &r.Classes[i]
		for k := range c.Nodes {
			*p.report.Compared += c.Nodes[k].Compared()
			*p.report.Stale += c.Nodes[k].Copies[verdict.Stale]
		}
		p.unreadable(c)
		for k := range c.Reports {
			if slices.ContainsFunc(c.Reports[k].Copies, isStale) {
				keys = append(keys, &keyPlan{KeyReport: &c.Reports[k], class: p.classes[c.Class]})
			}
		}
	}
	if p.strategy == Origin {
		p.askOrigins(ctx, keys)
	}
	for _, k := range keys {
		for i := range k.Copies {
			if isStale(k.Copies[i]) {
				p.copy(k, &k.Copies[i])
			}
		}
	}
	return p.report
}

func isStale(c consistency.CopyReport) bool { return c.State == verdict.Stale }

// unreadable notes the copies of a class that could not be read.
func (p *planner) unreadable(c *consistency.ClassResult) {
	at := map[Unreadable]int{}
	for i := range c.Reports {
		for j := range c.Reports[i].Copies {
			copied := &c.Reports[i].Copies[j]
			if copied.State != verdict.Error {
				continue
			}
			why := "it was not read"
			if copied.Err != nil {
				why = copied.Err.Error()
			}
			u := Unreadable{Class: c.Class, Layer: copied.Layer, Node: copied.Node, Error: why}
			if _, ok := at[u]; !ok {
				at[u] = len(p.report.Unreadable)
				p.report.Unreadable = append(p.report.Unreadable, u)
			}
			p.report.Unreadable[at[u]].Copies++
		}
	}
}

// askOrigins asks for the truth of each key whose class has an origin, at the rate of the writes: in an incident it has enough
// to do.
func (p *planner) askOrigins(ctx context.Context, keys []*keyPlan) {
	var group errgroup.Group
	group.SetLimit(lanes)
	for _, k := range keys {
		if k.class.Origin == nil {
			continue
		}
		group.Go(func() error {
			if p.turn != nil {
				if k.err = p.turn(ctx); k.err != nil {
					return nil
				}
			}
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			k.truth, k.err = p.askOrigin(ctx, k.class.Name, k.Key)
			return nil
		})
	}
	_ = group.Wait() // each key's failure is its own
}

// errNothing: there is nothing to do about a copy.
var errNothing = errors.New("nothing to do")

// copy plans what is done with one stale copy.
func (p *planner) copy(k *keyPlan, stale *consistency.CopyReport) {
	w := &Write{
		Place: k.place(stale), Digest: new(p.digests.Of(stale.Digest)), seen: stale.Seen(), vars: k.Vars, name: k.Key,
		key: probes.Key{Name: stale.Name, Hash: k.class.Hash},
	}
	if !stale.Version.IsZero() {
		w.Version = new(stale.Version.String())
	}
	w.TTLSeconds, w.NoExpiry = ttlOf(stale)
	n := p.nodes[stale.Node]
	var why error
	switch {
	case p.strategy == Refresh:
		why = refreshes(k, w)
	case n == nil || n.edit == nil:
		why = fmt.Errorf("this kind of node takes no writes; %s", byRefresh(k.class))
	case n.replica:
		p.follow(k, w, n)
		return
	default:
		why = p.choose(k, stale, w)
	}
	switch {
	case errors.Is(why, errNothing):
	case why != nil:
		p.report.NotRepaired = append(p.report.NotRepaired, Left{Place: w.Place, Reason: why.Error()})
	default:
		if w.want.Present {
			w.NewDigest = new(p.digests.Of(w.want.Digest))
			if !w.want.Version.IsZero() {
				w.NewVersion = new(w.want.Version.String())
			}
		}
		p.report.Writes = append(p.report.Writes, w)
	}
}

func (k *keyPlan) place(c *consistency.CopyReport) Place {
	return placeOf(k.class.Name, c.Layer, c.Node, k.Key, c.Name)
}

func byRefresh(c *config.Class) string {
	if c.Refresh == nil {
		return "give the class a refresh in the configuration, and use --strategy=refresh"
	}
	return "use --strategy=refresh"
}

func refreshes(k *keyPlan, w *Write) error {
	if k.class.Refresh == nil {
		return errors.New("its class has no refresh; write one in the configuration, or take another strategy")
	}
	w.Action, w.From = actionRefresh, new(k.class.Refresh.Request(k.Vars))
	return nil
}

// follow notes a stale copy on a replica: it gets what its primary gets, which is repaired if it is stale too.
func (p *planner) follow(k *keyPlan, w *Write, n *node) {
	for i := range k.Copies {
		c := &k.Copies[i]
		primary := p.nodes[c.Node]
		if primary == nil || primary.replica || primary.run == "" || primary.run != n.run {
			continue
		}
		if isStale(*c) {
			p.report.Following = append(p.report.Following, Left{Place: w.Place, Reason: "its primary " + c.Node + " is stale too"})
			return
		}
		p.report.NotRepaired = append(p.report.NotRepaired, Left{
			Place: w.Place, Reason: "it is a replica that is behind its primary " + c.Node + ", and takes no writes; see why replication does not reach it",
		})
		return
	}
	p.report.NotRepaired = append(p.report.NotRepaired, Left{
		Place: w.Place, Reason: "it is a replica of a primary that was not read, and takes no writes; repair the primary",
	})
}

// choose what takes the place of a stale copy.
func (p *planner) choose(k *keyPlan, stale *consistency.CopyReport, w *Write) error {
	switch p.strategy {
	case Delete:
		w.Action = actionDelete
		return nil
	case Origin:
		return p.byOrigin(k, stale, w)
	}
	want, err := p.wanted(k)
	if err != nil {
		return err
	}
	if !stale.Version.IsZero() && want.Version.Compare(stale.Version) < 0 {
		return errors.New("what the other copies hold has a lower version; see which is right, and use --strategy=origin or delete")
	}
	return p.from(k, stale, w, want)
}

// from plans a copy of want from where it is stored in the same form.
func (p *planner) from(k *keyPlan, stale *consistency.CopyReport, w *Write, want consistency.Seen) error {
	w.sources = p.sources(k, stale, want)
	if len(w.sources) == 0 {
		return errors.New("no fresh copy is stored in the form of this layer (key, decode, select); use --strategy=delete or refresh")
	}
	w.Action, w.want = actionReplace, want
	best := w.sources[0].place
	w.From = new(best.Layer + "/" + best.Node)
	return nil
}

// wanted gives what the fresh copies of a key hold: most of them, or the newest. Replicas have no word where others do.
func (p *planner) wanted(k *keyPlan) (consistency.Seen, error) {
	fresh := p.fresh(k, func(n *node) bool { return !n.replica })
	if len(fresh) == 0 {
		fresh = p.fresh(k, func(*node) bool { return true })
	}
	if p.strategy == Newest {
		fresh = newest(fresh)
	}
	if len(fresh) == 0 {
		if p.strategy == Newest {
			return consistency.Seen{}, errors.New("no fresh copy has a version; use --strategy=origin or delete")
		}
		return consistency.Seen{}, errors.New("no fresh copy is left to take it from; use --strategy=origin or delete")
	}
	return most(fresh)
}

// most of the copies hold this content; of its versions, the highest.
func most(copies []consistency.Seen) (consistency.Seen, error) {
	held := map[content.Digest][]consistency.Seen{}
	for _, s := range copies {
		held[s.Digest] = append(held[s.Digest], s)
	}
	var best []consistency.Seen
	tied := false
	for _, same := range held {
		switch {
		case len(same) > len(best):
			best, tied = same, false
		case len(same) == len(best):
			tied = true
		}
	}
	if tied {
		return consistency.Seen{}, errors.New("the fresh copies differ, as the key was just being written; run it again")
	}
	return slices.MaxFunc(best, func(a, b consistency.Seen) int { return a.Version.Compare(b.Version) }), nil
}

// fresh copies of a key on nodes of a kind.
func (p *planner) fresh(k *keyPlan, of func(*node) bool) []consistency.Seen {
	var out []consistency.Seen
	for i := range k.Copies {
		c := &k.Copies[i]
		if n := p.nodes[c.Node]; c.State == verdict.Fresh && c.Present && n != nil && of(n) {
			out = append(out, c.Seen())
		}
	}
	return out
}

// newest of copies; none where none has a version.
func newest(copies []consistency.Seen) []consistency.Seen {
	var out []consistency.Seen
	for _, s := range copies {
		switch {
		case s.Version.IsZero():
		case len(out) == 0 || s.Version.Compare(out[0].Version) > 0:
			out = []consistency.Seen{s}
		case s.Version.Compare(out[0].Version) == 0:
			out = append(out, s)
		}
	}
	return out
}

// sources are the fresh copies that hold want in the form of a stale one's layer: those of its own layer first, primaries before
// replicas.
func (p *planner) sources(k *keyPlan, stale *consistency.CopyReport, want consistency.Seen) []source {
	var out []source
	own := layerOf(k.class, stale.Layer)
	rank := map[string]int{}
	for i := range k.Copies {
		c := &k.Copies[i]
		n := p.nodes[c.Node]
		holds := c.State == verdict.Fresh && c.Present && c.Digest == want.Digest && (want.Version.IsZero() || c.Version == want.Version)
		if !holds || n == nil || n.edit == nil || !sameForm(own, layerOf(k.class, c.Layer)) {
			continue
		}
		if c.Layer != stale.Layer {
			rank[c.Node] += 2
		}
		if n.replica {
			rank[c.Node]++
		}
		out = append(out, source{place: k.place(c), seen: c.Seen(), key: probes.Key{Name: c.Name, Hash: k.class.Hash}})
	}
	slices.SortStableFunc(out, func(a, b source) int { return cmp.Compare(rank[a.place.Node], rank[b.place.Node]) })
	return out
}

func layerOf(c *config.Class, name string) *config.ClassLayer {
	for i := range c.Layers {
		if c.Layers[i].Name == name {
			return &c.Layers[i]
		}
	}
	return nil
}

// sameForm: what is stored in one layer can be stored in the other as it is.
func sameForm(a, b *config.ClassLayer) bool {
	return a != nil && b != nil && a.Key.String() == b.Key.String() && slices.Equal(a.Decode, b.Decode) && a.Select == b.Select
}

// byOrigin plans what the origin says: from a fresh copy that holds the same, or from the answer itself.
func (p *planner) byOrigin(k *keyPlan, stale *consistency.CopyReport, w *Write) error {
	truth := k.truth
	switch {
	case k.class.Origin == nil:
		return errors.New("its class has no origin; write one in the configuration, or take another strategy")
	case k.err != nil:
		return fmt.Errorf("the origin did not answer: %w", k.err)
	case truth.Deleted:
		w.Action, w.From = actionDelete, new(Origin)
		return nil
	case truth.Seen.Digest == stale.Digest:
		return errNothing // by now they agree
	case !stale.Version.IsZero() && truth.Seen.Version.Compare(stale.Version) < 0:
		return errors.New("the origin's answer has a lower version than the copy; see whether the origin is behind")
	}
	if p.from(k, stale, w, truth.Seen) == nil {
		return nil
	}
	if err := p.formable(k.class, w, truth); err != nil {
		return err
	}
	w.Action, w.want, w.From = actionReplace, truth.Seen, new(Origin)
	return nil
}

// formable says why an origin's answer can't be stored in a layer as it is; nil: it can.
func (p *planner) formable(c *config.Class, w *Write, truth consistency.Truth) error {
	if len(c.Compare) > 0 || len(c.Ignore) > 0 || c.CachedAt != nil {
		return errors.New("only a part of the content is compared (compare, ignore, cached_at), so that the origin's answer may lack " +
			"the rest of it; use --strategy=delete or refresh")
	}
	got, err := p.inspect(c.Name, w.Layer, probes.Raw{Present: true, Value: truth.Body})
	if err != nil || !got.Present || got.Digest != truth.Seen.Digest {
		return errors.New("what this layer stores (decode, select) can't be made of the origin's answer; use --strategy=delete or refresh")
	}
	return nil
}
