package consistency

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/events"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// round is one sampling under way.
type round struct {
	*Sampler
	began time.Time
	total time.Duration
	keys  []classKeys
	// plans by layer.
	plans map[string]*plan
	// replicated are the primaries of which a replica answered last time.
	replicated map[string]bool
	// waits: nodes that list all their keys are waited for.
	waits bool
	// shown bytes of values are kept for the report.
	shown atomic.Int64
	// numLooks and numNotes of all classes; looksAgain: some looks are read a second time.
	numLooks, numNotes int
	looksAgain         bool

	mu    sync.Mutex
	order []*nodeReads
}

// classKeys are a class's keys in this round and all that was learned of them. A key is named by its index in names.
type classKeys struct {
	names []string
	// literal keys come first, then sampled ones.
	literal int
	columns []nodeColumn
	// placed: a column has placements.
	placed bool
	// second reads of the keys that are read again: by key, then by nodeColumn.index.
	second       [][]reading
	reread       []bool
	origin       [2]map[int]verdict.Answer
	originFailed bool

	// looks are keys that came out of a queue; looksFrom is where theirs begin among those of all classes, in nodeReads.looks.
	looks     []string
	looksFrom int
	// noteFrom is the first canary that is noted for later looks, noteTo the one behind the last.
	noteFrom, noteTo int
	// canaryOf a look is 1 and the index in names of the key that is a canary too; 0: none. lookOf is the way back.
	canaryOf []int32
	lookOf   map[int]lookAt
}

// secondRead gives a node's second read of a key.
func (k *classKeys) secondRead(col *nodeColumn, key int) *reading { return &k.second[key][col.index] }

// nodeReads are what one node gave in this round, for all classes.
type nodeReads struct {
	result NodeResult
	node   probes.Node
	// surveyed: the survey was answered; hasRead: its keys were read.
	surveyed, hasRead bool
	// lossExplained: what it told after its keys were read may explain why some are gone.
	lossExplained bool
	plan          *plan // what it is asked for
	// placer: the node holds but some of its layer's keys; shared is then the layer's plan, placements are of its keys.
	placer     bool
	shared     *plan
	placements []placement
	reads      []reading
	// looks of all classes; nil: there are none.
	looks []lookedAt
	// highestCAS is the highest id that it gave in classes with events. highest is the canary with it; zero where that one is noted.
	highestCAS uint64
	highest    events.Noted
	// notes of canaries that were not told yet.
	notes events.NodeNotes
	// columns of the node by class; nil: the class's keys are not on it.
	columns []*nodeColumn
}

// firstReads gives a column the node's reads of a class, by its index, that has n keys, and where they are.
func (nr *nodeReads) firstReads(which, n int, col *nodeColumn) {
	if !nr.placer {
		from := nr.plan.first[which]
		col.first = nr.reads[from : from+n]
		return
	}
	col.first, col.placements = nr.reads, nr.placements[nr.shared.first[which]:][:n]
}

// chooseKeys says which keys of each class are read, and plans by layer which a node is asked for.
func (r *round) chooseKeys() {
	r.keys = make([]classKeys, len(r.classes))
	for i, c := range r.classes {
		for l := range c.perLayer {
			c.perLayer[l].reader.Forget()
		}
		k := &r.keys[i]
		k.names = slices.Clone(c.Keys)
		k.literal = len(k.names)
		if c.sampled != nil {
			sampled := c.sampled.choose(r.began, c.memory.inEpisode)
			// One that a reload names as well is a literal now.
			k.names = append(k.names, slices.DeleteFunc(sampled, func(key string) bool { return c.literal[key] > 0 })...)
		}
		r.chooseLooks(c, k)
	}
	r.plans = map[string]*plan{}
	for name := range r.layers {
		r.plans[name] = r.plan(name)
	}
}

// readFirst surveys every node and reads its keys, each node in its own time, within half of the total.
func (r *round) readFirst(ctx context.Context) {
	ctx, cancel := context.WithDeadline(ctx, r.began.Add(r.total/2))
	defer cancel()
	r.fleet.Survey(ctx, r.scanFor, func(n probes.Node, survey probes.Survey, err error) {
		nr := &nodeReads{
			node: n, surveyed: err == nil, columns: make([]*nodeColumn, len(r.classes)),
			result: NodeResult{Identity: n.Identity(), Survey: survey, Err: err, Up: err == nil && !survey.Unasked},
		}
		start := time.Now()
		nr.plan = r.plans[nr.result.Layer]
		if p, ok := n.(probes.Placer); ok {
			nr.placeKeys(p)
		}
		nr.reads = r.buffer(nr.result.Name, nr.plan.canaries)
		r.expectLooks(nr)
		r.mu.Lock()
		r.order = append(r.order, nr)
		r.mu.Unlock()
		if err == nil {
			r.noteRestart(&nr.result)
		}
		if err == nil || survey.Unasked { // a node whose own account is broken may still give its copies
			failed := r.read(ctx, nr, nr.plan, nr.reads, false)
			nr.hasRead = failed == nil
			nr.result.Err = errors.Join(err, failed)
		}
		if a, ok := n.(probes.Answerer); ok && survey.Unasked {
			if nr.result.Up = a.Answered(); !nr.result.Up && nr.result.Err == nil {
				nr.result.Err = survey.Refused
			}
		}
		nr.result.Took = survey.Took + time.Since(start)
	})
}

