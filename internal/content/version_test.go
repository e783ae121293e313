package content

import (
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestVersionOrder(t *testing.T) {
	nines := strings.Repeat("9", 40)
	for kind, lists := range map[string][][]string{
		// Each list goes up; texts of one place, by commas, are equal.
		"integer": {
			{
				"-1" + nines, "-" + nines, "-9223372036854775809", "-9223372036854775808", "-9223372036854775807", "-10",
				"-9,-9.0,-0.9e1", "-1", "0,-0,+0,00,0.0,0e9", "1,01,+1,1.0",
				"3.0,3,30e-1", "9", "10,1e1,1E+1", "9007199254740992", "9007199254740993", "999999999999999999",
				"1000000000000000000,1e18", "9223372036854775806", "9223372036854775807",
				"9223372036854775808", nines, "1e40", "1" + nines, "1e999",
			},
		},
		"timestamp": {{
			"-1.5", "-1", "0", "0.000000001,1e-9", "1700000000,1.7e9,1700000000.0000000001", "1700000000.5",
			"1700000001", "9223372036.854775807", "9223372036.854775808", "1e20",
		}},
		"timestamp_ms": {{"0", "0.5", "1", "1700000000000", "1700000000000.25", "1700000000001", "1e300"}},
		"rfc3339": {{
			"1500-01-01T00:00:00Z", "1969-12-31T23:59:59Z",
			"1970-01-01T00:00:00Z,1970-01-01T02:00:00+02:00,1969-12-31t19:00:00-05:00", "2024-02-29T12:00:00.1z",
			"2024-02-29T12:00:00.12Z,2024-02-29T12:00:00.120+00:00", "9999-12-31T23:59:59Z",
		}},
		"dotted": {{"0", "1.9", "1.10", "1.10.0", "1.10.2,v1.10.2,V1.10.2,01.10.02", "1.11", "2", "10", "20240101.5", nines}},
	} {
		for _, list := range lists {
			for i, a := range list {
				for j, b := range list {
					for _, x := range strings.Split(a, ",") {
						for _, y := range strings.Split(b, ",") {
							v, w := parseVersion(kind, x), parseVersion(kind, " "+y+"\n")
							if v.IsZero() || w.IsZero() {
								t.Fatalf("%s: %q or %q can't be read", kind, x, y)
							}
							want := 0
							if i < j {
								want = -1
							} else if i > j {
								want = 1
							}
							if v.Compare(w) != want || (v == w) != (want == 0) {
								t.Errorf("%s: %q against %q: %d, equal %t", kind, x, y, v.Compare(w), v == w)
							}
						}
					}
				}
				if v := parseVersion(kind, strings.Split(a, ",")[0]); v.Compare(Version{}) != 1 || (Version{}).Compare(v) != -1 {
					t.Errorf("%s: %q is not above none", kind, a)
				}
			}
		}
	}
}

func TestVersionUnreadable(t *testing.T) {
	for kind, texts := range map[string][]string{
		"integer": {
			"", " ", "-", "+", "+-1", "--1", "1.5", "1e-1", "abc", "0x10", "1_000", "1,000", "true", "1 2", ".5",
			"1.", "NaN", "Infinity", "1e1000", "1e999999999999999999999", strings.Repeat("1", 1001), "１",
		},
		"timestamp":    {"", "now", "2024-01-01T00:00:00Z", "1e999999999", "1e99999999999999999999"},
		"timestamp_ms": {"", "12:00"},
		"rfc3339":      {"", "1700000000", "2024-01-01", "2024-01-01T00:00:00", "2024-13-01T00:00:00Z", "2023-02-29T00:00:00Z"},
		"dotted":       {"", "v", ".", "1.", ".1", "1..2", "1.2-rc1", "1.x", "-1", "1. 2", "vv1", strings.Repeat("1.", 600) + "1"},
	} {
		for _, s := range texts {
			if v := parseVersion(kind, s); !v.IsZero() || v != (Version{}) {
				t.Errorf("%s: %q is %s", kind, s, v)
			}
		}
	}
	for _, s := range []string{"1e-99999999999999999999", "1e-400"} {
		if v := parseVersion("timestamp", s); v != parseVersion("timestamp", "0") {
			t.Errorf("timestamp %s is %s", s, v)
		}
	}
}

func TestVersionTexts(t *testing.T) {
	for _, c := range []struct {
		kind, in, text string
		number         float64
		isNumber       bool
		at             int64 // Unix nanoseconds; 0: no time
	}{
		{"", "1e3", "1000", 1000, true, 0},
		{"integer", "-7", "-7", -7, true, 0},
		{"integer", "-123456789012345678901234567890", "-123456789012345678901234567890", -123456789012345678901234567890, true, 0},
		{"integer", "123456789012345678901234567890", "123456789012345678901234567890", 123456789012345678901234567890, true, 0},
		{"timestamp", "1700000000.25", "2023-11-14T22:13:20.25Z", 1700000000.25, true, 1700000000250000000},
		{"timestamp_ms", "1700000000250", "2023-11-14T22:13:20.25Z", 1700000000.25, true, 1700000000250000000},
		{"rfc3339", "2023-11-15T00:13:20.25+02:00", "2023-11-14T22:13:20.25Z", 1700000000.25, true, 1700000000250000000},
		{"dotted", "v1.010.0", "1.10.0", 0, false, 0},
	} {
		v := parseVersion(c.kind, c.in)
		n, ok := v.Number()
		at, isTime := v.Time()
		if v.String() != c.text || n != c.number || ok != c.isNumber || isTime != (c.at != 0) || isTime && at.UnixNano() != c.at {
			t.Errorf("%s %s: %s %v %t %v %t", c.kind, c.in, v, n, ok, at, isTime)
		}
	}
	if at, ok := parseVersion("rfc3339", "9999-12-31T23:59:59Z").Time(); !ok || at.Year() != 9999 {
		t.Errorf("the year 9999 is %v %t", at, ok)
	}
	if at, ok := parseVersion("timestamp", "1e100").Time(); !ok || !at.After(time.Date(30000, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("far ahead is %v %t", at, ok)
	}
	if _, ok := parseVersion("timestamp", "-1e100").Time(); ok {
		t.Error("long before all clocks is a time")
	}
	if n, ok := (Version{}).Number(); ok || n != 0 || (Version{}).String() != "" {
		t.Error("none is something")
	}
}

func TestVersionAbove(t *testing.T) {
	for _, c := range []struct {
		kind, a, b string
		want       float64
		ok         bool
	}{
		{"integer", "9007199254740993", "9007199254740992", 1, true},
		{"integer", "1", "4", -3, true},
		{"timestamp", "1700000000.000000002", "1700000000", 2e-9, true},
		{"integer", "1" + strings.Repeat("0", 40), "9" + strings.Repeat("9", 39), 1, true},
		{"dotted", "1.2", "1.1", 0, false},
		{"integer", "1", "", 0, false},
	} {
		if got, ok := parseVersion(c.kind, c.a).Above(parseVersion(c.kind, c.b)); got != c.want || ok != c.ok {
			t.Errorf("%s %s above %s: %v %t", c.kind, c.a, c.b, got, ok)
		}
	}
}

func TestIntegersOrderExactly(t *testing.T) {
	draw := rapid.StringMatching(`-?[0-9]{1,24}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		p, _ := new(big.Int).SetString(a, 10)
		q, _ := new(big.Int).SetString(b, 10)
		v, w := parseVersion("integer", a), parseVersion("integer", b)
		if v.Compare(w) != p.Cmp(q) || v.String() != p.String() {
			t.Fatalf("%s (%s) against %s: %d", a, v, b, v.Compare(w))
		}
	})
}
