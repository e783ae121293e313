package content

import (
	"bytes"
	"cmp"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Version orders the states of a thing. The zero Version is none, and below every other. Equal versions are ==. Versions
// of different kinds have an order too, but no meaning.
type Version struct {
	// Nearly all versions are an integer or a time that fits here, and need no memory beside it.
	small int64
	// text is the version's kind, alone where small says it all. Behind it stands what orders the others: big integers
	// (small is then the extreme of their sign) and dotted versions (small is 0).
	text string
}

// The kinds of versions, as Version.text begins.
const (
	kindInteger = "i"
	kindTime    = "t" // in nanoseconds
	kindDotted  = "d"
)

// maxDigits of an integer or of a dotted version as a whole: what is longer is no version, and would only use memory.
const maxDigits = 1000

// Compare gives -1, 0 or 1; none is below every version.
func (v Version) Compare(o Version) int {
	if v.text == "" || o.text == "" {
		return cmp.Compare(len(v.text), len(o.text))
	}
	if c := cmp.Compare(v.small, o.small); c != 0 {
		return c
	}
	return strings.Compare(v.text, o.text)
}

// IsZero reports that there is no version.
func (v Version) IsZero() bool { return v.text == "" }

// String is the version for people: integers and dotted versions as digits, times by RFC 3339.
func (v Version) String() string {
	switch {
	case v.text == "":
		return ""
	case v.text[:1] == kindDotted:
		var parts []string
		for rest := v.text[1:]; rest != ""; {
			var digits string
			digits, rest = cutDigits(rest)
			parts = append(parts, digits)
		}
		return strings.Join(parts, ".")
	case v.text == kindTime:
		return time.Unix(0, v.small).UTC().Format(time.RFC3339Nano)
	}
	return v.big().String()
}

// Number is the integer, or seconds since 1970 of a time; false for a dotted version and none. The float is the nearest
// one: take Above for the distance between two.
func (v Version) Number() (float64, bool) {
	if v.text == "" || v.text[:1] == kindDotted {
		return 0, false
	}
	return v.float(v.big()), true
}

// Above says how far v is above o, from their exact values: in versions, or seconds of times; below 0 where o is the
// higher. ok is false for dotted versions, other kinds, and none.
func (v Version) Above(o Version) (distance float64, ok bool) {
	if v.text == "" || o.text == "" || v.text[0] != o.text[0] || v.text[:1] == kindDotted {
		return 0, false
	}
	return v.float(new(big.Int).Sub(v.big(), o.big())), true
}

// float is the float nearest to n in the unit of Number.
func (v Version) float(n *big.Int) float64 {
	unit := big.NewInt(1)
	if v.text[:1] == kindTime {
		unit = big.NewInt(1e9)
	}
	f, _ := new(big.Rat).SetFrac(n, unit).Float64()
	return f
}

// Time of a version of a time kind. One that no clock will reach is given as some time beyond the year 30,000.
func (v Version) Time() (time.Time, bool) {
	switch {
	case v.text == kindTime:
		return time.Unix(0, v.small).UTC(), true
	case v.text == "" || v.text[:1] != kindTime:
		return time.Time{}, false
	case v.small > 0:
		seconds := new(big.Int).Div(v.big(), big.NewInt(1e9))
		if limit := int64(1 << 40); seconds.Cmp(big.NewInt(limit)) > 0 {
			return time.Unix(limit, 0).UTC(), true
		}
		return time.Unix(seconds.Int64(), 0).UTC(), true
	}
	return time.Time{}, false // before 1678
}

// big is the value of an integer or time.
func (v Version) big() *big.Int {
	if len(v.text) == 1 {
		return big.NewInt(v.small)
	}
	b := []byte(v.text[1:])
	if v.small < 0 {
		flip(b)
	}
	digits, _ := cutDigits(string(b))
	n, _ := new(big.Int).SetString(digits, 10) // nothing but digits was ever put there
	if v.small < 0 {
		n.Neg(n)
	}
	return n
}

// appendDigits writes digits so that bytes order as numbers: how many there are, then themselves.
func appendDigits(b []byte, digits string) []byte {
	digits = strings.TrimLeft(digits, "0")
	return append(append(b, byte(len(digits)>>8), byte(len(digits))), digits...)
}

// cutDigits is its inverse.
func cutDigits(s string) (digits, rest string) {
	n := int(s[0])<<8 | int(s[1])
	if n == 0 {
		return "0", s[2:]
	}
	return s[2 : 2+n], s[2+n:]
}

// flip turns the order around.
func flip(b []byte) {
	for i := range b {
		b[i] ^= 0xFF
	}
}

// parseVersion reads text as a version of a kind; the zero Version where it is none.
func parseVersion(kind, s string) Version {
	s = strings.TrimSpace(s)
	switch kind {
	case "timestamp":
		return scaled(kindTime, s, 9)
	case "timestamp_ms":
		return scaled(kindTime, s, 6)
	case "rfc3339":
		at, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s))
		if err != nil {
			return Version{}
		}
		if seconds := at.Unix(); -9e9 < seconds && seconds < 9e9 { // nanoseconds fit
			return Version{small: at.UnixNano(), text: kindTime}
		}
		return scaled(kindTime, strconv.FormatInt(at.Unix(), 10), 9)
	case "dotted":
		return dotted(s)
	}
	return scaled(kindInteger, s, 0)
}

