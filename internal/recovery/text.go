package recovery

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// JSON writes the report as one object.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// Text writes the report for a person: what came of it first, then the steps, then what is left and what to run next.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	depth := "unknown"
	if r.Depth != nil {
		depth = fmt.Sprint(*r.Depth)
	}
	fmt.Fprintf(&b, "%s: %s recovery, depth %s, %.1f s\n", r.headline(), r.Strategy, depth, r.Seconds)
	for _, s := range r.Steps {
		took := ""
		if s.Seconds != nil {
			took = fmt.Sprintf("%.1f s", *s.Seconds)
		}
		b.WriteString("\n" + strings.TrimRight(fmt.Sprintf("%-16s %-10s %s", s.Step, s.Status, took), " ") + "\n")
		for _, line := range s.Notes {
			b.WriteString("   - " + strings.ReplaceAll(printable(line), "\n", "\n     ") + "\n")
		}
	}
	if len(r.NotDone) > 0 {
		b.WriteString("\nNot done:\n")
	}
	for _, n := range r.NotDone {
		fmt.Fprintf(&b, "   - %s: %s\n     %s\n", printable(n.What), strings.ReplaceAll(printable(n.Why), "\n", "\n     "), printable(n.Advice))
	}
	if r.Audit != nil {
		fmt.Fprintf(&b, "\nAudit log: %s\n", *r.Audit)
	} else if r.Applied {
		b.WriteString("\nNo audit log was written; --audit.dir=DIR gets one.\n")
	}
	if r.Next != nil {
		fmt.Fprintf(&b, "\nNext:\n  %s\n", *r.Next)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func (r *Report) headline() string {
	switch {
	case !r.Applied && r.ExitCode == ExitLeft:
		return "Plan, of which a part can't be done now (nothing was changed)"
	case !r.Applied:
		return "Plan (nothing was changed)"
	case r.Interrupted:
		return "Interrupted"
	case r.ExitCode == ExitLeft:
		return "Not all was done"
	case r.ExitCode == ExitFailed:
		return "All was applied, but a step failed"
	}
	return "Done"
}

// printable text: what servers and programs said must not command a terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || unicode.IsPrint(c) {
			return c
		}
		return '\ufffd'
	}, s)
}
