package drain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// surveyLongest bounds a survey: a node that hangs has not answered by then.
	surveyLongest = 3 * time.Second
	// deleteLongest bounds the deletion of a batch's keys on one node.
	deleteLongest = 5 * time.Second
	// downFor is how long a node that failed as a whole is left alone: each message of that time waits for it.
	downFor = 30 * time.Second
)

var (
	errNoPrimary = errors.New("no primary that holds the key was reached; see which node is one, and whether it runs")
	errNoNodes   = errors.New("none of its nodes is known; see why they are not found")
	errOrphan    = errors.New("it is a replica, and its primary is not among the nodes that were reached; configure the primary, or see whether it runs")
	errNoTargets = errors.New("no layer has nodes in which keys can be deleted; there is nothing to apply messages to")
)

// target is a node in which keys are deleted.
type target struct {
	probes.Deleter
	id   probes.Identity
	last probes.Survey
	// answered the last survey.
	answered bool
	// downUntil is up to when it is left alone, because of err.
	downUntil time.Time
	err       error
	report    *NodeReport
}

// unit is a configured node: a server, or a group.
type unit struct {
	layer, name string
	// replicates: its nodes are primaries and their replicas, so that only primaries are written to.
	replicates bool
	targets    []*target
	// err says why it can't be told which nodes hold a key.
	err    error
	report *NodeReport
}

// targets are all nodes in which keys can be deleted.
type targets struct {
	fleet  *probes.Fleet
	layers []config.Layer

	units []*unit
	// left are the layers' nodes in which nothing can be deleted.
	left []LayerLeft
	// known targets by node, which outlive a survey; reports in the order in which they were made.
	known    map[probes.Node]*target
	reports  map[string]*NodeReport
	order    []*NodeReport
	surveyed time.Time
}

func newTargets(fleet *probes.Fleet, layers []config.Layer) *targets {
	return &targets{fleet: fleet, layers: layers, known: map[probes.Node]*target{}, reports: map[string]*NodeReport{}}
}

// survey learns which nodes there are, and which are primaries.
func (t *targets) survey(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, surveyLongest)
	defer cancel()
	var mu sync.Mutex
	answers := map[probes.Node]probes.Survey{}
	t.fleet.Survey(ctx, func(probes.Identity) *probes.Scan { return nil }, func(n probes.Node, s probes.Survey, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			answers[n] = s
		}
	})
	for _, k := range t.known {
		k.answered = false
	}
	t.units, t.left, t.surveyed = nil, nil, time.Now()
	for _, l := range t.layers {
		left := LayerLeft{Layer: l.Name, Nodes: []string{}}
		for _, n := range l.Nodes {
			u, others := t.unit(l, n, answers)
			if u != nil {
				t.units = append(t.units, u)
			}
			left.Nodes = append(left.Nodes, others...)
		}
		if len(left.Nodes) == 0 {
			continue
		}
		if !l.NoExpiry {
			seconds := l.TTL.Seconds()
			left.TTLSeconds = &seconds
		}
		t.left = append(t.left, left)
	}
}

// unit of a configured node; nil where nothing can be deleted in it. others are its nodes of which that is so.
func (t *targets) unit(l config.Layer, n config.Node, answers map[probes.Node]probes.Survey) (u *unit, others []string) {
	members := t.fleet.Named(n.Name)
	group, grouped := members.Group()
	u = &unit{layer: l.Name, name: n.Name, replicates: group.Replication || group.Cluster != nil, report: t.report(l.Name, n.Name)}
	for _, node := range members.Nodes() {
		d, ok := node.(probes.Deleter)
		if !ok {
			others = append(others, node.Identity().Name)
			continue
		}
		k := t.known[node]
		if k == nil {
			k = &target{Deleter: d, id: node.Identity(), report: t.report(l.Name, node.Identity().Name)}
			t.known[node] = k
		}
		survey, answered := answers[node]
		k.answered = answered
		if answered {
			k.last = survey
		}
		u.targets = append(u.targets, k)
	}
	switch {
	case len(u.targets) > 0:
	case len(others) > 0 || !n.Traits.Writable:
		if len(others) == 0 {
			others = []string{n.Name}
		}
		return nil, others
	default:
		u.err = errNoNodes
	}
	if grouped && group.Err != nil {
		u.err = group.Err
	}
	return u, others
}

// report of a node by its name.
func (t *targets) report(layer, node string) *NodeReport {
	r := t.reports[node]
	if r == nil {
		r = &NodeReport{Layer: layer, Node: node}
		t.reports[node] = r
		t.order = append(t.order, r)
	}
	return r
}

// used are the reports of nodes that had to do with a key.
func (t *targets) used() []NodeReport {
	out := []NodeReport{}
	for _, r := range t.order {
		if r.Deleted+r.Failed+r.Waiting > 0 {
			out = append(out, *r)
		}
	}
	return out
}

// role of a target as it last told; empty: it never did, or it is a replica that takes writes.
func (k *target) role() string {
	if k.last.Active {
		return ""
	}
	return k.last.Role
}

