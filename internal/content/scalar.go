package content

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// text reads a string, from its opening quote, and gives its canonical form, with quotes; it is valid until the next scalar is read.
func (d *document) text() (canonical []byte, ok bool) {
	start := d.at
	for i := start + 1; i < len(d.source); i++ {
		switch c := d.source[i]; {
		case c == '"':
			d.at = i + 1
			return d.source[start:d.at], true
		case c < 0x20:
			return nil, false
		case c == '\\':
			d.made = append(d.made[:0], d.source[start:i]...)
			d.at = i
			ok = d.escaped()
			return d.made, ok
		}
	}
	return nil, false
}

// escaped reads the rest of a string that has escapes, and writes it as RFC 8785 does. A lone surrogate stays an escape:
// so it differs from each other one and from any bytes, and the canonical form of a canonical form is itself. Bytes
// that are no UTF-8 are kept as they are.
func (d *document) escaped() bool {
	for d.at < len(d.source) {
		c := d.source[d.at]
		d.at++
		switch {
		case c == '"':
			d.made = append(d.made, '"')
			return true
		case c < 0x20:
			return false
		case c != '\\':
			d.made = append(d.made, c)
			continue
		}
		e := d.peek()
		d.at++
		switch e {
		case '"', '\\', '/':
			d.made = appendText(d.made, e)
		case 'b':
			d.made = appendText(d.made, '\b')
		case 'f':
			d.made = appendText(d.made, '\f')
		case 'n':
			d.made = appendText(d.made, '\n')
		case 'r':
			d.made = appendText(d.made, '\r')
		case 't':
			d.made = appendText(d.made, '\t')
		case 'u':
			r, ok := hex4(d.source[d.at:])
			if !ok {
				return false
			}
			d.at += 4
			if utf16.IsSurrogate(r) {
				if low, ok := codeUnit(d.source[d.at:]); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
					r = utf16.DecodeRune(r, low)
					d.at += 6
				}
			}
			d.made = appendRune(d.made, r)
		default:
			return false
		}
	}
	return false
}

// codeUnit reads a unit of UTF-16, \uXXXX.
func codeUnit(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	return hex4(b[2:])
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	v := rune(0)
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			v = v<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// appendRune writes a code point, or a lone surrogate, as it stands in a canonical string.
func appendRune(b []byte, r rune) []byte {
	switch {
	case utf16.IsSurrogate(r):
		return strconv.AppendInt(append(b, '\\', 'u'), int64(r), 16)
	case r < utf8.RuneSelf:
		return appendText(b, byte(r))
	}
	return utf8.AppendRune(b, r)
}

// appendText writes bytes as they stand in a canonical string: only what must be escaped is.
func appendText(b []byte, s ...byte) []byte {
	const hex = "0123456789abcdef"
	for _, c := range s {
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			if c < 0x20 {
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			} else {
				b = append(b, c)
			}
		}
	}
	return b
}

// quote gives the canonical form of a text.
func quote(s string) []byte {
	return append(appendText([]byte{'"'}, []byte(s)...), '"')
}

// unescape undoes the escapes of a canonical string without its quotes. A lone surrogate becomes the three bytes that
// UTF-8 would give it if it took surrogates, so that each stays distinct.
func unescape(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			out = append(out, b[i])
			continue
		}
		i++
		switch b[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, _ := hex4(b[i+1:])
			if utf16.IsSurrogate(r) {
				out = append(out, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
			} else {
				out = utf8.AppendRune(out, r)
			}
			i += 4
		default:
			out = append(out, b[i])
		}
	}
	return out
}

// compareNames orders canonical names by UTF-16 code units, as RFC 8785 does; bytes that are no UTF-8 come after all
// else. It gives 0 only for equal names.
func compareNames(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		// Bytes order as UTF-16 does below U+E000, where no escape is involved. The closing quote ends a name.
		if x < 0xEE && y < 0xEE && bytes.IndexByte(a, '\\') < 0 && bytes.IndexByte(b, '\\') < 0 && x != '"' && y != '"' &&
			utf8.Valid(a) && utf8.Valid(b) {
			return int(x) - int(y)
		}
		return compareUnits(a[1:len(a)-1], b[1:len(b)-1])
	}
	return len(a) - len(b)
}

func compareUnits(a, b []byte) int {
	x, y := units{rest: a}, units{rest: b}
	for {
		u, v := x.next(), y.next()
		if u != v || u < 0 {
			return u - v
		}
	}
}

// units walks the UTF-16 code units of a canonical string without its quotes.
type units struct {
	rest []byte
	low  int // second half of a pair, where not 0
}

