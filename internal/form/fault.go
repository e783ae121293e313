package form

import (
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing wrong in a configuration file.
type Fault struct {
	File string
	Line int
	// Field is a path such as canaries[0].version.json; empty: the file as a whole.
	Field string
	// Message says what is wrong, and what to write instead.
	Message string
}

// Error is FILE:LINE: FIELD: what is wrong; what to write.
func (f Fault) Error() string {
	field := f.Field
	if field != "" {
		field += ": "
	}
	return fmt.Sprintf("%s:%d: %s%s", f.File, f.Line, field, f.Message)
}

// Faults are all faults of a file, in the order of their lines.
type Faults []Fault

// Error has a line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].Error()
	}
	return strings.Join(lines, "\n")
}

var withoutDashes = strings.NewReplacer("_", "", "-", "")

// Nearest gives the known name most like the one written, whatever its case and dashes; empty where none is alike.
func Nearest(name string, known []string) string {
	plain := func(s string) string { return withoutDashes.Replace(strings.ToLower(s)) }
	best, at := "", 1+min(2, len(name)/3) // a short name has too many neighbours
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := distance(plain(name), plain(k)); d < at {
			best, at = k, d
		}
	}
	return best
}

// distance counts the letters to insert, leave out, replace or swap with their neighbour.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			if i == 0 || j == 0 {
				rows[i][j] = i + j
				continue
			}
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
