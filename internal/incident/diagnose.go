package incident

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/pause"
)

const (
	// betweenSamplings is the time between the two samplings of a diagnosis: what lasts shows in both.
	betweenSamplings = time.Second
	// samplings of a diagnosis: these two, and one before them in which the keys of patterns are found.
	samplings = 3
)

// Reporter samples everything and says what it points to; *collector.Exporter is one.
type Reporter interface {
	// Report of one sampling; nil where nothing could be sampled in that time.
	Report(ctx context.Context, timeout time.Duration) *diagnosis.Report
}

// Diagnose samples twice, once the keys of patterns are known, and says what that points to. Where copies are stale and no
// cause stands, the verdict is unknown: so short a look does not show what may explain them.
func Diagnose(ctx context.Context, r Reporter) (*diagnosis.Diagnosis, error) {
	d := diagnosis.Diagnose(diagnosis.Evidence{})
	for i := range samplings {
		if i > 0 {
			pause.For(ctx, betweenSamplings) // an interrupted one is told below
		}
		report := r.Report(ctx, samplingTime)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("diagnose was interrupted: %w", err)
		}
		if report != nil {
			d = report.Diagnosis
			if stale := report.Evidence.StaleCopies(); stale > 0 && d.Verdict == diagnosis.None {
				d.Verdict = diagnosis.Nothing
				last := &d.Steps[len(d.Steps)-1]
				last.Evidence = append(slices.Clone(last.Evidence),
					fmt.Sprintf("%d copies are stale, and were seen for too short a time to say why; /status of a running exporter has watched for longer", stale))
			}
		}
	}
	return &d, nil
}

// RunDiagnose writes a diagnosis to stdout, as text or json, and gives its exit code.
func RunDiagnose(ctx context.Context, r Reporter, output string, stdout io.Writer) (int, error) {
	d, err := Diagnose(ctx, r)
	if err != nil {
		return 0, err
	}
	if output == "json" {
		err = WriteJSON(stdout, d)
	} else {
		_, err = io.WriteString(stdout, diagnosisText(d))
	}
	if err != nil {
		return 0, fmt.Errorf("writing the diagnosis: %w", err)
	}
	return diagnosisCode(d), nil
}

// diagnosisCode is diagnose's exit code: 0 nothing is wrong, 1 a cause stands, 2 nothing is known.
func diagnosisCode(d *diagnosis.Diagnosis) int {
	switch d.Verdict {
	case diagnosis.None:
		return 0
	case diagnosis.Nothing:
		return 2
	}
	return 1
}

// WriteJSON writes v for machines and for people's eyes: indented, with < and > as they are.
func WriteJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// headlines of the verdicts: the first thing to read.
var headlines = map[string]string{
	"network": "nodes do not reach each other, or are not reached",
	"queue":   "invalidations wait in a queue, or were lost there",
	"config":  "settings differ that must agree",
	"version": "different versions run at once",
	"logic":   "invalidations fail, go round, never reach some copies, or old values come back",
	"none":    "nothing points to a cause",
	"unknown": "what was seen does not say",
}

// diagnosisText is for a person: the verdict first, then the causes, how it was found, and what to run next.
func diagnosisText(d *diagnosis.Diagnosis) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Verdict: %s (%s)\n", d.Verdict, headlines[d.Verdict])
	for _, c := range d.Causes {
		fmt.Fprintf(&b, "  %-8s %.2f\n", c.Cause, c.Score)
	}
	for _, s := range d.Steps {
		fmt.Fprintf(&b, "\n%s  %s\n", s.Step, s.Title)
		for _, line := range s.Evidence {
			fmt.Fprintf(&b, "   - %s\n", Printable(line))
		}
	}
	fmt.Fprintf(&b, "\nNext:\n  %s\n", Printable(d.Next))
	return b.String()
}
