// Package ratio times several variants of one task in one run, turn by turn, so that what disturbs the machine
// disturbs them alike, and tells them as ratios.
//
// A [Variant] is one of them; [Run] tells each as a multiple of the first.
package ratio

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Variant is one way to do the thing.
type Variant struct {
	Name string
	// Do it once; an error ends the benchmark.
	Do func() error
}

// Cost is what a server or a link counted so far.
type Cost struct{ Commands, Bytes, RoundTrips float64 }

// tally of one way.
type tally struct {
	times  []time.Duration
	cpu    time.Duration
	allocs uint64
	cost   Cost
}

// Run the variants in turns, rounds times each an iteration, and report medians, and each as a multiple of the first, the
// reference. cost may be nil.
func Run(b *testing.B, rounds int, cost func() Cost, variants ...Variant) {
	b.Helper()
	tallies := make([]tally, len(variants))
	for _, v := range variants { // connections, caches
		once(b, v, cost, &tally{})
	}
	for b.Loop() {
		for round := range rounds {
			for i := range variants {
				i = (i + round) % len(variants) // no variant is always first
				once(b, variants[i], cost, &tallies[i])
			}
		}
	}
	report(b, variants, tallies, cost != nil)
}

func once(b *testing.B, v Variant, cost func() Cost, t *tally) {
	b.Helper()
	var before, after runtime.MemStats
	var from Cost
	if cost != nil {
		from = cost()
	}
	runtime.ReadMemStats(&before)
	began, used := time.Now(), processorTime()
	err := v.Do()
	took := time.Since(began)
	t.cpu += processorTime() - used
	runtime.ReadMemStats(&after)
	if err != nil {
		b.Fatalf("%s: %v", v.Name, err)
	}
	t.times = append(t.times, took)
	t.allocs += after.Mallocs - before.Mallocs
	if cost != nil {
		to := cost()
		t.cost.Commands += to.Commands - from.Commands
		t.cost.Bytes += to.Bytes - from.Bytes
		t.cost.RoundTrips += to.RoundTrips - from.RoundTrips
	}
}

// processorTime that this process took so far. It says more than the time that passes on a machine that others use.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func report(b *testing.B, variants []Variant, tallies []tally, counted bool) {
	b.Helper()
	var table strings.Builder
	fmt.Fprintf(&table, "%s\n| way | median | of the first | processor time | of the first | allocations |", b.Name())
	if counted {
		table.WriteString(" commands | bytes | round trips |")
	}
	table.WriteString("\n")
	first := median(tallies[0].times)
	for i, v := range variants {
		t := &tallies[i]
		n := float64(len(t.times))
		m := median(t.times)
		ratio := float64(m) / float64(first)
		cpu := t.cpu / time.Duration(len(t.times))
		fmt.Fprintf(&table, "| %s | %v | %.2f | %v | %.2f | %.0f |", v.Name, m.Round(time.Microsecond), ratio, cpu.Round(time.Microsecond),
			float64(t.cpu)/float64(tallies[0].cpu), float64(t.allocs)/n)
		if counted {
			fmt.Fprintf(&table, " %.0f | %.0f | %.0f |", t.cost.Commands/n, t.cost.Bytes/n, t.cost.RoundTrips/n)
		}
		table.WriteString("\n")
		if i > 0 {
			b.ReportMetric(ratio, strings.ReplaceAll(v.Name, " ", "_")+"/"+strings.ReplaceAll(variants[0].Name, " ", "_"))
		}
	}
	b.Log(table.String())
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}