// replicaOf reports whether a primary that answered is the one that k follows.
func (k *target) replicaOf(p *target) bool {
	if !p.answered || p.role() != "primary" || p.id.Kind != k.id.Kind || k.last.Replication == nil {
		return false
	}
	self := k.last.Replication
	if other := p.last.Replication; other != nil && self.ReplID != "" && (self.ReplID == other.ReplID || self.ReplID == other.ReplID2) {
		return true
	}
	return self.Primary != "" && strings.HasSuffix(p.id.Name, "/"+self.Primary)
}

// orphan reports whether k is a replica of none of the primaries that were reached.
func (t *targets) orphan(k *target) bool {
	for _, p := range t.known {
		if k.replicaOf(p) {
			return false
		}
	}
	return true
}

// need is what must be done so that a name is gone from a unit.
type need struct {
	unit *unit
	name string
	// all of these must delete it.
	all []*target
	// some of these must, or one of all.
	some []*target
	// atLeastOne of both must.
	atLeastOne bool
	// err: nothing can be done. at is the node to blame.
	err error
	at  *NodeReport
}

// needOf a name in a unit.
func (t *targets) needOf(u *unit, name string) need {
	n := need{unit: u, name: name, err: u.err, at: u.report}
	if u.err != nil {
		return n
	}
	n.atLeastOne = u.replicates
	for _, k := range u.targets {
		if placer, ok := k.Deleter.(probes.Placer); ok {
			if h := placer.Place(name).Holding; h != probes.Holds && h != probes.Anywhere {
				continue
			}
		}
		switch {
		case k.role() == "replica" && k.answered && u.replicates: // its primary is to delete it
		case k.role() == "replica" && k.answered:
			if t.orphan(k) {
				n.err, n.at = errOrphan, k.report
				return n
			}
		case u.replicates && !k.answered:
			n.some = append(n.some, k)
		default:
			n.all = append(n.all, k)
		}
	}
	if n.atLeastOne && len(n.all)+len(n.some) == 0 {
		n.err = errNoPrimary
	}
	return n
}

// deletion is the names to delete on each target, and what came of them.
type deletion struct {
	names   map[*target][]string
	results map[*target]map[string]error
}

func newDeletion() *deletion {
	return &deletion{names: map[*target][]string{}, results: map[*target]map[string]error{}}
}

// add a name to what is deleted on a target.
func (d *deletion) add(k *target, name string) {
	if d.results[k] == nil {
		d.results[k] = map[string]error{}
	}
	if _, twice := d.results[k][name]; !twice {
		d.results[k][name] = nil
		d.names[k] = append(d.names[k], name)
	}
}

// run deletes on all targets at once.
func (d *deletion) run(ctx context.Context) {
	var all sync.WaitGroup
	for k, names := range d.names {
		all.Go(func() {
			for i, err := range k.remove(ctx, names) {
				d.results[k][names[i]] = err
			}
		})
	}
	all.Wait()
}

// remove names from one target, which is left alone for a while after it failed as a whole.
func (k *target) remove(ctx context.Context, names []string) []error {
	if time.Now().Before(k.downUntil) {
		k.report.Failed += int64(len(names))
		return probes.SameError(len(names), k.err)
	}
	ctx, cancel := context.WithTimeout(ctx, deleteLongest)
	defer cancel()
	errs := k.Delete(ctx, names)
	failed := 0
	for _, err := range errs {
		switch {
		case err == nil:
			k.report.Deleted++
		case !errors.Is(err, probes.ErrCannotHold):
			failed++
			k.err = err
			k.report.Error = err.Error()
		}
	}
	k.report.Failed += int64(failed)
	if failed > 0 && failed == len(names) {
		k.downUntil = time.Now().Add(downFor)
	}
	return errs
}

// verdict on one name in one unit.
type verdict struct {
	// err says why it is not gone, and at which node; nil: it is, as far as it could be there.
	err error
	at  *NodeReport
	// held: some node could have held it.
	held bool
}

// judge a need by what came of the deletion.
func (d *deletion) judge(n need) verdict {
	if n.err != nil {
		return verdict{n.err, n.at, true}
	}
	out := verdict{}
	done, asked := 0, 0
	for _, k := range n.all {
		err := d.results[k][n.name]
		switch {
		case err == nil:
			done, asked = done+1, asked+1
		case errors.Is(err, probes.ErrCannotHold):
		default:
			asked++
			out.err, out.at = err, k.report
		}
	}
	var first error
	at := n.at
	for _, k := range n.some {
		asked++
		if err := d.results[k][n.name]; err == nil {
			done++
		} else if first == nil && !errors.Is(err, probes.ErrReplica) {
			first, at = err, k.report
		}
	}
	out.held = asked > 0
	if out.err == nil && n.atLeastOne && done == 0 {
		out.err, out.at = errNoPrimary, at
		if first != nil {
			out.err = fmt.Errorf("%w (%w)", errNoPrimary, first)
		}
	}
	return out
}
