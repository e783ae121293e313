// Package consistency is the heart: which keys are read, each of them twice where it matters, which copies are
// wrong (Judge, a pure function) and since when. Exporter and check use it alike.
package consistency

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/glob"
	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Options of a Sampler.
type Options struct {
	// RereadDelay between the two reads of a key (--canary.reread-delay).
	RereadDelay time.Duration
	// ScanCount is the COUNT of a SCAN step (--canary.scan-count).
	ScanCount int
	// MaxKeySeries bounds the literal keys told one by one (--canary.max-key-series).
	MaxKeySeries int
	// DigestKey keys the hash that chooses sampled keys; empty: a random one.
	DigestKey []byte
	// Details asks for KeyReports of the keys that are not all fresh, ShowValues for their values too.
	Details, ShowValues bool
	// openOrigin replaces the HTTP origins in tests; nil: http.OpenOrigin.
	openOrigin func(config.Origin) (asker, error)
}

// Fleet is the nodes of a configuration; *probes.Fleet is one.
type Fleet interface {
	Survey(ctx context.Context, scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error))
	Groups() []probes.Group
}

// Sampler reads all canaries of one configuration.
type Sampler struct {
	fleet Fleet
	opt   Options
	// probing is how the nodes are asked, and the origins.
	probing *probes.Env
	history *History
	log     *slog.Logger
	classes []*class
	layers  map[string]config.Layer
	judge   Judge
	// buffers of first reads by node.
	buffers map[string][]read
}

// class is a canary class, ready to be read.
type class struct {
	config.Class
	// policies by the class's own index of layers.
	policies []time.Duration
	layerOf  map[string]int
	readers  []*content.Reader
	origin   asker
	reader   *content.Reader // of the origin's answers
	// ttl for which a confirmed version is remembered; 0: for ever.
	ttl time.Duration
	// layerTTL by the class's own index of layers; 0: no expiry.
	layerTTL []time.Duration
	// layerIdentity by the same index: what contents of the layer depend on.
	layerIdentity []string
	literal       map[string]bool
	history       *classHistory
}

// NewSampler over the nodes of fleet, which were opened with probing.
func NewSampler(cfg *config.Config, fleet Fleet, opt Options, probing *probes.Env, history *History, log *slog.Logger) (*Sampler, error) {
	if len(opt.DigestKey) == 0 {
		opt.DigestKey = make([]byte, 32)
		if _, err := rand.Read(opt.DigestKey); err != nil {
			return nil, fmt.Errorf("no randomness for the choice of sampled keys: %w", err)
		}
	}
	s := &Sampler{
		fleet: fleet, opt: opt, probing: probing, history: history, log: log,
		layers: map[string]config.Layer{}, buffers: map[string][]read{},
	}
	for _, l := range cfg.Layers {
		s.layers[l.Name] = l
	}
	history.mu.Lock()
	defer history.mu.Unlock()
	for _, c := range cfg.Canaries {
		k, err := s.open(c)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("canary class %q: %w", c.Name, err)
		}
		s.classes = append(s.classes, k)
	}
	return s, nil
}

func (s *Sampler) open(c config.Class) (*class, error) {
	k := &class{Class: c, layerOf: map[string]int{}, literal: map[string]bool{}}
	for _, key := range c.Keys {
		k.literal[key] = true
	}
	spec := content.Spec{Compare: c.Compare, Ignore: c.Ignore, MaxBytes: s.probing.MaxValueBytes}
	spec.Version, spec.CachedAt = versionSpec(c.Version), versionSpec(c.CachedAt)
	for i, l := range c.Layers {
		layer := s.layers[l.Name]
		k.layerOf[l.Name] = i
		k.policies = append(k.policies, l.MaxStaleness)
		k.layerTTL = append(k.layerTTL, layer.TTL)
		k.layerIdentity = append(k.layerIdentity, fmt.Sprintf("%s %q %q %q", l.Name, l.Key.String(), l.Decode, l.Select))
		own := spec
		own.Decode, own.Select = l.Decode, l.Select
		r, err := content.Compile(own)
		if err != nil {
			return nil, err
		}
		k.readers = append(k.readers, r)
	}
	if !slices.Contains(k.layerTTL, 0) {
		k.ttl = slices.Max(k.layerTTL)
	}
	if c.Origin != nil {
		own := spec
		own.Decode, own.Select, own.MaxBytes = c.Origin.Decode, c.Origin.Select, s.probing.MaxBody
		var err error
		if k.reader, err = content.Compile(own); err != nil {
			return nil, err
		}
		if k.origin, err = s.openOrigin(*c.Origin); err != nil {
			return nil, err
		}
	}
	k.history = s.history.class(c.Name, identity(c))
	k.history.askedThrough(c.Origin)
	switch {
	case c.Pattern == "":
		k.history.sampled = nil
	case k.history.sampled == nil:
		k.history.sampled = newSampledKeys(s.opt.DigestKey, c.Sample)
	default: // a reload keeps the choice
		k.history.sampled = k.history.sampled.resized(s.opt.DigestKey, c.Sample)
	}
	return k, nil
}

