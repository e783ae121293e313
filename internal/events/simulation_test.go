package events

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// world is a shop in fake time: rows, three caches, a queue and its processor. It knows which copies are older than which event.
type world struct {
	r       *rand.Rand
	now     time.Time
	todo    actions
	rows    map[string]uint64
	texts   map[string]uint64 // what a row says; a write need not change it
	caches  []*cache
	log     []probes.Event // its At.Major is the index
	done    int            // messages that the processor committed
	stalled time.Time
	order   uint64
}

type cache struct {
	name    string
	copies  map[string]stored
	cas     uint64
	restart bool
}

type stored struct {
	row, text, cas uint64
	at, made       time.Time
	ttl            time.Duration
}

type action struct {
	at    time.Time
	order uint64
	do    func()
}

type actions []action

func (a actions) Len() int { return len(a) }
func (a actions) Less(i, j int) bool {
	return a[i].at.Before(a[j].at) || a[i].at.Equal(a[j].at) && a[i].order < a[j].order
}
func (a actions) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *actions) Push(x any)   { *a = append(*a, x.(action)) }
func (a *actions) Pop() any {
	old := *a
	last := old[len(old)-1]
	*a = old[:len(old)-1]
	return last
}

func (w *world) in(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.todo, action{w.now.Add(d), w.order, do})
}

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.r.Int64N(int64(d))) }

// every has something done again and again, at random about so often.
func (w *world) every(d time.Duration, do func()) {
	w.in(w.upTo(2*d), func() {
		do()
		w.every(d, do)
	})
}

func (w *world) key() string { return "user:" + strconv.Itoa(int(w.r.ExpFloat64()*40)) }

// write a row, and publish that.
func (w *world) write() {
	k := w.key()
	w.rows[k]++
	if w.r.IntN(4) > 0 {
		w.texts[k] = w.r.Uint64()
	}
	value := fmt.Sprintf(`{"key":%q,"version":%d,"ts":%d}`, k, w.rows[k], w.now.UnixMilli())
	e := probes.Event{At: probes.Position{Major: uint64(len(w.log))}, Value: []byte(value), Written: w.now}
	w.in(w.upTo(50*time.Millisecond), func() {
		e.At.Major = uint64(len(w.log))
		w.log = append(w.log, e)
	})
}

// process the next message, unless the processor is stalled. One delete in twenty is lost.
func (w *world) process() {
	if w.done == len(w.log) || w.now.Before(w.stalled) {
		w.in(50*time.Millisecond, w.process)
		return
	}
	key, _ := content.Lookup(w.log[w.done].Value, must(content.ParsePath("$.key", false)))
	for _, c := range w.caches {
		if w.r.IntN(20) > 0 {
			delete(c.copies, key)
		}
	}
	w.done++
	w.in(w.upTo(20*time.Millisecond), w.process)
}

func must(p content.Path, err error) content.Path {
	if err != nil {
		panic(err)
	}
	return p
}

// get a key through a cache; what is missing is read from the row and stored a little later, whatever happens in between.
func (w *world) get() {
	k, c := w.key(), w.caches[w.r.IntN(len(w.caches))]
	if s, ok := c.copies[k]; ok && w.now.Before(s.at.Add(s.ttl)) {
		return
	}
	row, text, made := w.rows[k], w.texts[k], w.now
	w.in(w.upTo(200*time.Millisecond), func() {
		c.cas++
		c.copies[k] = stored{row, text, c.cas, w.now, made, 10*time.Minute + w.upTo(time.Minute)}
	})
}

// kinds of evidence that the caches give.
type kind struct {
	name string
	copy func(*Copy, stored, time.Time)
	spec func(*Spec)
	// least recall of copies older than an event that were stored before it.
	least float64
}

var kinds = []kind{
	{"versions", func(c *Copy, s stored, _ time.Time) { c.Version = content.ReadVersion(strconv.FormatUint(s.row, 10)) }, nil, 1},
	{"versions and CAS", func(c *Copy, s stored, _ time.Time) {
		c.Version, c.CAS = content.ReadVersion(strconv.FormatUint(s.row, 10)), s.cas
	}, nil, 1},
	{"CAS", func(c *Copy, s stored, _ time.Time) { c.CAS = s.cas }, nil, 0.9},
	{"expiry", func(c *Copy, s stored, _ time.Time) { c.ExpiresMS = s.at.Add(s.ttl).UnixMilli() }, nil, 0.8},
	{"age", func(c *Copy, s stored, now time.Time) { c.HasAge, c.Age = true, now.Sub(s.at).Truncate(time.Second) }, nil, 0.9},
	{"cached_at", func(c *Copy, s stored, _ time.Time) { c.CachedAt = s.made }, nil, 0.9},
	{
		"ttl_min", func(c *Copy, s stored, now time.Time) { c.HasTTL, c.TTL = true, s.at.Add(s.ttl).Sub(now) },
		func(s *Spec) { s.TTLMin = 10 * time.Minute }, 0.7,
	},
}

// outcome of a simulation.
type outcome struct {
	false, missed, found int
	results              [NumResults]int
}

