package consistency

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/cases"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// memoryNode is a node, and an origin, in memory.
type memoryNode struct {
	id       probes.Identity
	mu       sync.Mutex
	values   map[string]cases.Value
	frozen   bool
	primary  *memoryNode // it follows
	cut      bool
	survey   probes.Survey
	before   func() // runs before each Read
	others   int    // other keys that it has
	replID2  string // of the primary that it took over from
	asked    int    // Reads
	surveyed int
}

var errFrozen = errors.New("no answer in time")

func (m *memoryNode) Identity() probes.Identity { return m.id }

func (m *memoryNode) Survey(ctx context.Context, _ *probes.Scan) (probes.Survey, error) {
	if m.isFrozen() {
		<-ctx.Done()
		return probes.Survey{}, errFrozen
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.surveyed++
	s := m.survey
	s.Took = time.Millisecond
	if m.others > 0 {
		known := func(n int) probes.Count { return probes.Count{Value: float64(n), Known: true} }
		s.UptimeSeconds, s.Evicted, s.Items = known(1_000_000), known(0), known(m.others+len(m.values))
	}
	if m.id.Kind == "redis" {
		s.Role, s.Replication = "primary", &probes.Replication{ReplID: m.id.Name, ReplID2: m.replID2}
		if m.primary != nil {
			s.Role, s.Replication = "replica", &probes.Replication{ReplID: m.primary.id.Name, LinkUp: !m.cut}
		}
	}
	return s, nil
}

func (m *memoryNode) isFrozen() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.frozen
}

func (m *memoryNode) Read(ctx context.Context, keys []probes.Key, visit func(int, probes.Raw)) error {
	if m.isFrozen() {
		<-ctx.Done()
		return errFrozen
	}
	if m.before != nil {
		m.before()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	for i, k := range keys {
		v, ok := m.values[k.Name]
		switch {
		case v.Nonce || v.Serial:
			visit(i, probes.Raw{Present: true, Value: fmt.Append(nil, m.asked), NoExpiry: true})
		case !ok || v.Status == 404 || v.Status == 410 || v.Status == 504:
			visit(i, probes.Raw{})
		case v.Status != 0 && v.Status != 200:
			visit(i, probes.Raw{Err: errors.New("status")})
		case v.List != nil || (v.Hash != nil) != k.Hash:
			visit(i, probes.Raw{Err: errors.New("of another type")})
		case k.Hash:
			var fields []probes.Field
			for name, value := range v.Hash {
				fields = append(fields, probes.Field{Name: []byte(name), Value: []byte(value)})
			}
			visit(i, probes.Raw{Present: true, Fields: fields, NoExpiry: true})
		default:
			visit(i, probes.Raw{Present: true, Value: v.Bytes, NoExpiry: true})
		}
	}
	return nil
}

func (m *memoryNode) Close() {}

// memoryFleet is a fleet of memory nodes.
type memoryFleet []*memoryNode

func (f memoryFleet) Survey(ctx context.Context, scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error)) {
	var wg sync.WaitGroup
	for _, m := range f {
		wg.Go(func() {
			s, err := m.Survey(ctx, scanFor(m.id))
			visit(m, s, err)
		})
	}
	wg.Wait()
}

func (f memoryFleet) Groups() []probes.NodeGroup { return nil }

// memoryOrigin answers from memory, or as reply says.
type memoryOrigin struct {
	body   string
	status int
	reply  func(ctx context.Context, key string) (body string, status int)
}

func (o *memoryOrigin) Ask(ctx context.Context, vars map[string]string, visit func(probes.OriginAnswer)) error {
	body, status := o.body, o.status
	if o.reply != nil {
		body, status = o.reply(ctx, vars["key"])
	}
	switch status {
	case 200:
		visit(probes.OriginAnswer{Body: []byte(body)})
	case 404, 410:
		visit(probes.OriginAnswer{Deleted: true})
	default:
		return errors.New("status 500")
	}
	return nil
}

func (o *memoryOrigin) Close() {}

// memoryWorld plays cases in memory and in fake time.
type memoryWorld struct {
	t       *testing.T
	nodes   map[string]*memoryNode
	origin  memoryOrigin
	sampler *Sampler
}

