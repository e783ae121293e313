package demo

import (
	"context"
	"iter"
	"math/rand/v2"
	"time"
)

const (
	writeEvery = 200 * time.Millisecond
	readEvery  = 10 * time.Millisecond
	// readsAtOnce per readEvery: 200 reads a second.
	readsAtOnce = 2

	// Each slowEvery a slow reader begins with a record, and stores it after so many others. By then a first look has found the change in
	// effect, also where a scrape comes each 15 seconds; and the last look is before the record's next turn.
	slowEvery = 2 * time.Second
	slowReads = 15
)

// write updates the hot records in turn, five a second in all, and now and then another one.
func (d *Demo) write(ctx context.Context) {
	var hot []string
	for i := range max(hotUsers, hotProducts) {
		if i < hotUsers {
			hot = append(hot, userKey(i+1))
		}
		if i < hotProducts {
			hot = append(hot, productKey(i+1))
		}
	}
	for n := range turns(ctx, writeEvery) {
		key := hot[n%len(hot)]
		if n%25 == 24 {
			key = userKey(hotUsers + 1 + rand.IntN(users-hotUsers))
		}
		d.queues.publish(ctx, d.site.update(key))
		if n%5 == 1 {
			d.sessions.publish(ctx, d.site.update(sessionKey(1+rand.IntN(sessionsHeld))))
		}
		if n%10 == 2 {
			d.queues.publish(ctx, d.site.update(pageKey(1+rand.IntN(pages))))
		}
	}
}

// read is the application's read traffic.
func (d *Demo) read(ctx context.Context) {
	for range turns(ctx, readEvery) {
		for range readsAtOnce {
			d.readOne()
		}
	}
}

// readOne enters at one of the layers and goes down from there until a cache has the key; what missed it is filled.
// Two in a hundred ask for a user who does not exist.
func (d *Demo) readOne() {
	var key string
	switch n := rand.IntN(100); {
	case n < 2:
		key = userKey(users + 1 + rand.IntN(1000))
	case n < 55:
		key = userKey(1 + rand.IntN(users))
	case n < 65:
		key = sessionKey(1 + rand.IntN(sessionsHeld))
	case n < 75:
		key = pageKey(1 + rand.IntN(pages))
	default:
		key = productKey(1 + rand.IntN(products))
	}
	layers := d.site.layersOf(key)
	first := 0
	switch n := rand.IntN(100); {
	case n < 15:
		first = 2
	case n < 40:
		first = 1
	}
	for _, l := range layers[min(first, len(layers)-1):] {
		c := l.caches[rand.IntN(len(l.caches))]
		if c.lookup(key) {
			return
		}
		d.site.fill(key, l, c)
	}
}

// turns come one after each interval, with their number from 0 on, until ctx is done.
func turns(ctx context.Context, every time.Duration) iter.Seq[int] {
	return func(yield func(int) bool) {
		ticks := time.NewTicker(every)
		defer ticks.Stop()
		for n := 0; ; n++ {
			select {
			case <-ticks.C:
			case <-ctx.Done():
				return
			}
			if !yield(n) {
				return
			}
		}
	}
}

// readSlowly is a reader that has what it read for a long time before it stores it: records that are changed meanwhile come back as
// they were. It reads one every so often, and stores it when it has read so many more. back is called after the first.
func (d *Demo) readSlowly(ctx context.Context, every time.Duration, more int, back func()) {
	type read struct {
		key  string
		body []byte
	}
	var held []read
	for n := range turns(ctx, every) {
		key := userKey(hotUsers + 1 + n%(users-hotUsers))
		body, _ := d.site.record(key)
		held = append(held, read{key, body})
		d.queues.publish(ctx, d.site.update(key))
		if n < more {
			continue
		}
		d.site.putBack(held[0].key, held[0].body)
		held = held[1:]
		if n == more {
			back()
		}
	}
}
