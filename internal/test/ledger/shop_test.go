package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

const (
	partitions = 3
	group      = "processors"
	// rate of the invalidations, in a second.
	rate = 8
	// cold keys of each class are invalidated again only once all looks at the last time are over; hot ones at any time.
	cold = 50
	hot  = 3
	// edits of a cold row that is changed twice are so far from each other, so that its copies are young when the second comes.
	edits = 1500 * time.Millisecond
)

// The classes; their keys begin with their names. Invalidations and copies of one have versions, those of the other do not.
const (
	versioned = "versioned"
	plain     = "plain"
)

var classes = []string{versioned, plain}

// shop is an application with its database, its caches and its topic of invalidations. Its processor deletes the key of each on every node,
// and readers fill it again. Nobody puts an old value back: who fills a key, changes or deletes it holds its row.
type shop struct {
	t      testing.TB
	broker *servers.KafkaServer
	topic  string
	nodes  []*node
	rows   []*row
	by     map[string]*row
	// lossy says which deletes are lost; nil: none.
	lossy func(*event, *node) bool
	watch *watch
	// padding makes values larger.
	padding string

	// again are rows that are to be changed once more.
	again []again

	producer *kgo.Client
	ctx      context.Context
	running  sync.WaitGroup
	// stands: the processor takes nothing.
	stands atomic.Bool
	// closed: nothing changes any more.
	closed atomic.Bool

	// mu guards the account: what happened to each row.
	mu     sync.Mutex
	events []*event
	// processing is the event that the processor is at.
	processing *event
}

type again struct {
	row *row
	at  time.Time
}

// row of the database.
type row struct {
	key, class string
	cold       bool
	// mu is held while the row, or a copy of it, changes.
	mu      sync.Mutex
	version int
	fills   int
	// Guarded by the shop's mu: the account of the row's events, and of its copies by node, the newest last.
	events []*event
	copies map[*node][]*copied
}

// copied is a copy that was stored. Times are those between which it was.
type copied struct {
	version  int
	storedBy time.Time
	// removed between these; zero: it was not.
	removedFrom, removedBy time.Time
}

// event is one invalidation.
type event struct {
	row     *row
	version int
	at      time.Time
	// lost deletes, by node.
	lost map[*node]bool
	// committed by the processor; zero: it has not been.
	committed time.Time
}

func (e *event) String() string { return fmt.Sprintf("%s, version %d", e.row.key, e.version) }

func newShop(t testing.TB, broker *servers.KafkaServer, topic string) *shop {
	t.Helper()
	s := &shop{t: t, broker: broker, topic: topic, by: map[string]*row{}}
	for _, class := range classes {
		for i := range cold + hot {
			r := &row{key: class + ":" + strconv.Itoa(i), class: class, cold: i < cold, version: 1, copies: map[*node][]*copied{}}
			s.rows, s.by[r.key] = append(s.rows, r), r
		}
	}
	var err error
	if s.producer, err = kgo.NewClient(kgo.SeedBrokers(broker.Addr), kgo.DefaultProduceTopic(topic)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.producer.Close)
	admin := kadm.NewClient(s.producer)
	servers.Eventually(t, "the topic is made", func() bool {
		r, err := admin.CreateTopic(t.Context(), partitions, 1, nil, topic)
		return err == nil && r.Err == nil
	})
	start := kadm.Offsets{} // so that how far the group is, is known from the first moment on
	for p := range int32(partitions) {
		start.AddOffset(topic, p, 0, -1)
	}
	servers.Eventually(t, "the first commit is taken", func() bool { return admin.CommitAllOffsets(t.Context(), s.group(), start) == nil })
	return s
}

func (s *shop) group() string { return group + "-" + s.topic }

// losing is what a node's gate asks.
func (s *shop) losing(name string) func(key string) bool {
	return func(string) bool {
		if s.lossy == nil {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, n := range s.nodes {
			if n.name == name && s.lossy(s.processing, n) {
				s.processing.lost[n] = true
				return true
			}
		}
		return false
	}
}

// config of the exporter over the shop.
func (s *shop) config() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("layers:")
	for _, layer := range []string{"l1", "l2", "l3"} {
		p("  - name: %s\n    ttl: %s\n    max_staleness: 1s\n    nodes:", layer, ttl)
		for _, n := range s.nodes {
			if n.layer == layer {
				p("      - {name: %s, %s}", n.name, n.config)
			}
		}
	}
	p("queues:\n  - name: inv\n    kafka: {brokers: [%q], topics: [%s], groups: [%s]}", s.broker.Addr, s.topic, s.group())
	p("    message: {key: $.key, version: $.version, timestamp_ms: $.ts}\ncanaries:")
	for _, class := range classes {
		p("  - class: %s\n    layers: [l1, l2, l3]\n    match: \"^%[1]s:\"", class)
		if class == versioned {
			p("    version: {json: $.version}")
		}
		p("    events: {queue: inv, within: %s, windows: [%[1]s, %s]}", windows[0], windows[1])
	}
	return b.String()
}

// every so often something is done, until the test ends.
func (s *shop) every(d time.Duration, do func()) {
	s.running.Go(func() {
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-s.ctx.Done():
				return
			case <-tick.C:
				do()
			}
		}
	})
}