// next gives a unit, one above all units for a byte that is no UTF-8, or -1 at the end.
func (u *units) next() int {
	if u.low != 0 {
		low := u.low
		u.low = 0
		return low
	}
	if len(u.rest) == 0 {
		return -1
	}
	if u.rest[0] == '\\' {
		if r, ok := codeUnit(u.rest); ok {
			u.rest = u.rest[6:]
			return int(r)
		}
		c := unescape(u.rest[:2])[0]
		u.rest = u.rest[2:]
		return int(c)
	}
	r, size := utf8.DecodeRune(u.rest)
	first := u.rest[0]
	u.rest = u.rest[size:]
	if r == utf8.RuneError && size == 1 {
		return 0x10000 + int(first)
	}
	if r < 0x10000 {
		return int(r)
	}
	high, low := utf16.EncodeRune(r)
	u.low = int(low)
	return int(high)
}

// number reads a number, and gives its canonical form: the digits without zeros at either end, and the power of ten that they are
// multiplied by. It is valid until the next scalar is read.
func (d *document) number() (canonical []byte, ok bool) {
	start := d.at
	n, size := readNumber(d.source[d.at:])
	if size == 0 {
		return nil, false
	}
	d.at += size
	if n.canonical() {
		return d.source[start:d.at], true
	}
	d.made = n.append(d.made[:0])
	return d.made, true
}

// decimal is a number by its parts, as they were written.
type decimal struct {
	negative                  bool
	whole, fraction, exponent []byte // exponent with its sign
}

// readNumber reads a number by JSON's grammar and gives its length; 0: there is none.
func readNumber(b []byte) (decimal, int) {
	var n decimal
	i := 0
	digits := func() []byte {
		start := i
		for i < len(b) && '0' <= b[i] && b[i] <= '9' {
			i++
		}
		return b[start:i]
	}
	if i < len(b) && b[i] == '-' {
		n.negative = true
		i++
	}
	if n.whole = digits(); len(n.whole) == 0 || len(n.whole) > 1 && n.whole[0] == '0' {
		return n, 0
	}
	if i < len(b) && b[i] == '.' {
		i++
		if n.fraction = digits(); len(n.fraction) == 0 {
			return n, 0
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		start := i
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if len(digits()) == 0 {
			return n, 0
		}
		n.exponent = b[start:i]
	}
	return n, i
}

// canonical: the number was written in its canonical form. False may also mean that nobody looked closely.
func (n decimal) canonical() bool {
	if n.fraction != nil || n.exponent != nil {
		return false
	}
	return n.whole[len(n.whole)-1] != '0' || len(n.whole) == 1 && !n.negative
}

// append writes the canonical form. Exponents may be of any length: they are added digit by digit, and never expanded.
func (n decimal) append(b []byte) []byte {
	start := len(b)
	if n.negative {
		b = append(b, '-')
	}
	mark := len(b)
	b = append(append(b, n.whole...), n.fraction...)
	significant := bytes.TrimRight(b[mark:], "0")
	power := int64(len(b)-mark-len(significant)) - int64(len(n.fraction))
	significant = bytes.TrimLeft(significant, "0")
	if len(significant) == 0 {
		return append(b[:start], '0') // -0 too
	}
	b = append(b[:mark], significant...)
	mark = len(b)
	b = appendSum(append(b, 'e'), n.exponent, power)
	if string(b[mark:]) == "e0" {
		return b[:mark]
	}
	return b
}

// appendSum writes the sum of an exponent, as written, and a number of places.
func appendSum(b, exponent []byte, places int64) []byte {
	negative := bytes.HasPrefix(exponent, []byte("-"))
	exponent = bytes.TrimLeft(bytes.TrimLeft(exponent, "+-"), "0")
	if len(exponent) <= 17 {
		e, _ := strconv.ParseInt("0"+string(exponent), 10, 64) // up to 17 digits, checked by the grammar
		if negative {
			e = -e
		}
		return strconv.AppendInt(b, e+places, 10)
	}
	// So far from 0 that the places, fewer than a text has bytes, change no sign.
	carry := places
	if negative {
		b = append(b, '-')
		carry = -carry
	}
	sum := bytes.Clone(exponent)
	for i := len(sum) - 1; i >= 0 && carry != 0; i-- {
		carry += int64(sum[i] - '0')
		digit := (carry%10 + 10) % 10
		sum[i] = byte('0' + digit)
		carry = (carry - digit) / 10
	}
	if carry > 0 {
		return append(strconv.AppendInt(b, carry, 10), sum...)
	}
	return append(b, bytes.TrimLeft(sum, "0")...)
}