// identity is what contents and versions of a class depend on in every layer.
func identity(c config.Class) string {
	return fmt.Sprintf("%t %v %v %q %q", c.Hash, versionText(c.Version), versionText(c.CachedAt), c.Ignore, c.Compare)
}

// slot of the class's copies on a node. A layer that is decoded otherwise than before begins anew.
func (c *class) slot(n *NodeResult, layer int, at time.Time) int {
	return c.history.slot(c.layerIdentity[layer]+"\x00"+n.Name, at)
}

func versionText(v *config.Version) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf("%q %v %q %s", v.JSON, v.Regexp, v.Field, v.Kind)
}

func versionSpec(v *config.Version) *content.VersionSpec {
	if v == nil {
		return nil
	}
	return &content.VersionSpec{JSON: v.JSON, Regexp: v.Regexp, Field: v.Field, Kind: v.Kind}
}

// asker answers for the truth of a key, which is valid only while visit runs; *probes.Origin is one.
type asker interface {
	Ask(ctx context.Context, vars map[string]string, visit func(probes.OriginAnswer)) error
	Close()
}

func (s *Sampler) openOrigin(c config.Origin) (asker, error) {
	if s.opt.openOrigin != nil {
		return s.opt.openOrigin(c)
	}
	return c.Source.Open(s.probing)
}

// Close ends the connections to the origins.
func (s *Sampler) Close() {
	for _, c := range s.classes {
		if c.origin != nil {
			c.origin.Close()
		}
	}
}

// place is one observation to be made: a key of a class on a node.
type place struct {
	class, key int
}

// column is one node that holds keys of a class.
type column struct {
	result *NodeResult
	layer  int // the class's own index
	slot   int
	// primary is the column of the node's primary; noPrimary and below as in Copy.
	primary int
	// spots of the class's keys on a node of a group that shares keys out; nil: it holds every key, in their order.
	spots []spot
	// loss: the node seems to have lost a copy that survived elsewhere; excused: what it told since may explain it.
	loss, excused bool
}

// read is one copy as read, with what only the report and the TTL families need. There are as many as keys and nodes.
type read struct {
	Observation
	ttl      time.Duration
	cachedAt int64 // unix nanoseconds; 0: none
	*particular
	hasTTL, noExpiry, suspect bool
}

// particular is what few reads have.
type particular struct {
	err   error
	value []byte
}

// why a copy could not be read; nil where it could.
func (r *read) why() error {
	if r.particular == nil {
		return nil
	}
	return r.err
}

// Sample reads everything once. It returns by ctx's deadline, whatever the nodes do; the first reads get half of
// the time, the origin an eighth in each of its two rounds.
func (s *Sampler) Sample(ctx context.Context) *Result {
	s.history.mu.Lock()
	defer s.history.mu.Unlock()
	began := time.Now()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = began.Add(10 * time.Second)
	}
	r := &round{Sampler: s, began: began, total: deadline.Sub(began), replicated: s.history.replicated()}
	r.chooseKeys()
	r.readFirst(ctx)
	slices.SortFunc(r.order, r.compare)
	r.noteNodes()
	for i := range s.classes {
		r.arrange(i)
	}
	r.askOrigins(ctx, 0)
	r.rereads(ctx)
	defer r.keepBuffers()
	return r.finish()
}

