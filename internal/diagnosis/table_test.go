package diagnosis

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the tables of docs/diagnosis.md anew")

const page = "../../docs/diagnosis.md"

// tables as docs/diagnosis.md has them.
func tables() string {
	var b strings.Builder
	b.WriteString("| signal | cause | weight | size | from | full | at first | lasts | means |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range Weights {
		lasts := "at once"
		if s.After > 0 {
			lasts = fmt.Sprintf("2 samplings, %s", s.After)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %v | %s (%s) | %v | %v | %v | %s | %s |\n", s.Name, s.Cause, s.Value, s.Unit, s.Over, s.Start, s.Full, s.Floor, lasts, s.Meaning)
	}
	b.WriteString("\n| limit | value | means |\n|---|---|---|\n")
	for _, l := range Limits {
		fmt.Fprintf(&b, "| `%s` | %v | %s |\n", l.Name, l.Value, l.Meaning)
	}
	return b.String()
}

// TestPage holds the documented tables against the code.
func TestPage(t *testing.T) {
	const begin, end = "<!-- tables: go test ./internal/diagnosis -run TestPage -update -->\n", "<!-- end of tables -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	has, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatal("the page does not say where its tables are")
	}
	if *update {
		if err := os.WriteFile(page, []byte(before+begin+tables()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if has != tables() {
		t.Errorf("docs/diagnosis.md is not what the code says; run with -update. It should have\n%s", tables())
	}
}

// TestTable: the table makes sense by itself.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	of := map[Cause]int{}
	for _, s := range Weights {
		if seen[s.Name] {
			t.Errorf("%s stands twice", s.Name)
		}
		seen[s.Name] = true
		of[s.Cause]++
		if s.Value <= 0 || s.Value > 1 || s.Floor < 0 || s.Floor > 1 || s.Full < s.Start || s.Start <= 0 || s.After < 0 || s.After > time.Minute || s.Meaning == "" {
			t.Errorf("%+v", s)
		}
		before := 0.0
		for k := range 200 {
			v := s.strength(float64(k) * s.Full / 100)
			if v < before || v > 1 {
				t.Errorf("%s: strength %v after %v", s.Name, v, before)
			}
			before = v
		}
		if s.strength(s.Start*0.99) != 0 || s.strength(s.Full) != 1 {
			t.Errorf("%s: %v just below its start, %v at its full size", s.Name, s.strength(s.Start*0.99), s.strength(s.Full))
		}
	}
	for _, c := range Causes {
		if of[c] == 0 {
			t.Errorf("nothing points to %s", c)
		}
	}
	if firstSight.Value >= standing.Value || strongScore.Value <= standing.Value {
		t.Error("a first sight stands, or what is strong does not")
	}
}