// buffer for a node's first reads: the one of its last sampling, if it fits.
func (r *round) buffer(node string, n int) []reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.buffers[node]
	if cap(b) < n || cap(b) > 2*n {
		b = make([]reading, n)
	}
	delete(r.buffers, node)
	b = b[:n]
	clear(b)
	return b
}

// keepBuffers for the next sampling, of the nodes that were asked in this one.
func (r *round) keepBuffers() {
	clear(r.buffers)
	for _, nr := range r.order {
		r.buffers[nr.result.Name] = nr.reads
	}
}

// read asks a node for the keys of a plan and digests the answers while they arrive. An error after which only looks were not read is
// theirs alone.
func (r *round) read(ctx context.Context, nr *nodeReads, p *plan, reads []reading, keepValues bool) error {
	if len(p.keys) == 0 {
		return nil
	}
	now, visited := time.Now(), 0
	visit := func(i int, raw probes.Raw) {
		at := p.at[i]
		c := r.classes[at.class]
		got := c.digest(c.perLayer[c.layerOf[nr.result.Layer]].reader, raw, now)
		if r.follows(c) {
			r.noteEvent(nr, p, at, &got, &raw, now)
		}
		if at.key == noCanary {
			return
		}
		if keepValues && got.Presence == verdict.Present {
			r.show(&got, raw.Value)
		}
		if raw.Further {
			reads[i].addVariant(raw.Variant, got)
			return
		}
		visited++
		reads[i] = got
		reads[i].named(raw.Variant)
	}
	err := probes.Guarded(func() error { return nr.node.Read(ctx, p.keys, visit) })
	nr.noteHighest(now)
	if visited == p.canaries && visited > 0 && visited < len(p.keys) {
		return nil
	}
	return err
}

const (
	// longestShown is how much of a value is shown where values are asked for, and mostShown of all together, in bytes. More would be
	// read by nobody, and a thousand keys may have gigabytes.
	longestShown = 16 << 10
	mostShown    = 16 << 20
)

// show keeps what a copy holds for the report.
func (r *round) show(o *reading, value []byte) {
	o.detail = &detail{size: len(value)}
	if value = value[:min(len(value), longestShown)]; r.shown.Add(int64(len(value))) <= mostShown {
		o.value = bytes.Clone(value)
	}
}

// arrange brings what the nodes gave into the order of a class's keys, and finds who replicates whom.
func (r *round) arrange(which int) {
	c, k := r.classes[which], &r.keys[which]
	var members []*nodeReads
	for _, nr := range r.order {
		if _, ok := c.layerOf[nr.result.Layer]; ok {
			members = append(members, nr)
		}
	}
	k.columns = make([]nodeColumn, len(members)) // at once: it is pointed into
	for i, nr := range members {
		col, layer := &k.columns[i], c.layerOf[nr.result.Layer]
		*col = nodeColumn{result: &nr.result, layer: layer, memoryAt: c.memoryOn(&nr.result, layer, r.began), index: columnAt(i)}
		nr.columns[which] = col
	}
	r.findPrimaries(k.columns)
	k.second = make([][]reading, len(k.names))
	k.reread = make([]bool, len(k.names))
	k.origin[0], k.origin[1] = map[int]verdict.Answer{}, map[int]verdict.Answer{}
	for i, nr := range members {
		nr.firstReads(which, len(k.names), &k.columns[i])
		if nr.placer {
			k.placed = true
			if !nr.surveyed && !nr.result.Survey.Unasked {
				c.rememberedPlaces(k, &k.columns[i])
			}
		}
	}
	if c.MaxAge == 0 {
		return
	}
	for key := range k.names {
		h := c.memory.keys[k.names[key]]
		for i := range k.columns {
			if o := k.columns[i].read(key); o.Presence == verdict.Present {
				o.TooOld = c.tooOld(o, h, r.began)
			}
		}
	}
}

// compare orders nodes by layer, then by name.
func (*round) compare(a, b *nodeReads) int {
	return cmp.Or(strings.Compare(a.result.Layer, b.result.Layer), strings.Compare(a.result.Name, b.result.Name))
}