// trade until the test ends: the processor works, and readers read.
func (s *shop) trade() {
	var stop context.CancelFunc
	s.ctx, stop = context.WithCancel(context.Background())
	s.t.Cleanup(func() {
		stop()
		s.running.Wait()
	})
	s.running.Go(s.process)
	for _, n := range s.nodes {
		s.every(50*time.Millisecond, func() { s.read(n) })
	}
}

// read some keys on a node, and fill those in that are missing.
func (s *shop) read(n *node) {
	var keys []string
	for range 8 {
		keys = append(keys, s.rows[rand.IntN(len(s.rows))].key)
	}
	missing, err := n.missing(s.ctx, keys)
	if err != nil {
		return // the node is away
	}
	filled := map[string]bool{}
	for _, k := range missing {
		if !filled[k] {
			filled[k] = true
			s.fill(n, s.by[k])
		}
	}
}

func (s *shop) fill(n *node, r *row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fills++ // each filling has other contents
	version := ""
	if r.class == versioned {
		version = fmt.Sprintf(`"version":%d,`, r.version)
	}
	value := fmt.Sprintf(`{%s"filled":%d,"padding":%q}`, version, r.fills, s.padding)
	if n.put(s.ctx, r.key, value) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.copies[n] = append(r.copies[n], &copied{version: r.version, storedBy: time.Now()})
}

// change a row, and publish that.
func (s *shop) change(r *row) {
	r.mu.Lock()
	r.version++
	e := &event{row: r, version: r.version, at: time.UnixMilli(time.Now().UnixMilli()), lost: map[*node]bool{}}
	s.mu.Lock()
	s.events, r.events = append(s.events, e), append(r.events, e)
	s.mu.Unlock()
	r.mu.Unlock()
	version := ""
	if r.class == versioned {
		version = fmt.Sprintf(`"version":%d,`, e.version)
	}
	value := fmt.Sprintf(`{"key":%q,%s"ts":%d}`, r.key, version, e.at.UnixMilli())
	s.producer.Produce(s.ctx, &kgo.Record{Key: []byte(r.key), Value: []byte(value)}, func(_ *kgo.Record, err error) {
		if err != nil && s.ctx.Err() == nil {
			s.t.Errorf("an invalidation was not published: %v", err)
		}
	})
}

// process the invalidations as a group that commits when they are done.
func (s *shop) process() {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.broker.Addr), kgo.ConsumeTopics(s.topic), kgo.ConsumerGroup(s.group()), kgo.DisableAutoCommit(),
		kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		s.t.Error(err)
		return
	}
	defer client.Close()
	seen := map[int32]map[int64]*event{} // a record may come again, after a commit that failed
	processed := map[*row]int{}
	for s.ctx.Err() == nil {
		if s.stands.Load() {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		var done []*event
		records := client.PollRecords(s.ctx, 50).Records()
		for _, r := range records {
			if seen[r.Partition] == nil {
				seen[r.Partition] = map[int64]*event{}
			}
			e := seen[r.Partition][r.Offset]
			if e == nil { // those of a key come in their order
				row := s.by[string(r.Key)]
				s.mu.Lock()
				e = row.events[processed[row]]
				s.mu.Unlock()
				processed[row]++
				seen[r.Partition][r.Offset] = e
			}
			s.invalidate(e)
			done = append(done, e)
		}
		if err := client.CommitRecords(s.ctx, records...); err != nil {
			continue // the next commit says the same, and more
		}
		now := time.Now()
		s.mu.Lock()
		for _, e := range done {
			if e.committed.IsZero() {
				e.committed = now
			}
		}
		s.mu.Unlock()
	}
}

// invalidate deletes the event's key on every node, however long that takes.
func (s *shop) invalidate(e *event) {
	for _, n := range s.nodes {
		for s.ctx.Err() == nil {
			if err := s.remove(e, n); err == nil || errors.Is(err, context.Canceled) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func (s *shop) remove(e *event, n *node) error {
	e.row.mu.Lock()
	defer e.row.mu.Unlock()
	s.mu.Lock()
	s.processing = e
	s.mu.Unlock()
	from := time.Now()
	err := n.remove(e.row.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := e.row.last(n); err == nil && !e.lost[n] && c != nil && c.removedBy.IsZero() {
		c.removedFrom, c.removedBy = from, time.Now()
	}
	return err
}

// last copy that was stored on a node; the shop's lock is held.
func (r *row) last(n *node) *copied {
	if all := r.copies[n]; len(all) > 0 {
		return all[len(all)-1]
	}
	return nil
}

// next row to change: a cold one that was changed a moment ago, a hot one, or a cold one at whose last event all looks are over; nil: there is
// none.
func (s *shop) next(r *rand.Rand) *row {
	if len(s.again) > 0 && time.Now().After(s.again[0].at) {
		row := s.again[0].row
		s.again = s.again[1:]
		return row
	}
	isHot := r.IntN(10) == 0
	from := r.IntN(len(s.rows))
	for i := range s.rows {
		row := s.rows[(from+i)%len(s.rows)]
		if row.cold != isHot && (isHot || s.rests(row)) {
			if row.cold && r.IntN(3) == 0 {
				s.again = append(s.again, again{row, time.Now().Add(edits)})
			}
			return row
		}
	}
	return nil
}

// rests: all looks at the row's events are over.
func (s *shop) rests(r *row) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(r.events) == 0 {
		return true
	}
	last := r.events[len(r.events)-1]
	return !last.committed.IsZero() && s.watch.over(last.at.Add(windows[1]))
}
