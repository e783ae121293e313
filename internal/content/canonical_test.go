package content

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// canonical gives the canonical form of a JSON text; false where it does not parse.
func canonical(doc []byte) ([]byte, bool) {
	d := newDocument()
	defer d.release()
	if _, ok := d.canonical(doc, nil, false); !ok {
		return nil, false
	}
	return bytes.Clone(d.out), true
}

func TestCanonical(t *testing.T) {
	long := strings.Repeat("9", 30)
	rfc8785 := `{"\r":2,"1":4,"` + "\u0080" + `":6,"ö":7,"€":1,"😀":5,"` + "\ufb33" + `":3}`
	for in, want := range map[string]string{
		// White space, order, duplicates.
		" {\t\"b\" :1 ,\r\n\"a\": [ 1 , 2 ] } ": `{"a":[1,2],"b":1}`,
		`{"a":1,"b":2,"a":3}`:                   `{"a":3,"b":2}`,
		`{"a":1,"\u0061":null}`:                 `{"a":null}`,
		`[2,1]`:                                 `[2,1]`,
		`{}`:                                    `{}`,
		`[ ]`:                                   `[]`,
		`[{},[],""]`:                            `[{},[],""]`,
		`{"":1}`:                                `{"":1}`,
		`[true,false,null]`:                     `[true,false,null]`,
		// RFC 8785's own example of order, with its names.
		`{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}`: rfc8785,
		`{"a!":1,"a":2,"a\"":3," ":4}`: `{" ":4,"a":2,"a!":1,"a\"":3}`,
		`{"\u005c":1,"[":2,"]":3}`:     `{"[":2,"\\":1,"]":3}`,
		// Strings.
		`["\u0041\/\b\f\n\r\t\"\\\u0000\u001F\u007f"]`: `["A/\b\f\n\r\t\"\\\u0000\u001f` + "\x7f" + `"]`,
		`["\uD83D\uDE00"]`:       `["😀"]`,
		`["\uD83D"]`:             `["\ud83d"]`,
		`["\uDE00\uD83D"]`:       `["\ude00\ud83d"]`,
		`["\uD83D\uD83D\uDE00"]`: `["\ud83d😀"]`,
		`["\uD83Dx"]`:            `["\ud83dx"]`,
		"[\"\xff\xed\xa0\x80\"]": "[\"\xff\xed\xa0\x80\"]",
		"[\"\\n\xff\"]":          "[\"\\n\xff\"]",
		// Numbers.
		`[1,1.0,1e0,10e-1,0.1e1,1E+0,100e-2,1e00]`: `[1,1,1,1,1,1,1,1]`,
		`[0,-0,0.0,-0.0e7,0e999999999999999999]`:   `[0,0,0,0,0]`,
		`[100,1e2,-120,-1.5,0.001]`:                `[1e2,1e2,-12e1,-15e-1,1e-3]`,
		`[9007199254740993,9007199254740992]`:      `[9007199254740993,9007199254740992]`,
		`[1e999999999,10e999999998]`:               `[1e999999999,1e999999999]`,
		`[1e` + long + `,10e` + long + `]`:         `[1e` + long + `,1e1` + strings.Repeat("0", 30) + `]`,
		`[1.5e1` + strings.Repeat("0", 20) + `]`:   `[15e` + strings.Repeat("9", 20) + `]`,
		`[10e-1` + strings.Repeat("0", 20) + `]`:   `[1e-` + strings.Repeat("9", 20) + `]`,
		`[0.1e-` + long + `]`:                      `[1e-1` + strings.Repeat("0", 30) + `]`,
		`[1e-00000000000000000000000000002]`:       `[1e-2]`,
		`[10e-00000000000000000000000000001]`:      `[1]`,
		// Scalars are JSON texts too.
		`"a"`: `"a"`, `1.0`: `1`, `null`: `null`,
	} {
		got, ok := canonical([]byte(in))
		if !ok || string(got) != want {
			t.Errorf("%q: got %q %t, want %q", in, got, ok, want)
		}
		if again, _ := canonical(got); !bytes.Equal(again, got) {
			t.Errorf("%q: canonical twice gives %q", in, again)
		}
	}
}

