package simulation

import (
	"container/heap"
	"time"
)

// event that is to be carried out; of those at one time the one that was planned first.
type event struct {
	at    time.Time
	order int
	do    func()
}

// events are a heap.
type events []event

func (e events) Len() int { return len(e) }

func (e events) Less(i, j int) bool {
	if e[i].at.Equal(e[j].at) {
		return e[i].order < e[j].order
	}
	return e[i].at.Before(e[j].at)
}

func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }

func (e *events) Pop() any {
	last := len(*e) - 1
	out := (*e)[last]
	*e = (*e)[:last]
	return out
}

// after d, do.
func (w *world) after(d time.Duration, do func()) {
	w.planned++
	heap.Push(&w.events, event{w.clock.Add(d), w.planned, do})
}

// every mean on average, do; 0: never.
func (w *world) every(mean time.Duration, do func()) {
	if mean == 0 {
		return
	}
	w.after(w.around(mean), func() {
		do()
		w.every(mean, do)
	})
}

// catchUp carries out all that is due by now. mu is held.
func (w *world) catchUp() {
	now := time.Now()
	for len(w.events) > 0 && !w.events[0].at.After(now) {
		e := heap.Pop(&w.events).(event)
		w.clock = e.at
		e.do()
	}
	w.clock = now
}

// regularly do, at times that are mean apart, half of it more or less; 0: never.
func (w *world) regularly(mean time.Duration, do func()) {
	if mean == 0 {
		return
	}
	w.after(w.between(mean/2, mean+mean/2), func() {
		do()
		w.regularly(mean, do)
	})
}

// around gives a time that is mean on average, as between events that do not know of each other.
func (w *world) around(mean time.Duration) time.Duration {
	return time.Duration(w.random.ExpFloat64() * float64(mean))
}

// between gives a time from low to high.
func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.random.Float64()*float64(high-low))
}

func (w *world) chance(share float64) bool { return share > 0 && w.random.Float64() < share }
