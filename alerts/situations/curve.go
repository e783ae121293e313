package situations

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A curve is a value over time; false where there is none.
type curve func(at time.Duration) (float64, bool)

func always(v float64) curve {
	return func(time.Duration) (float64, bool) { return v, true }
}

func never(time.Duration) (float64, bool) { return 0, false }

// orNone and orOne are the curve, or what is usual.
func orNone(c curve) curve { return or(c, 0) }

func orOne(c curve) curve { return or(c, 1) }

func or(c curve, usual float64) curve {
	if c == nil {
		return always(usual)
	}
	return c
}

// from is the curve until then, and the other from then on.
func (c curve) from(then time.Duration, other curve) curve {
	return func(at time.Duration) (float64, bool) {
		if at < then {
			return c(at)
		}
		return other(at)
	}
}

// between is the curve, and the other for a while.
func (c curve) between(from, to time.Duration, other curve) curve {
	return c.from(from, other.from(to, c))
}

// ramp rises by so much a second from a time on; it is never below 0.
func ramp(from time.Duration, start, perSecond float64) curve {
	return func(at time.Duration) (float64, bool) {
		return math.Max(0, start+perSecond*math.Max(0, (at-from).Seconds())), true
	}
}

// inverse is 1 where the curve is 0, and 0 elsewhere.
func inverse(c curve) curve {
	return func(at time.Duration) (float64, bool) {
		if v, ok := c(at); ok && v == 0 {
			return 1, true
		}
		return 0, true
	}
}

// orZero is the curve, and 0 where it has no value.
func (c curve) orZero() curve {
	return func(at time.Duration) (float64, bool) {
		v, _ := c(at)
		return v, true
	}
}

// inTurn is each of the values for a while, and then the first again.
func inTurn(turn time.Duration, values ...float64) curve {
	return func(at time.Duration) (float64, bool) { return values[int(at/turn)%len(values)], true }
}

// tick is what counters are added up by.
const tick = 5 * time.Second

// counted is the counter of what comes at so many a second.
func counted(rate curve) curve {
	var sums []float64 // at each tick
	total := 0.0
	return func(at time.Duration) (float64, bool) {
		for time.Duration(len(sums))*tick <= at {
			sums = append(sums, total)
			if v, ok := rate(time.Duration(len(sums)-1) * tick); ok {
				total += v * tick.Seconds()
			}
		}
		return sums[at/tick], true
	}
}

// since is the counter, or age, of a process that began at the last of these times, or long ago.
func (c curve) since(starts []time.Duration) curve {
	return func(at time.Duration) (float64, bool) {
		v, ok := c(at)
		for _, s := range slices.Backward(starts) {
			if s <= at {
				before, _ := c(s)
				return v - before, ok
			}
		}
		return v, ok
	}
}

// samples are the curve's as promtool writes them: runs of equal values and of equal steps. Where a value ends, Prometheus marks the
// series as stale.
func samples(c curve, step, last time.Duration) string {
	var words []string
	var run []float64
	gap, begun := 0, false
	flushGap := func() {
		if gap > 0 && begun {
			words = append(words, "stale")
			gap--
		}
		if gap > 0 {
			words = append(words, "_x"+strconv.Itoa(gap)) // of "_", there are as many as it says
		}
		gap = 0
	}
	flushRun := func() {
		words = append(words, runs(run)...)
		run = nil
	}
	for at := time.Duration(0); at <= last; at += step {
		v, ok := c(at)
		if !ok {
			flushRun()
			gap++
			continue
		}
		flushGap()
		run, begun = append(run, math.Round(v*1000)/1000), true
	}
	flushRun()
	flushGap()
	return strings.Join(words, " ")
}

// more is promtool's notation for n values in a row: xN are N more than the first.
func more(n int) string { return "x" + strconv.Itoa(n-1) }

// runs are the values as promtool's words.
func runs(v []float64) []string {
	var words []string
	for len(v) > 0 {
		n, step := 1, 0.0
		if len(v) > 1 {
			step = round(v[1] - v[0])
			for n < len(v) && round(v[n]-v[n-1]) == step {
				n++
			}
		}
		word := number(v[0])
		switch {
		case n == 1 || n == 2 && step != 0: // two values are no slope
			n = 1
		case step == 0:
			word += more(n)
		case step > 0:
			word += "+" + number(step) + more(n)
		default:
			word += number(step) + more(n)
		}
		words = append(words, word)
		v = v[n:]
	}
	return words
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
