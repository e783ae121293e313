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
)

// CollectRarely has the garbage collector run for what a scrape costs in memory and time: when garbagePercent or leastGarbage has
// come together, whichever is more. GOGC in the environment is the user's own word, and counts instead.
func CollectRarely() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(gcPercent(0))
	afterCollection(gcPercent(0))
}

// gcPercent for a live heap of so many bytes. The runtime takes one below 4 MiB for as large as that.
func gcPercent(live uint64) int {
	return int(max(garbagePercent, leastGarbage*100/max(live, 4<<20)))
}

// afterCollection sets the percentage for what the next collection finds alive, and so on after each; last is the one that is set.
func afterCollection(last int) {
	// The cleanup runs after the next collection, since nothing refers to the object.
	runtime.AddCleanup(new([64]byte), func(last int) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		percent := gcPercent(live[0].Value.Uint64())
		if diff := percent - last; diff*diff > last { // setting it stops the process for a moment
			debug.SetGCPercent(percent)
			last = percent
		}
		afterCollection(last)
	}, last)
}
