package simulation

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

var (
	update  = flag.Bool("update", false, "write docs/verdict.md anew")
	explain = flag.Bool("explain", false, "print what was known where a copy was called stale that is right")
	seed    = flag.Uint64("seed", 1, "of all that is random")
	soak    = os.Getenv("CACHEINV_SOAK") != ""
)

// size of a simulation: how long it lasts, in the shop's time, and how many keys are sampled.
type size struct {
	lasts time.Duration
	keys  int
}

// planSize is for the plans with all rules, ruleSize for those without one of them.
func planSize() size {
	if soak {
		return size{10 * time.Hour, 30}
	}
	return size{time.Hour, 12}
}

func ruleSize() size {
	if soak {
		return size{3 * time.Hour, 12}
	}
	return planSize()
}

// env has the command line's limits.
var env = &probes.Env{MaxValueBytes: 1 << 20, MaxBody: 4 << 20, ForgetAfter: 10 * time.Minute}

// configuration of the shop: each key is a class of its own, so that its numbers are of each copy.
func (w *world) configuration() string {
	var b strings.Builder
	var names []string
	b.WriteString("layers:\n")
	for _, l := range w.layers {
		names = append(names, l.name)
		fmt.Fprintf(&b, "  - {name: %s, ttl: %s, max_staleness: %s, nodes: [{name: %s-of-config, redis: {address: \"%s:1\"}}]}\n",
			l.name, l.ttl, l.maxStaleness, l.name, l.name)
	}
	b.WriteString("canaries:\n")
	for _, r := range w.records {
		fmt.Fprintf(&b, "  - {class: %s, keys: [%s], layers: [%s]", r.key, r.key, strings.Join(names, ", "))
		switch {
		case w.plan.clocks:
			b.WriteString(`, version: {json: "$.v", kind: timestamp_ms}`)
		case w.plan.versions:
			b.WriteString(`, version: {json: "$.v"}`)
		}
		if w.plan.origin {
			fmt.Fprintf(&b, `, origin: {max_lag: %s, http: {url: "http://origin.example/{key}"}}`, w.plan.maxLag)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// sampler of the shop, that remembers nothing yet.
func (w *world) sampler(t *testing.T, without verdict.Rule) *consistency.Sampler {
	t.Helper()
	yaml := w.configuration()
	cfg, err := config.Parse("simulation.yml", []byte(yaml), backends.All)
	if err != nil {
		t.Fatalf("%v\n%s", err, yaml)
	}
	for i := range cfg.Canaries {
		if o := cfg.Canaries[i].Origin; o != nil {
			o.Source = originSource{o.Source, w}
		}
	}
	s, err := consistency.NewSampler(cfg, fleet{w}, consistency.Options{
		RereadDelay: 20 * time.Millisecond, ScanCount: 1000, MaxKeySeries: 1000, DigestKey: []byte("a key of a test"), Without: without,
	}, env, consistency.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// play a plan, without some of the rules.
func play(t *testing.T, p plan, without verdict.Rule, size size) *outcome {
	t.Helper()
	var out *outcome
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(p.withDefaults(), size.keys, *seed)
		o := newObserver(w)
		s := w.sampler(t, without)
		next := time.Now()
		end, restart := next.Add(size.lasts), next.Add(p.exporterRestarts)
		for ; next.Before(end); next = next.Add(interval) {
			time.Sleep(time.Until(next))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			result := s.Sample(ctx)
			cancel()
			o.observe(result)
			if p.exporterRestarts > 0 && next.After(restart) {
				s.Close()
				s = w.sampler(t, without)
				restart = restart.Add(p.exporterRestarts)
			}
		}
		s.Close()
		out = o.finish()
	})
	return out
}

// TestShop plays all plans.
func TestShop(t *testing.T) {
	outcomes := make([]*outcome, len(plans))
	t.Run("plans", func(t *testing.T) {
		for i, p := range plans {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				outcomes[i] = play(t, p, 0, planSize())
				outcomes[i].check(t)
			})
		}
	})
	if slices.Contains(outcomes, nil) {
		for _, o := range outcomes {
			if o != nil {
				t.Log("\n" + table([]*outcome{o}))
			}
		}
		return // -run chose some
	}
	t.Log("\n" + table(outcomes))
	if *update && soak {
		writePage(t, "plans", table(outcomes))
	}
}

// TestSeed: what comes of a plan depends on the seed alone.
func TestSeed(t *testing.T) {
	i := slices.IndexFunc(plans, func(p plan) bool { return p.name == "partition-seen" })
	first, second := play(t, plans[i], 0, ruleSize()), play(t, plans[i], 0, ruleSize())
	first.plan, second.plan = nil, nil
	if *first != *second {
		t.Errorf("two plays of one plan differ: %+v and %+v", *first, *second)
	}
}
