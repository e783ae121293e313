package content

import (
	"bytes"
	"math"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// earliest time that a message can have been written.
var earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// AheadAtMost is how far a message's clock may be ahead of ours; what is later is no time.
const AheadAtMost = 24 * time.Hour

// TimeOf a number since 1970: of seconds, milli-, micro- or nanoseconds the one that gives a time between 2000 and a day from
// now, and no two do. Zero where none does. It is the one rule for all times of messages.
func TimeOf(n int64) time.Time {
	latest := time.Now().Add(AheadAtMost).Unix()
	for _, perSecond := range []int64{1, 1e3, 1e6, 1e9} {
		if seconds := n / perSecond; seconds >= earliest.Unix() && seconds <= latest {
			return time.Unix(seconds, n%perSecond*(1e9/perSecond)).UTC()
		}
	}
	return time.Time{}
}

// ParseTime reads a number as TimeOf does, also one with a fraction, or a time as in RFC 3339. Zero where it is none.
func ParseTime(s string) time.Time {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return TimeOf(n)
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if math.Abs(f) >= math.MaxInt64 || math.IsNaN(f) {
			return time.Time{}
		}
		if thousandths := f * 1e3; math.Abs(thousandths) < math.MaxInt64 { // they are of the next smaller unit
			if at := TimeOf(int64(math.Round(thousandths))); !at.IsZero() {
				return at
			}
		}
		return TimeOf(int64(f))
	}
	if at, ok := ReadVersionOf("rfc3339", s).Time(); ok && !at.Before(earliest) && !at.After(time.Now().Add(AheadAtMost)) {
		return at
	}
	return time.Time{}
}

// longestWord that is taken for a key where a message is no JSON, in bytes: memcached's longest key.
const longestWord = 250

// IsWord reports whether a message can be a key as it is. Text that only looks like JSON is none.
func IsWord(b []byte) bool {
	if len(b) == 0 || len(b) > longestWord || b[0] == '"' || !utf8.Valid(b) || bracketed(b) {
		return false
	}
	return !bytes.ContainsFunc(b, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) })
}
