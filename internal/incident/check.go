// Package incident has the commands for an incident: check, one report on the consistency of the caches.
package incident

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// ErrUsage says that the command was asked for something that the configuration does not have.
var ErrUsage = errors.New("usage")

const (
	// samplingTime that one sampling of check may take.
	samplingTime = 10 * time.Second
	// searchTime is how long keys of patterns are looked for.
	searchTime = 30 * time.Second
	// DefaultLimit of keys for a pattern that no class matches.
	DefaultLimit = 1000
)

// CheckOptions say what check reads.
type CheckOptions struct {
	// Class to read alone; empty: all.
	Class string
	// Pattern of keys to read instead of the configured ones; empty: none.
	Pattern string
	// Limit of keys from each pattern; 0: the class's sample, or DefaultLimit.
	Limit int
	// Sampler and Probes are handed on; Sampler.ShowValues asks for values.
	Sampler consistency.Options
	Probes  probes.Options
	// Progress is told how many of the keys wanted from patterns were read so far; may be nil.
	Progress func(keys, wanted int)
}

// Check reads what opt asks for and reports. An error that wraps ErrUsage is the user's.
func Check(ctx context.Context, cfg *config.Config, opt CheckOptions, log *slog.Logger) (*Report, error) {
	chosen, err := choose(cfg, opt)
	if err != nil {
		return nil, err
	}
	fleet, err := probes.OpenFleet(chosen, opt.Probes, log)
	if err != nil {
		return nil, fmt.Errorf("opening the nodes: %w", err)
	}
	defer fleet.Close()
	opt.Sampler.Details, opt.Sampler.Probes = true, opt.Probes
	sampler, err := consistency.NewSampler(chosen, fleet, opt.Sampler, consistency.NewHistory(), log)
	if err != nil {
		return nil, fmt.Errorf("opening the canaries: %w", err)
	}
	defer sampler.Close()
	result, err := read(ctx, chosen, sampler, opt)
	if err != nil {
		return nil, err
	}
	return newReport(chosen, result, opt.Sampler.DigestKey)
}

// RunCheck writes Check's report to stdout, as table or json, and gives its exit code.
func RunCheck(ctx context.Context, cfg *config.Config, opt CheckOptions, output string, stdout io.Writer, log *slog.Logger) (int, error) {
	var stop func()
	opt.Progress, stop = progressBar(os.Stderr)
	report, err := Check(ctx, cfg, opt, log)
	stop()
	if err != nil {
		return 0, err
	}
	if output == "json" {
		err = report.JSON(stdout)
	} else {
		err = report.Table(stdout)
	}
	return report.ExitCode(), err
}

// choose narrows the configuration to what is to be read.
func choose(cfg *config.Config, opt CheckOptions) (*config.Config, error) {
	chosen := *cfg
	chosen.Canaries, chosen.Queues, chosen.Versions = nil, nil, nil
	for _, c := range cfg.Canaries {
		if opt.Class != "" && c.Name != opt.Class {
			continue
		}
		if opt.Pattern != "" {
			if opt.Class == "" && !serves(c, opt.Pattern) {
				continue
			}
			c.Keys = slices.DeleteFunc(slices.Clone(c.Keys), func(key string) bool { return !consistency.MatchGlob(opt.Pattern, key) })
			c.Pattern = opt.Pattern
		}
		if opt.Limit > 0 {
			c.Sample = opt.Limit
		}
		chosen.Canaries = append(chosen.Canaries, c)
	}
	switch {
	case len(chosen.Canaries) > 0:
	case opt.Class != "":
		return nil, fmt.Errorf("%w: the configuration has no canary class %q", ErrUsage, opt.Class)
	case opt.Pattern != "":
		chosen.Canaries = []config.Class{everywhere(cfg, opt)}
	default:
		return nil, fmt.Errorf("%w: the configuration has no canaries; write some, or give --pattern", ErrUsage)
	}
	return &chosen, nil
}

// serves reports whether a class's settings are meant for the keys of pattern.
func serves(c config.Class, pattern string) bool {
	if c.Pattern != "" && consistency.MatchGlob(c.Pattern, pattern) {
		return true
	}
	return slices.ContainsFunc(c.Keys, func(key string) bool { return consistency.MatchGlob(pattern, key) })
}

// everywhere is a class of keys that every layer holds under the same name and of which nothing else is known.
func everywhere(cfg *config.Config, opt CheckOptions) config.Class {
	c := config.Class{Name: opt.Pattern, Pattern: opt.Pattern, Sample: opt.Limit}
	if c.Sample == 0 {
		c.Sample = DefaultLimit
	}
	for _, l := range cfg.Layers {
		key, err := config.ParseTemplate("{key}")
		if err != nil {
			panic(err) // it is a constant
		}
		c.Layers = append(c.Layers, config.ClassLayer{Name: l.Name, Key: key, MaxStaleness: l.MaxStaleness})
	}
	return c
}

// sampler is what read needs of *consistency.Sampler.
type sampler interface {
	Sample(ctx context.Context) *consistency.Result
}

// read samples until the keys of all patterns were looked for once, and gives the last sampling.
func read(ctx context.Context, cfg *config.Config, s sampler, opt CheckOptions) (*consistency.Result, error) {
	wanted := 0
	for _, c := range cfg.Canaries {
		if c.Pattern != "" {
			wanted += c.Sample
		}
	}
	began := time.Now()
	for round := 1; ; round++ {
		sampling, cancel := context.WithTimeout(ctx, samplingTime)
		r := s.Sample(sampling)
		cancel()
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("check was interrupted: %w", err)
		}
		found := 0
		for _, c := range r.Classes {
			found += c.SampledKeys
		}
		if opt.Progress != nil {
			opt.Progress(found, wanted)
		}
		// What a step finds is read in the next sampling.
		if found >= wanted || round > steps(r, opt.Sampler.ScanCount) || time.Since(began) > searchTime {
			return r, nil
		}
	}
}

// steps of a SCAN that it takes to walk the largest node.
func steps(r *consistency.Result, count int) int {
	most := 1.0
	for _, n := range r.Nodes {
		if n.Survey.Items.Known && n.Kind == "redis" {
			most = max(most, n.Survey.Items.Value)
		}
	}
	return int(most)/max(count, 1) + 1
}