// Listing is what a Search came to.
type Listing struct {
	// Keys that were chosen from the patterns so far.
	Keys int
	// Largest is how many items the largest node that is listed step by step holds.
	Largest float64
}

// Search takes one step through the nodes' keys for the classes' patterns, and reads none of them.
func (s *Sampler) Search(ctx context.Context) Listing {
	s.history.mu.Lock()
	defer s.history.mu.Unlock()
	r := &round{Sampler: s, began: time.Now(), replicated: s.history.replicated()}
	var out Listing
	s.fleet.Survey(ctx, r.scanFor, func(n probes.Node, survey probes.Survey, _ error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		nr := &nodeReads{result: NodeResult{Identity: n.Identity(), Survey: survey}}
		if nr.result.Traits.StepsThroughKeys {
			out.Largest = max(out.Largest, survey.Items.Value)
		}
		for _, c := range s.classes {
			if _, holds := c.layerOf[nr.result.Layer]; holds && c.history.sampled != nil {
				r.found(c, nr)
			}
		}
	})
	for _, c := range s.classes {
		if c.history.sampled != nil {
			out.Keys += len(c.history.sampled.choose(r.began, func(string) bool { return false }))
		}
	}
	return out
}

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

	mu    sync.Mutex
	order []*nodeReads
}

// classKeys are a class's keys in this round and all that was learned of them.
type classKeys struct {
	names   []string
	literal int
	columns []column
	// placed: a column has spots.
	placed bool
	// first reads by column, then key (or as its spots say); second ones by key, then column, of the keys that are read again.
	first, second [][]read
	reread        []bool
	origin        [2]map[int]Answer
	originFailed  bool
}

type nodeReads struct {
	result NodeResult
	node   probes.Node
	// told: the survey was answered; answer: its keys were read.
	told, answer bool
	// excused: what it told after its keys were read may explain why some are gone.
	excused bool
	*plan
	// placer: the node holds but some of its layer's keys; shared is then the layer's plan, spots are its places.
	placer bool
	shared *plan
	spots  []spot
	reads  []read
}

// plan is the keys that each node of a layer should hold.
type plan struct {
	places []place
	keys   []probes.Key
	// first place by class.
	first []int
}

func (r *round) chooseKeys() {
	r.keys = make([]classKeys, len(r.classes))
	for i, c := range r.classes {
		k := &r.keys[i]
		k.names = slices.Clone(c.Keys)
		k.literal = len(k.names)
		if c.history.sampled != nil {
			sampled := c.history.sampled.choose(r.began, func(key string) bool {
				h := c.history.keys[key]
				return h != nil && h.inEpisode()
			})
			// One that a reload names as well is a literal now.
			k.names = append(k.names, slices.DeleteFunc(sampled, func(key string) bool { return c.literal[key] })...)
		}
	}
	r.plans = map[string]*plan{}
	for name := range r.layers {
		r.plans[name] = r.plan(name)
	}
}

// plan lists the keys that a node of this layer should hold.
func (r *round) plan(layer string) *plan {
	p := &plan{first: make([]int, len(r.classes))}
	for i, c := range r.classes {
		p.first[i] = len(p.places)
		at, ok := c.layerOf[layer]
		if !ok {
			continue
		}
		template := c.Layers[at].Key
		p.places, p.keys = slices.Grow(p.places, len(r.keys[i].names)), slices.Grow(p.keys, len(r.keys[i].names))
		for m, name := range r.keys[i].names {
			if template.String() != "{key}" {
				name = template.Expand(c.vars(name), nil)
			}
			p.places = append(p.places, place{class: i, key: m})
			p.keys = append(p.keys, probes.Key{Name: name, Hash: c.Hash})
		}
	}
	return p
}

