// Package incident is what a person reads in an incident: Report, one look at the consistency of the caches (check);
// Diagnose, what causes stale data (diagnose); and Status, the same of a running exporter (/status).
package incident

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/glob"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// ErrUsage says that the command was asked for something that the configuration does not have.
var ErrUsage = errors.New("wrong usage")

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
	// Sampler and Env are handed on; Sampler.ShowValues asks for the values of copies that differ.
	Sampler consistency.Options
	Env     *probes.Env
	// Progress is handed how many of the steps through the keyspace were taken; may be nil.
	Progress func(step, steps int)
}

// Look is one reading of the canaries, with the connections that it was made over.
type Look struct {
	// Config is narrowed to what was read.
	Config  *config.Config
	Fleet   *probes.Fleet
	Sampler *consistency.Sampler
	Result  *consistency.Result
}

// Close ends the connections.
func (l *Look) Close() {
	if l.Sampler != nil {
		l.Sampler.Close()
	}
	l.Fleet.Close()
}

// TakeLook reads what opt asks for, key by key. An error that wraps ErrUsage is the user's.
func TakeLook(ctx context.Context, cfg *config.Config, opt CheckOptions) (*Look, error) {
	chosen, err := choose(cfg, opt)
	if err != nil {
		return nil, err
	}
	fleet, err := chosen.OpenFleet(opt.Env)
	if err != nil {
		return nil, fmt.Errorf("opening the nodes: %w", err)
	}
	l := &Look{Config: chosen, Fleet: fleet}
	opt.Sampler.Details = true
	if l.Sampler, err = consistency.NewSampler(chosen, fleet, opt.Sampler, opt.Env, consistency.NewMemory()); err != nil {
		l.Close()
		return nil, fmt.Errorf("opening the canaries: %w", err)
	}
	if l.Result, err = read(ctx, chosen, l.Sampler, opt); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Check reads what opt asks for and reports. An error that wraps ErrUsage is the user's.
func Check(ctx context.Context, cfg *config.Config, opt CheckOptions) (*Report, error) {
	l, err := TakeLook(ctx, cfg, opt)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return newReport(l.Config, l.Result, opt.Sampler.DigestKey)
}

// RunCheck writes Check's report to stdout, as table or json, and gives its exit code.
func RunCheck(ctx context.Context, cfg *config.Config, opt CheckOptions, output string, stdout io.Writer) (int, error) {
	var stop func()
	opt.Progress, stop = ProgressBar(os.Stderr, "looking for keys")
	report, err := Check(ctx, cfg, opt)
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
			c.Keys = slices.DeleteFunc(slices.Clone(c.Keys), func(key string) bool { return !glob.Match(opt.Pattern, key) })
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
		return nil, fmt.Errorf("%w: the configuration has no canary class %q; it has %s", ErrUsage, opt.Class, strings.Join(names(cfg), ", "))
	case opt.Pattern != "":
		chosen.Canaries = []config.Class{everywhere(cfg, opt)}
	default:
		return nil, fmt.Errorf("%w: the configuration has no canaries; write some, or give --pattern", ErrUsage)
	}
	return &chosen, nil
}

func names(cfg *config.Config) []string {
	out := make([]string, 0, len(cfg.Canaries))
	for _, c := range cfg.Canaries {
		out = append(out, strconv.Quote(c.Name))
	}
	return out
}

// serves reports whether a class's settings are meant for the keys of pattern.
func serves(c config.Class, pattern string) bool {
	if c.Pattern != "" && glob.Match(c.Pattern, pattern) {
		return true
	}
	return slices.ContainsFunc(c.Keys, func(key string) bool { return glob.Match(pattern, key) })
}

// everywhere is a class of keys that every layer holds under the same name and of which nothing else is known.
func everywhere(cfg *config.Config, opt CheckOptions) config.Class {
	c := config.Class{Name: opt.Pattern, Pattern: opt.Pattern, Sample: opt.Limit}
	if c.Sample == 0 {
		c.Sample = DefaultLimit
	}
	for _, l := range cfg.Layers {
		key, err := form.ParseTemplate("{key}")
		if err != nil {
			panic(err) // it is a constant
		}
		c.Layers = append(c.Layers, config.ClassLayer{Name: l.Name, Key: key, MaxStaleness: l.MaxStaleness})
	}
	return c
}

// sampler is what read needs of *consistency.Sampler.
type sampler interface {
	Search(ctx context.Context) consistency.Listing
	Sample(ctx context.Context) *consistency.Result
}

// read looks through the keyspace for keys of the patterns, until there are enough or all was looked at, and then reads
// everything once.
func read(ctx context.Context, cfg *config.Config, s sampler, opt CheckOptions) (*consistency.Result, error) {
	wanted := 0
	for _, c := range cfg.Canaries {
		if c.Pattern != "" {
			wanted += c.Sample
		}
	}
	began := time.Now()
	for step, steps := 1, 1; wanted > 0 && step <= steps && time.Since(began) < searchTime && ctx.Err() == nil; step++ {
		search, cancel := context.WithTimeout(ctx, samplingTime)
		listed := s.Search(search)
		cancel()
		steps = int(listed.Largest)/max(opt.Sampler.ScanCount, 1) + 1
		if opt.Progress != nil {
			opt.Progress(step, steps)
		}
		if listed.Keys >= wanted {
			break
		}
	}
	sampling, cancel := context.WithTimeout(ctx, samplingTime)
	defer cancel()
	r := s.Sample(sampling)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("interrupted: %w", err)
	}
	return r, nil
}