const caseKey = "user:1"

func newMemoryWorld(t *testing.T, c *cases.Case) *memoryWorld {
	t.Helper()
	w := &memoryWorld{t: t, nodes: map[string]*memoryNode{}, origin: memoryOrigin{status: 500}}
	cfg, err := config.Parse("case.yml", c.Config("case", caseKey, func(n cases.Node) string { return n.Name + ".example:1" }, "http://origin.example/{key}"), backends.All)
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	var fleet memoryFleet
	for _, l := range c.Layers {
		for _, n := range l.Nodes {
			m := &memoryNode{id: probes.Identity{Layer: l.Name, Name: n.Name, Kind: n.Kind, Traits: traitsOf(n.Kind), Group: n.Group}, values: map[string]cases.Value{}}
			w.nodes[n.Name] = m
			fleet = append(fleet, m)
			if n.ReplicaOf != "" {
				m.primary = w.nodes[n.ReplicaOf]
			}
		}
	}
	w.sampler, err = NewSampler(withOrigins(cfg, func(string) probes.Origin { return &w.origin }), fleet, Options{
		RereadDelay: 20 * time.Millisecond, ScanCount: 1000, MaxKeySeries: 1000,
	}, testEnv, NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *memoryWorld) node(n cases.Node) *memoryNode { return w.nodes[n.Name] }

func (w *memoryWorld) each(n cases.Node, do func(m *memoryNode)) {
	do(w.node(n))
	for _, m := range w.nodes {
		if m.primary == w.node(n) && !m.cut {
			do(m)
		}
	}
}

func (w *memoryWorld) Set(n cases.Node, v cases.Value, _ time.Duration) {
	w.each(n, func(m *memoryNode) {
		m.values[caseKey] = v
		if v.Serial {
			m.asked = 0
		}
	})
}

func (w *memoryWorld) Delete(n cases.Node) {
	w.each(n, func(m *memoryNode) { delete(m.values, caseKey) })
}

func (w *memoryWorld) Cut(n cases.Node)               { w.node(n).cut = true }
func (w *memoryWorld) Freeze(n cases.Node)            { w.node(n).frozen = true }
func (w *memoryWorld) Thaw(n cases.Node)              { w.node(n).frozen = false }
func (w *memoryWorld) Others(n cases.Node, count int) { w.node(n).others = count }

func (w *memoryWorld) Wait(d time.Duration) { time.Sleep(d) } // fake time
func (w *memoryWorld) Settle()              {}

func (w *memoryWorld) Origin(body string, status int) { w.origin.body, w.origin.status = body, status }

func (w *memoryWorld) Scrape() cases.Expected {
	time.Sleep(time.Second) // fake time: scrapes are apart
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return observed(w.sampler.Sample(ctx).Classes[0])
}

func observed(c ClassResult) cases.Expected {
	regressions, divergent := int(c.VersionRegressions), c.Divergent[0]
	got := cases.Expected{
		States: map[string]string{}, Reference: map[string]int{},
		VersionConflicts: &c.VersionConflicts, VersionRegressions: &regressions, OriginBehind: &c.OriginBehind,
		DivergentKeys: &divergent, Survivors: []string{},
	}
	for r := range verdict.ByAge {
		got.Reference[r.String()] = c.Keys[r]
	}
	for _, n := range c.Nodes {
		for s, count := range n.Copies {
			if count > 0 {
				got.States[n.Node] += verdict.State(s).String()
			}
		}
		if n.Survivors > 0 {
			got.Survivors = append(got.Survivors, n.Node)
		}
		if n.Overdue > 0 {
			got.Overdue = append(got.Overdue, n.Node)
		}
	}
	slices.Sort(got.Overdue)
	return got
}

func TestCases(t *testing.T) {
	for _, c := range cases.All(t) {
		t.Run(strings.ReplaceAll(c.Name, "/", "-"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(30 * 365 * 24 * time.Hour) // the fake clock begins in 2000, and a case speaks of 2024
				w := newMemoryWorld(t, &c)
				c.Play(t, w)
			})
		})
	}
}