func TestNotJSON(t *testing.T) {
	for _, in := range []string{
		``, ` `, `{`, `[`, `{]`, `[}`, `[1,]`, `[,1]`, `[1 2]`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{'a':1}`,
		`{"a":1}x`, `[] []`,
		`[01]`, `[-]`, `[+1]`, `[.5]`, `[1.]`, `[1e]`, `[1e+]`, `[-01]`, `[00]`, `[0x1]`, `[NaN]`, `[Infinity]`, `[-Infinity]`,
		`[1_000]`,
		`[tru]`, `[True]`, `[nul]`, `[nulls]`, `["a]`, `["\x"]`, `["\u12"]`, `["\u12g4"]`, `["\ud83d\u12"]`, "[\"\n\"]",
		"[\"\\a\"]", "[\"a\\", "[\"\\n\n\"]",
		"\ufeff{}", "[1]\x00", "\v[]", "[\u00a0]", `/*c*/[]`, `[1]//`, "[\"\x1f\"]", `["\u`, `["\ud83d\`,
	} {
		if got, ok := canonical([]byte(in)); ok {
			t.Errorf("%q parses as %q", in, got)
		}
	}
}

func TestDepth(t *testing.T) {
	for depth, want := range map[int]bool{maxDepth: true, maxDepth + 1: false, 1_000_000: false} {
		if _, ok := canonical([]byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))); ok != want {
			t.Errorf("depth %d parses: %t", depth, ok)
		}
		if _, ok := canonical([]byte(strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth))); ok != want {
			t.Errorf("depth %d of objects parses: %t", depth, ok)
		}
	}
	if _, ok := canonical([]byte("[" + strings.Repeat("[],", 2*maxDepth) + "[]]")); !ok {
		t.Error("width counts as depth")
	}
}

// jsonText draws a JSON text, and another of the same meaning.
func jsonText(t *rapid.T, depth int) (a, b string) {
	space := func() string { return rapid.SampledFrom([]string{"", " ", "\n\t", "\r\n"}).Draw(t, "space") }
	name := func() (string, string) {
		s := rapid.StringOfN(rapid.RuneFrom([]rune("ab\"\\/\n\x01é€😀\ufb33")), 0, 4, -1).Draw(t, "string")
		plain, _ := json.Marshal(s)
		var escaped strings.Builder
		for _, r := range s {
			if r > 0xFFFF {
				fmt.Fprintf(&escaped, `\u%04X\u%04x`, 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF)
			} else {
				fmt.Fprintf(&escaped, `\u%04x`, r)
			}
		}
		return string(plain), `"` + escaped.String() + `"`
	}
	kinds := 5
	if depth == 0 {
		kinds = 3
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		s := rapid.SampledFrom([]string{"true", "false", "null"}).Draw(t, "literal")
		return s, s
	case 1:
		n := rapid.Int64().Filter(func(n int64) bool { return n != 0 }).Draw(t, "number")
		zeros := rapid.IntRange(0, 5).Draw(t, "zeros")
		return fmt.Sprintf("%d", n), fmt.Sprintf("%d%se-%d", n, strings.Repeat("0", zeros), zeros)
	case 2:
		return name()
	case 3:
		n := rapid.IntRange(0, 4).Draw(t, "items")
		var x, y []string
		for range n {
			v, w := jsonText(t, depth-1)
			x, y = append(x, v), append(y, space()+w+space())
		}
		return "[" + strings.Join(x, ",") + "]", "[" + space() + strings.Join(y, ",") + "]"
	}
	n := rapid.IntRange(0, 4).Draw(t, "members")
	seen := map[string]bool{}
	var x, y []string
	for range n {
		k, l := name()
		if seen[l] {
			continue
		}
		seen[l] = true
		v, w := jsonText(t, depth-1)
		x, y = append(x, k+":"+v), append(y, space()+l+space()+":"+space()+w)
	}
	if len(y) > 1 {
		y = rapid.Permutation(y).Draw(t, "order")
	}
	return "{" + strings.Join(x, ",") + "}", "{" + strings.Join(y, ",") + space() + "}"
}

func TestSameMeaningSameForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := jsonText(t, 4)
		x, ok := canonical([]byte(a))
		y, ok2 := canonical([]byte(b))
		if !ok || !ok2 || !bytes.Equal(x, y) {
			t.Fatalf("%s (%t) and %s (%t) give %s and %s", a, ok, b, ok2, x, y)
		}
	})
}

// TestNumbersExactly compares with exact arithmetic: equal forms where numbers are equal, and only there.
func TestNumbersExactly(t *testing.T) {
	draw := rapid.StringMatching(`-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,4})?([eE][+-]?0{0,20}[0-9]{1,2})?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		x, ok := canonical([]byte(a))
		y, ok2 := canonical([]byte(b))
		if !ok || !ok2 {
			t.Fatalf("%s or %s does not parse", a, b)
		}
		var p, q, r big.Rat
		p.SetString(a)
		q.SetString(b)
		r.SetString(string(x))
		if p.Cmp(&r) != 0 {
			t.Fatalf("%s became %s", a, x)
		}
		if p.Cmp(&q) == 0 != bytes.Equal(x, y) {
			t.Fatalf("%s and %s give %s and %s", a, b, x, y)
		}
	})
}

// TestNameOrder: a strict order whatever the bytes, equal only for equal names.
func TestNameOrder(t *testing.T) {
	draw := rapid.SliceOfN(rapid.SampledFrom([]string{
		"a", "!", " ", "\x7f", "é", "€", "\ud7ff", "\ue000", "\uffff", "😀", "\xff", "\xed\xa0\x80", "\xee", `\"`, `\\`, `\n`,
		`\u0001`, `\ud800`, `\udc00`,
	}), 0, 4)
	name := func(t *rapid.T) []byte {
		s, ok := canonical([]byte(`"` + strings.Join(draw.Draw(t, "name"), "") + `"`))
		if !ok {
			t.Fatal("does not parse")
		}
		return s
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := name(t), name(t), name(t)
		if (compareNames(a, b) == 0) != bytes.Equal(a, b) || (compareNames(a, b) < 0) != (compareNames(b, a) > 0) {
			t.Fatalf("%q and %q: %d, %d", a, b, compareNames(a, b), compareNames(b, a))
		}
		if compareNames(a, b) < 0 && compareNames(b, c) < 0 && compareNames(a, c) >= 0 {
			t.Fatalf("%q < %q < %q is no order", a, b, c)
		}
	})
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{
		`{"b":[1.50,-0,1e999999999],"a":{"\ud800":"\u0000\/"},"a":null}`, `[1e-99999999999999999999]`,
		"[\"\xff\\ud83d\\ude00\"]", `{"a!":1,"a":2}`, `[`,
		strings.Repeat("[", 1001), `"x"`, `{"\ud83d\ude00":1,"` + "\xee\x80\x80" + `":2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		a, ok := canonical(doc)
		if !ok {
			return
		}
		if !json.Valid(doc) {
			t.Fatalf("%q is not JSON", doc)
		}
		b, ok := canonical(a)
		if !ok || !bytes.Equal(a, b) {
			t.Fatalf("%q gives %q, and that %q", doc, a, b)
		}
	})
}
