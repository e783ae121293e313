package collector

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
)

// needySampler has one node, which is up in a sampling that has enough time for it and hangs until the end of others.
type needySampler struct {
	needs time.Duration
	// began gets the time of each sampling, in milliseconds.
	began chan int64
	calls atomic.Int64
}

func (s *needySampler) Sample(ctx context.Context) *consistency.Result {
	s.calls.Add(1)
	end, _ := ctx.Deadline()
	left := time.Until(end)
	if s.began != nil {
		s.began <- left.Milliseconds()
	}
	up := left >= s.needs
	if !up {
		<-ctx.Done()
	}
	return &consistency.Result{Nodes: []consistency.NodeResult{{Identity: identityOf("l2", "redis-1", "redis"), Up: up}}}
}

const upLine = `cacheinv_node_up{kind="redis",layer="l2",node="redis-1"} 1`

// What a request announces is how long it waits; a sampling has a floor and a ceiling.
func TestSamplingHasItsOwnTime(t *testing.T) {
	for header, want := range map[string]int64{
		"0.001": 2000, "1e-300": 2000, "1": 2000, "2.25": 2000, "5": 4750, "": 9750, "-1": 9750, "-Inf": 9750, "NaN": 9750, "x": 9750, "10s": 9750,
		"20": 19750, "60": 30000, "120": 30000, "+Inf": 30000, "1e300": 30000, "1e999": 30000,
	} {
		s := &needySampler{began: make(chan int64, 10)}
		e := testExporter(t, 0, s)
		e.opt.MinDeadline = 2 * time.Second
		scrape(t, e, header)
		if got := <-s.began; got > want || got < want-500 {
			t.Errorf("%q gave its sampling %d ms, want %d", header, got, want)
		}
	}
}

// idle waits until no sampling is under way.
func idle(t *testing.T, e *Exporter) {
	t.Helper()
	poll(t, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.running == nil
	})
}

// An answer that a short request had cut short is given to no longer one, by no path, and takes no better one's place.
func TestCutShort(t *testing.T) {
	s := &needySampler{needs: time.Second}
	e := testExporter(t, time.Hour, s)
	e.opt.MinDeadline = 20 * time.Millisecond
	cut := func() {
		t.Helper()
		before := s.calls.Load()
		scrape(t, e, "0.001")
		poll(t, func() bool { return s.calls.Load() > before })
		idle(t, e)
	}
	cut()
	wantLines(t, scrape(t, e, ""), upLine)
	if n := s.calls.Load(); n != 2 {
		t.Errorf("%d samplings", n)
	}
	wantLines(t, scrape(t, e, "0.001"), upLine) // the better one answers shorter requests too
	e.opt.MinInterval = 0
	cut()
	cut()
	e.opt.MinInterval = time.Hour
	for _, timeout := range []string{"10", "5", "2", "0.001"} {
		body := scrape(t, e, timeout)
		if up := strings.Contains(body, upLine); up != (timeout != "0.001") {
			t.Errorf("a request of %s s: up is %t", timeout, up)
		}
	}
	if n := s.calls.Load(); n != 4 {
		t.Errorf("%d samplings: what is younger than the interval was not given again", n)
	}
}

// A request that joined a shorter one's sampling gets one of its own, however many short ones there are.
func TestLongRequestAmongShortOnes(t *testing.T) {
	s := &needySampler{needs: 3 * time.Second}
	e := testExporter(t, 0, s)
	e.opt.MinDeadline = 100 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	var short sync.WaitGroup
	for range 4 {
		short.Go(func() {
			for ctx.Err() == nil {
				scrape(t, e, "0.001")
			}
		})
	}
	poll(t, func() bool { return s.calls.Load() > 0 })
	var long sync.WaitGroup
	for range 5 {
		long.Go(func() { wantLines(t, scrape(t, e, "20"), upLine) })
	}
	long.Wait()
	stop()
	short.Wait()
}

// A short request after a long one that hangs does not wait for it, and gets the last answer.
func TestShortRequestAfterALongOne(t *testing.T) {
	s := &needySampler{began: make(chan int64, 10)}
	e := testExporter(t, 0, s)
	e.opt.MinDeadline = 100 * time.Millisecond
	wantLines(t, scrape(t, e, "1"), upLine)
	s.needs = time.Hour
	var long sync.WaitGroup
	long.Go(func() { scrape(t, e, "3") })
	<-s.began
	<-s.began
	wantLines(t, scrape(t, e, "0.5"), upLine)
	long.Wait()
}

// However the times of requests follow each other, few samplings are kept, and the one with the most time among them.
func TestRecentSamplings(t *testing.T) {
	var r recentSamplings
	now := time.Now()
	for i := range 100 {
		given := 10*time.Second - time.Duration(i)*50*time.Millisecond
		r = r.add(&snapshot{given: given, hurried: true, ended: now})
		if len(r) > mostRecent || r[0].given != given || r[len(r)-1].given != 10*time.Second {
			t.Fatalf("after %v: %d are kept", given, len(r))
		}
	}
	if r.answer(10*time.Second, time.Hour) == nil || r.answer(11*time.Second, time.Hour) != nil || r.answer(time.Second, time.Hour) != r[0] {
		t.Error("a wrong one answers")
	}
	if r = r.add(&snapshot{given: time.Second, ended: now}); len(r) != 1 || r.answer(30*time.Second, time.Hour) != r[0] {
		t.Errorf("one that was not cut short replaces all: %d are kept", len(r))
	}
	if r = r.add(&snapshot{given: time.Second / 2, hurried: true, ended: now.Add(2 * time.Minute)}); len(r) != 1 {
		t.Errorf("%d are kept, one of them too old for any answer", len(r))
	}
}
