package command

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// garbagePercent of the live heap may wait to be collected: little, since of a large estate the heap is mostly what the last
	// sampling left behind.
	garbagePercent = 60
	// leastGarbage may wait however small the live heap is. Most estates leave a few megabytes, of which a percentage would have the
	// collector run several times in each scrape.
	leastGarbage = 16 << 20
	// leastLimit of all memory that the runtime holds may be reached before it collects more often than that. What hostile servers make
	// grow all at once is faster than the percentage follows.
	leastLimit = 128 << 20
	// limitPercent of the live heap is the limit where that is more, so that a large estate does not collect without end.
	limitPercent = 140
)

// CollectRarely has the garbage collector run for what a scrape costs in memory and time: when garbagePercent or leastGarbage has
// come together, whichever is more, and before memory becomes more than leastLimit. GOGC and GOMEMLIMIT in the environment are the user's
// own words, and count instead.
func CollectRarely() {
	set := collection{ownPercent: os.Getenv("GOGC") != "", ownLimit: os.Getenv("GOMEMLIMIT") != ""}
	set.fit(0)
	set.afterNext()
}

// collection is how the collector is set, and what of it the user has set.
type collection struct {
	ownPercent, ownLimit bool
	percent              int
	limit                int64
}

// fit to a live heap of so many bytes. Setting either stops the process for a moment, so small changes are left out.
func (c *collection) fit(live uint64) {
	if p := gcPercent(live); !c.ownPercent && (p-c.percent)*(p-c.percent) > c.percent {
		debug.SetGCPercent(p)
		c.percent = p
	}
	if l := memoryLimit(live); !c.ownLimit && (l > c.limit || l < c.limit*9/10) {
		debug.SetMemoryLimit(l)
		c.limit = l
	}
}

// afterNext collection it is fitted to what that found alive, and so on after each.
func (c *collection) afterNext() {
	// The cleanup runs after the next collection, since nothing refers to the object.
	runtime.AddCleanup(new([64]byte), func(c *collection) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		c.fit(live[0].Value.Uint64())
		c.afterNext()
	}, c)
}

// gcPercent for a live heap of so many bytes. The runtime takes one below 4 MiB for as large as that.
func gcPercent(live uint64) int {
	return int(max(garbagePercent, leastGarbage*100/max(live, 4<<20)))
}

// memoryLimit in bytes for a live heap of so many.
func memoryLimit(live uint64) int64 { return int64(max(leastLimit, live/100*limitPercent)) }