// scaled reads a decimal number times a power of ten. An integer has no fraction; a time drops what is below a
// nanosecond.
func scaled(kind, s string, power int) Version {
	body := s
	if s != "" && (s[0] == '-' || s[0] == '+') {
		body = s[1:]
	}
	if body == "" || body[0] < '0' || body[0] > '9' {
		return Version{}
	}
	// JSON has no leading zeros, versions may.
	for len(body) > 1 && body[0] == '0' && '0' <= body[1] && body[1] <= '9' {
		body = body[1:]
	}
	var scratch [32]byte
	n, size := readNumber(append(scratch[:0], body...))
	if size != len(body) {
		return Version{}
	}
	if len(n.exponent) == 0 && len(n.fraction) == 0 && len(n.whole)+power <= 18 {
		return newVersion(kind, s[0] == '-', n.whole, power)
	}
	digits, exponent, _ := bytes.Cut(n.append(nil), []byte("e"))
	e := 0
	if len(exponent) > 0 {
		var err error
		if e, err = strconv.Atoi(string(exponent)); err != nil {
			if exponent[0] != '-' || kind != kindTime {
				return Version{}
			}
			e = math.MinInt32 // so small a fraction that nothing is left
		}
	}
	if string(digits) == "0" {
		return newVersion(kind, false, nil, 0)
	}
	e += power
	switch {
	case e >= 0:
		return newVersion(kind, s[0] == '-', digits, e)
	case kind == kindInteger:
		return Version{}
	case -e >= len(digits):
		return newVersion(kind, false, nil, 0)
	}
	return newVersion(kind, s[0] == '-', digits[:len(digits)+e], 0)
}

// newVersion is the number of these digits with so many zeros behind them.
func newVersion(kind string, negative bool, digits []byte, zeros int) Version {
	if len(digits) > maxDigits || zeros > maxDigits || len(digits)+zeros > maxDigits {
		return Version{}
	}
	if len(digits)+zeros <= 18 {
		n := int64(0)
		for _, c := range digits {
			n = n*10 + int64(c-'0')
		}
		for range zeros {
			n *= 10
		}
		if negative {
			n = -n
		}
		return Version{small: n, text: kind}
	}
	all := string(digits) + strings.Repeat("0", zeros)
	if negative {
		all = "-" + all
	}
	// The lowest integer is the mark of the big negative ones.
	if n, err := strconv.ParseInt(all, 10, 64); err == nil && n != math.MinInt64 {
		return Version{small: n, text: kind}
	}
	b := appendDigits(make([]byte, 0, len(all)+2), strings.TrimPrefix(all, "-"))
	if negative {
		flip(b)
		return Version{small: math.MinInt64, text: kind + string(b)}
	}
	return Version{small: math.MaxInt64, text: kind + string(b)}
}

// dotted reads 1.10.2, also with a v before it. Of two that begin alike the longer is the higher.
func dotted(s string) Version {
	if s != "" && (s[0] == 'v' || s[0] == 'V') {
		s = s[1:]
	}
	if s == "" || len(s) > maxDigits {
		return Version{}
	}
	b := make([]byte, 0, 32)
	b = append(b, kindDotted...)
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || strings.Trim(part, "0123456789") != "" {
			return Version{}
		}
		b = appendDigits(b, part)
	}
	return Version{text: string(b)}
}