// simulate a shop that is sampled each 15 seconds.
func simulate(k kind, seed uint64, long time.Duration) (out outcome, first string) {
	w := &world{
		r: rand.New(rand.NewPCG(seed, 9)), now: time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC), rows: map[string]uint64{}, texts: map[string]uint64{},
	}
	for i := range 3 {
		w.caches = append(w.caches, &cache{name: strconv.Itoa(i), copies: map[string]stored{}})
	}
	end := w.now.Add(long)
	tracker := NewTracker(Options{HashKey: []byte("simulation"), Now: func() time.Time { return w.now }})
	spec := Spec{
		Class: "c", Queue: "q", Message: &probes.Message{TimestampMS: "$.ts", Version: "$.version"}, VersionKind: "integer", Sample: 100, Within: time.Minute,
		Windows: []Window{{"10s", 10 * time.Second}, {"1m", time.Minute}, {"5m", 5 * time.Minute}}, Layers: []Layer{{Name: "l"}},
	}
	if k.spec != nil {
		k.spec(&spec)
	}
	if err := tracker.Configure([]Spec{spec}); err != nil {
		panic(err)
	}
	w.every(300*time.Millisecond, w.write)
	w.every(20*time.Millisecond, w.get)
	w.in(0, w.process)
	w.every(10*time.Minute, func() { w.stalled = w.now.Add(w.upTo(3 * time.Minute)) })
	w.every(40*time.Minute, func() {
		c := w.caches[w.r.IntN(len(w.caches))]
		c.copies, c.cas, c.restart = map[string]stored{}, 0, true
	})

	read := func(c *cache, key string) Copy {
		o := Copy{Asked: w.now, Read: w.now}
		s, ok := c.copies[key]
		if !ok || !w.now.Before(s.at.Add(s.ttl)) {
			return o
		}
		o.Present = true
		binary.LittleEndian.PutUint64(o.Digest[:], s.text)
		k.copy(&o, s, w.now)
		return o
	}
	// examine what a copy that the tracker is about to judge really is.
	examine := func(c *cache, key string, o Copy) {
		for _, l := range tracker.classes["c"].looks[key] {
			k, n := tracker.classes["c"], tracker.node("l", c.name)
			got := tracker.judge(k, l, key, n, k.layer("l"), tracker.sights.on(n, tracker.sights.place(k.number, key)), o)
			out.results[got]++
			s := c.copies[key]
			wanted, _ := l.event.version.Number()
			isOld := o.Present && float64(s.row) < wanted
			switch {
			case got.Bad() && !isOld, got == Restored && s.at.Before(l.event.time()):
				if out.false++; first == "" {
					first = fmt.Sprintf("%s of %s at %s, event %s: %+v", got, key, w.now, l.event.time(), s)
				}
			case !isOld || l.event.passed == 0 || l.event.passed+second > tracker.clock.by(w.now) || !s.at.Before(l.event.time().Add(-tolerance)):
			case got.Bad():
				out.found++
			default:
				out.missed++
			}
		}
	}
	visited := 0
	followQueue := func(began time.Time) {
		for ; visited < len(w.log); visited++ {
			tracker.Visit("q", w.log[visited])
		}
		done := w.done
		tracker.Sampled("q", probes.QueueTraits{}, &probes.Backlog{
			Followed: &probes.Followed{Seen: 1},
			Groups: []probes.GroupBacklog{{Group: "g", Passed: func(_ probes.Partition, at probes.Position) (bool, bool) {
				return int(at.Major) < done, true
			}}},
		}, began)
	}
	look := func(began time.Time) {
		due := tracker.Due("c", began)
		isDue := map[string]bool{}
		for _, key := range due {
			isDue[key] = true
			var copies []NodeCopy
			for _, c := range w.caches {
				o := read(c, key)
				examine(c, key, o)
				copies = append(copies, NodeCopy{Layer: "l", Node: c.name, Copy: o, Twice: tracker.Suspect("c", key, "l", c.name, o)})
			}
			tracker.Look("c", key, copies, began)
		}
		for i := range 50 {
			for _, c := range w.caches {
				if key := "user:" + strconv.Itoa(i); !isDue[key] {
					o := read(c, key)
					tracker.Note([]NodeNotes{{"l", c.name, o.Asked, o.Read, []Noted{{"c", key, o.Identity()}}}})
				}
			}
		}
	}
	var sample func()
	sample = func() {
		began := w.now
		for _, c := range w.caches {
			if c.restart {
				tracker.Restarted("l", c.name)
				c.restart = false
			}
		}
		w.in(w.upTo(100*time.Millisecond), func() { followQueue(began) })
		w.in(w.upTo(100*time.Millisecond), func() { look(began) })
		w.in(15*time.Second, sample)
	}
	w.in(15*time.Second, sample)
	for w.now.Before(end) {
		a := heap.Pop(&w.todo).(action)
		w.now = a.at
		a.do()
	}
	return out, first
}

func TestSimulation(t *testing.T) {
	long, seeds := 30*time.Minute, uint64(1)
	if os.Getenv("CACHEINV_SOAK") != "" {
		long, seeds = 4*time.Hour, 20
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			for seed := range seeds {
				o, first := simulate(k, seed, long)
				recall := float64(o.found) / float64(o.found+o.missed)
				t.Logf("%d false, %d found, recall %.3f, results %v", o.false, o.found, recall, o.results)
				if o.false > 0 {
					t.Errorf("%d convicted that are not older than the event, or came back and were stored before it, first %s", o.false, first)
				}
				if o.found < 20 || recall < k.least {
					t.Errorf("%d found, recall %.3f", o.found, recall)
				}
			}
		})
	}
}