// vars are what a template of the class may name for a key.
func (c *class) vars(key string) map[string]string {
	vars := map[string]string{"key": key}
	if c.Match != nil {
		if groups := c.Match.FindStringSubmatch(key); groups != nil {
			for i, name := range c.Match.SubexpNames() {
				if name != "" {
					vars[name] = groups[i]
				}
			}
		}
	}
	return vars
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
func listed(name form.Template, pattern string) (glob string, ok bool) {
	if _, ok := name.Key(name.Expand(map[string]string{"key": ""}, nil)); !ok {
		return "", false
	}
	const place = "\x00"
	before, after, _ := strings.Cut(name.Expand(map[string]string{"key": place}, nil), place)
	literal := strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`)
	return literal.Replace(before) + pattern + literal.Replace(after), true
}

// readFirst surveys every node and reads its keys, each node in its own time, within half of the total.
func (r *round) readFirst(ctx context.Context) {
	ctx, cancel := context.WithDeadline(ctx, r.began.Add(r.total/2))
	defer cancel()
	r.fleet.Survey(ctx, r.scanFor, func(n probes.Node, survey probes.Survey, err error) {
		nr := &nodeReads{node: n, told: err == nil, result: NodeResult{Identity: n.Identity(), Survey: survey, Err: err, Up: err == nil && !survey.Unasked}}
		start := time.Now()
		nr.plan = r.plans[nr.result.Layer]
		if p, ok := n.(probes.Placer); ok {
			nr.place(p)
		}
		nr.reads = r.buffer(nr.result.Name, len(nr.keys))
		r.mu.Lock()
		r.order = append(r.order, nr)
		r.mu.Unlock()
		if err == nil || survey.Unasked { // a node whose own account is broken may still give its copies
			failed := r.read(ctx, nr, nr.keys, nr.reads, nr.places, false)
			nr.answer = failed == nil
			nr.result.Err = errors.Join(err, failed)
		}
		if a, ok := n.(probes.Answerer); ok && survey.Unasked {
			nr.result.Up = a.Answered()
		}
		nr.result.Took = survey.Took + time.Since(start)
	})
}

// columnsOf gives a node's column in each class; -1 where it has none.
func (r *round) columnsOf(nr *nodeReads) []int {
	out := make([]int, len(r.keys))
	for i := range r.keys {
		out[i] = slices.IndexFunc(r.keys[i].columns, func(c column) bool { return c.result == &nr.result })
	}
	return out
}

// buffer for a node's first reads: the one of its last sampling, if it fits.
func (r *round) buffer(node string, n int) []read {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.buffers[node]
	if cap(b) < n || cap(b) > 2*n {
		b = make([]read, n)
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

// read asks a node for keys and digests the answers while they arrive.
func (r *round) read(ctx context.Context, nr *nodeReads, keys []probes.Key, reads []read, places []place, keepValues bool) error {
	if len(keys) == 0 {
		return nil
	}
	now := time.Now()
	return nr.node.Read(ctx, keys, func(i int, raw probes.Raw) {
		c := r.classes[places[i].class]
		reads[i] = c.digest(c.readers[c.layerOf[nr.result.Layer]], raw, now, keepValues)
	})
}

// digest turns a raw copy into an observation.
func (c *class) digest(reader *content.Reader, raw probes.Raw, now time.Time, keepValue bool) read {
	out := read{ttl: raw.TTL, hasTTL: raw.HasTTL, noExpiry: raw.NoExpiry, suspect: raw.Suspect}
	switch {
	case raw.Err != nil:
		out.particular = &particular{err: raw.Err}
		return out
	case !raw.Present:
		out.Presence = Absent
		return out
	}
	var got content.Content
	var err error
	if c.Hash {
		fields := make([]content.Field, len(raw.Fields))
		for i, f := range raw.Fields {
			fields[i] = content.Field{Name: f.Name, Value: f.Value}
		}
		got, err = reader.Fields(fields)
	} else {
		got, err = reader.Value(raw.Value)
	}
	if err != nil {
		out.particular = &particular{err: err}
		return out
	}
	out.Presence, out.Content = Present, got.Digest
	out.Version = c.trust(got.Version, now)
	if !got.CachedAt.IsZero() {
		out.cachedAt = got.CachedAt.UnixNano()
	}
	if keepValue {
		out.particular = &particular{value: slices.Clone(raw.Value)}
	}
	return out
}

// trust drops a timestamp that lies further in the future than clocks may differ.
func (c *class) trust(v content.Version, now time.Time) content.Version {
	if c.Version == nil {
		return content.Version{}
	}
	if at, ok := v.Time(); ok && at.After(now.Add(c.Version.MaxClockSkew)) {
		return content.Version{}
	}
	return v
}

// arrange brings what the nodes gave into the order of keys, and finds who replicates whom.
func (r *round) arrange(i int) {
	c, k := r.classes[i], &r.keys[i]
	var members []*nodeReads
	for _, nr := range r.order {
		if layer, ok := c.layerOf[nr.result.Layer]; ok {
			members = append(members, nr)
			k.columns = append(k.columns, column{result: &nr.result, layer: layer, slot: c.slot(&nr.result, layer, r.began)})
		}
	}
	r.primaries(k.columns)
	k.second = make([][]read, len(k.names))
	k.reread = make([]bool, len(k.names))
	k.origin[0], k.origin[1] = map[int]Answer{}, map[int]Answer{}
	for _, nr := range members {
		k.first = append(k.first, nr.column(i, len(k.names), &k.columns[len(k.first)]))
		if nr.placer {
			k.placed = true
			if !nr.told && !nr.result.Survey.Unasked {
				c.lastPlaces(k, &k.columns[len(k.first)-1])
			}
		}
		if c.history.sampled != nil {
			r.found(c, nr)
		}
	}
	if c.MaxAge == 0 {
		return
	}
	for key := range k.names {
		h := c.history.keys[k.names[key]]
		for m := range k.first {
			if o := k.read(m, key); o.Presence == Present {
				o.TooOld = c.tooOld(o, h, r.began)
			}
		}
	}
}

// compare orders nodes by layer, then by name.
func (*round) compare(a, b *nodeReads) int {
	return cmp.Or(strings.Compare(a.result.Layer, b.result.Layer), strings.Compare(a.result.Name, b.result.Name))
}

// tooOld: made longer than max_age ago, unless the origin held the same content at most max_age ago.
func (c *class) tooOld(o *read, h *keyHistory, now time.Time) bool {
	if c.MaxAge == 0 || o.cachedAt == 0 || now.Sub(time.Unix(0, o.cachedAt)) <= c.MaxAge {
		return false
	}
	vouched := h != nil && !h.originAt.IsZero() && h.originContent == o.Content && now.Sub(h.originAt) <= c.MaxAge
	return !vouched
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
			c.history.sampled.found(key)
		}
	}
}

// primaries finds the column of each replica's primary by what both last told: the primary shares the replication id.
// Replicas of a primary that is none of the columns get one number between them.
func (r *round) primaries(columns []column) {
	absent := map[string]int{}
	for m := range columns {
		columns[m].primary = noPrimary
		self := r.told(columns[m].result)
		if self.role != "replica" {
			continue
		}
		if p := r.primaryOf(columns, m, self); p >= 0 {
			columns[m].primary = p
			continue
		}
		if self.replID == "" {
			continue
		}
		if absent[self.replID] == 0 {
			absent[self.replID] = noPrimary - 1 - len(absent)
		}
		columns[m].primary = absent[self.replID]
	}
}

// primaryOf gives the column of a replica's primary; below 0: none of them.
func (r *round) primaryOf(columns []column, m int, self *nodeHistory) int {
	only, in := -1, 0
	for i := range columns {
		if i == m || !columns[i].result.Traits.Replicates || columns[i].layer != columns[m].layer {
			continue
		}
		other := r.told(columns[i].result)
		if other.role == "primary" && self.replID != "" && (other.replID == self.replID || other.replID2 == self.replID) {
			return i
		}
		if columns[m].result.Group != "" && columns[i].result.Group == columns[m].result.Group && other.role != "replica" {
			only = i
			in++
		}
	}
	if in == 1 {
		return only
	}
	return -1
}

// told is what a node said of its replication, now or when it last answered.
func (r *round) told(n *NodeResult) *nodeHistory { return r.history.nodes[n.Name] }

// noteNodes keeps what each node told of itself.
func (r *round) noteNodes() {
	for _, h := range r.history.nodes {
		h.told = false
	}
	for _, nr := range r.order {
		n := &nr.result
		h := r.history.nodes[n.Name]
		if h == nil {
			h = &nodeHistory{}
			r.history.nodes[n.Name] = h
		}
		if !nr.told {
			continue // what it last told stands
		}
		h.told = true
		v := &n.Survey
		if v.UptimeSeconds.Known && v.UptimeSeconds.Value < h.uptime || v.RunID != "" && h.runID != "" && v.RunID != h.runID {
			h.boots++
		}
		h.uptime, h.evicted, h.loading, h.role = v.UptimeSeconds.Value, v.Evicted.Value, v.Loading, v.Role
		h.items = v.Items.Value
		h.counted = v.UptimeSeconds.Known && v.Evicted.Known && v.Items.Known
		if v.RunID != "" {
			h.runID = v.RunID
		}
		if v.Replication != nil {
			h.replID, h.replID2 = v.Replication.ReplID, v.Replication.ReplID2
			h.offset = v.Replication.Offset
		}
	}
}

// suspicious: the copies of a key differ from each other, from the origin or from what is remembered, or are too
// old, or a node gave a riddle: all of them are read again.
func (r *round) suspicious(c *class, k *classKeys, key int) bool {
	h := c.history.keys[k.names[key]]
	answer := k.origin[0][key]
	var before *read
	for m := range k.first {
		if k.foreign(m, key) {
			continue // it is never compared
		}
		o := k.read(m, key)
		if o.suspect {
			return true
		}
		p := k.columns[m].primary
		if o.Presence != Present {
			if o.Presence == Absent && h != nil && r.survived(c, k, h, m, key) {
				k.columns[m].loss = true
				return true
			}
			continue
		}
		switch {
		case o.TooOld:
			return true
		case before != nil && before.Content != o.Content:
			return true
		case p >= 0 && k.read(p, key).Presence == Absent:
			return true
		case answer.Asked && (answer.Deleted || answer.Content != o.Content):
			return true
		case h != nil && !o.Version.IsZero() && (o.Version.Compare(h.confirmed) < 0 || o.Version.Compare(h.last(k.columns[m].slot)) < 0):
			return true
		}
		before = o
	}
	return false
}

func (k *keyHistory) last(slot int) content.Version {
	if slot < len(k.copies) {
		return k.copies[slot].version
	}
	return content.Version{}
}

// rereads reads every suspicious key a second time, on all nodes that answered.
func (r *round) rereads(ctx context.Context) {
	found := false
	for i, c := range r.classes {
		k := &r.keys[i]
		for key := range k.names {
			if r.suspicious(c, k, key) {
				k.reread[key] = true
				k.second[key] = make([]read, len(k.columns))
				found = true
			}
		}
	}
	if !found {
		return
	}
	if !pause.For(ctx, r.opt.RereadDelay) {
		return
	}
	r.askOrigins(ctx, 1)
	// What is left of the time, less what the judgement needs.
	ctx, cancel := context.WithDeadline(ctx, r.began.Add(r.total-r.total/32))
	defer cancel()
	var wg sync.WaitGroup
	for _, nr := range r.order {
		if !nr.answer {
			continue
		}
		var keys []probes.Key
		var places []place
		for p, at := range nr.places {
			if r.keys[at.class].reread[at.key] {
				key := nr.keys[p]
				key.Check = true
				keys = append(keys, key)
				places = append(places, at)
			}
		}
		if len(keys) == 0 {
			continue
		}
		wg.Go(func() {
			reads := make([]read, len(keys))
			if err := r.read(ctx, nr, keys, reads, places, r.opt.ShowValues); err != nil {
				r.mu.Lock()
				nr.result.Err = err
				r.mu.Unlock()
			}
			own := r.columnsOf(nr)
			nr.excused = r.excuse(ctx, nr, own)
			for p, at := range places {
				r.keys[at.class].second[at.key][own[at.class]] = reads[p]
			}
		})
	}
	wg.Wait()
	for _, nr := range r.order {
		for i, m := range r.columnsOf(nr) {
			if m >= 0 {
				r.keys[i].columns[m].excused = nr.excused
			}
		}
	}
	for i, c := range r.classes {
		k := &r.keys[i]
		for key := range k.names {
			h := c.history.keys[k.names[key]]
			for m := range k.second[key] {
				o := &k.second[key][m]
				o.TooOld = c.tooOld(o, h, r.began)
			}
		}
	}
}
