package consistency

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// A hung node costs only its own.
func TestAHungNodeCostsNoOtherAnything(t *testing.T) {
	for _, c := range []struct {
		name string
		hang func(d *spy)
		most time.Duration // of the 10 s
	}{
		{"in its survey", func(d *spy) { d.surveySlow = -1 }, 5*time.Second + 20*time.Millisecond},
		{"in the first read", func(d *spy) { d.slow[0] = -1 }, 5*time.Second + 20*time.Millisecond},
		{"in the second read", func(d *spy) { d.slow[1] = -1 }, 10 * time.Second},
		{"in both", func(d *spy) { d.slow = [2]time.Duration{-1, -1} }, 5*time.Second + 20*time.Millisecond},
		{"it answers the first read too late", func(d *spy) { d.slow[0] = 6 * time.Second }, 5*time.Second + 20*time.Millisecond},
		{"it answers the second read too late", func(d *spy) { d.slow = [2]time.Duration{4 * time.Second, 7 * time.Second} }, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				w := newWorld(t, "l2: a b e c d")
				c.hang(w.node("d"))
				w.play("a=x b=x e=x c=y d=x -> a=fresh b=fresh c=stale d=error majority")
				if w.took() > c.most {
					t.Errorf("it took %s, not %s", w.took(), c.most)
				}
				for _, n := range w.last.Nodes {
					if n.Name != "d" && (n.Err != nil || n.Took > time.Millisecond) {
						t.Errorf("node %s took %s: %v", n.Name, n.Took, n.Err)
					}
				}
			})
		})
	}
}

func TestManyHungNodesCostNoMoreThanOne(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c 0 1 2 3 4 5 6 7 8 9", versioned)
		for _, name := range strings.Split("0123456789", "") {
			w.node(name).slow[0] = -1
		}
		w.play("a=x@2 b=x@2 c=y@1 -> a=fresh b=fresh c=stale 0=error")
		if w.took() > w.timeout*6/10 {
			t.Errorf("it took %s", w.took())
		}
	})
}

// First reads get at most half of the scrape's time.
func TestFirstReadsGetHalfOfTheTime(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 10 * time.Second, time.Minute} {
		inFakeTime(t, func(t *testing.T) {
			w := newWorld(t, "l2: a b e c d")
			w.timeout = timeout
			w.node("c").slow[0] = timeout/2 - 50*time.Millisecond
			w.node("d").slow[0] = timeout/2 + 50*time.Millisecond
			w.play("a=x b=x e=x c=y d=x -> a=fresh b=fresh c=stale d=error")
			if w.took() > timeout/2+30*time.Millisecond {
				t.Errorf("of %s it took %s", timeout, w.took())
			}
		})
	}
}

func TestASamplingWithoutADeadlineHasTenSeconds(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c d")
		w.node("d").slow = [2]time.Duration{-1, -1}
		w.set("a", "k", "x")
		r := w.sampler.Sample(context.Background())
		if took := r.Ended.Sub(r.Began); took != 5*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// Keys that a node gave before it failed were read, the others were not.
func TestANodeThatFailsHalfWay(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", "keys: [k, same]")
		w.set("a", "same", "x")
		w.set("b", "same", "x")
		w.node("b").twist = func(_ int, name string, r *probes.Raw) {
			if name == "k" {
				*r = probes.Raw{Err: errFrozen}
			}
		}
		w.play("a=x b=x ->")
		if got := w.states("b"); got != [verdict.NumStates]int{verdict.Fresh: 1, verdict.Error: 1} {
			t.Errorf("b has %v", got)
		}
	})
}

// Samplings at the same time wait for each other. (In true time: waiting for a lock does not let fake time go on.)
func TestSamplingsAtOnce(t *testing.T) {
	w := newWorld(t, "l2: a b c", versioned+", "+asking)
	w.opt.RereadDelay = time.Millisecond
	w.reload()
	for _, token := range strings.Fields("a=x@2 b=x@2 c=y@1") {
		w.do(token)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			r := w.sampler.Sample(t.Context())
			if c := r.Classes[0]; c.Nodes[2].Copies[verdict.Stale] != 1 {
				t.Errorf("c has %v", c.Nodes[2].Copies)
			}
		})
	}
	wg.Wait()
}
