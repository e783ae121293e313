package collector

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

var repairs = counter("repairs_total",
	"Copies with which the command repair had to do, by what came of it, since the exporter's start; from the audit logs in --audit.dir, "+
		"whichever process wrote them.", "strategy", "outcome")

// The values of the labels: what the command writes into its audit log. Another one is not counted.
var (
	repairStrategies = []string{"majority", "newest", "origin", "delete", "refresh", "undo"}
	repairOutcomes   = []string{"repaired", "requested", "changed", "unchanged", "failed", "not_repaired"}
)

// Bounds of what is read in one sampling.
const (
	mostAuditFiles = 10_000
	mostAuditBytes = 8 << 20
	mostAuditLine  = 64 << 10
)

// newRepairSignal counts over all configurations, from the lines on that were there when the process began.
func newRepairSignal(opt Options) Opener {
	if opt.AuditDir == "" {
		return func(*Setup) (Collector, error) { return nil, nil }
	}
	c := &repairCollector{dir: opt.AuditDir, read: map[string]int64{}, counts: map[[2]string]float64{}}
	c.skip()
	return func(*Setup) (Collector, error) { return c, nil }
}

// repairCollector counts the lines that repairs add to their audit logs.
type repairCollector struct {
	dir string
	// read is how far each file was read, in bytes.
	read   map[string]int64
	counts map[[2]string]float64 // by strategy and outcome
}

// files of the folder that hold audit logs, the oldest first; one that does not exist has none.
func (c *repairCollector) files() ([]string, error) {
	names, err := filepath.Glob(filepath.Join(c.dir, "audit-*.jsonl")) // a pattern in the folder's own name is nobody's
	if err != nil {
		return nil, fmt.Errorf("looking into --audit.dir: %w", err)
	}
	slices.Sort(names)
	return names[max(0, len(names)-mostAuditFiles):], nil
}

// skip what is there already.
func (c *repairCollector) skip() {
	names, err := c.files()
	if err != nil {
		return // Update tells it
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			c.read[name] = info.Size()
		}
	}
}

// Update implements Collector. All series are there from the beginning, so that the first repair is an increase.
func (c *repairCollector) Update(ctx context.Context, _ *Sampling, ch chan<- prometheus.Metric) error {
	names, err := c.files()
	errs := []error{err}
	left := int64(mostAuditBytes)
	for _, name := range names {
		if ctx.Err() != nil || left <= 0 {
			break // the next sampling goes on
		}
		n, err := c.follow(name, left)
		left -= n
		errs = append(errs, err)
	}
	if err == nil {
		for name := range c.read {
			if _, found := slices.BinarySearch(names, name); !found {
				delete(c.read, name)
			}
		}
	}
	for _, s := range repairStrategies {
		for _, o := range repairOutcomes {
			repairs.send(ch, c.counts[[2]string{s, o}], s, o)
		}
	}
	return errors.Join(errs...)
}

// follow counts the whole lines that a file got since it was last read, up to a number of bytes, and gives how many those were.
func (c *repairCollector) follow(name string, most int64) (n int64, err error) {
	info, err := os.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() == c.read[name] {
		return 0, ignoreGone(err)
	}
	if info.Size() < c.read[name] {
		c.read[name] = 0 // it is another file
	}
	f, err := os.Open(name)
	if err != nil {
		return 0, ignoreGone(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Seek(c.read[name], io.SeekStart); err != nil {
		return 0, fmt.Errorf("reading an audit log: %w", err)
	}
	r := bufio.NewReaderSize(io.LimitReader(f, most), mostAuditLine)
	for whole := true; ; {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull): // no line of ours is as long
			n, whole = n+int64(len(line)), false
			continue
		case errors.Is(err, io.EOF): // what is left has no end yet
			c.read[name] += n
			return n, nil
		case err != nil:
			return n, fmt.Errorf("reading an audit log: %w", err)
		}
		n += int64(len(line))
		if whole {
			c.count(line)
		}
		whole = true
	}
}

func ignoreGone(err error) error {
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("reading an audit log: %w", err)
}

// count a line, if it is of a repair. Other commands and later versions write other lines.
func (c *repairCollector) count(line []byte) {
	var entry struct{ Command, Strategy, Outcome string }
	if json.Unmarshal(line, &entry) != nil || entry.Command != "repair" {
		return
	}
	if slices.Contains(repairStrategies, entry.Strategy) && slices.Contains(repairOutcomes, entry.Outcome) {
		c.counts[[2]string{entry.Strategy, entry.Outcome}]++
	}
}
