package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/common/version"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/incident"
)

// ExitUsage is the exit code where the command line or the configuration is wrong.
const ExitUsage = 64

// errConfiguration marks what the user has to write otherwise.
var errConfiguration = errors.New("wrong configuration")

// ExitCode for err, which is told on stderr: ExitUsage for usage and configuration, else 1.
func ExitCode(err error, stderr io.Writer) int {
	var faults form.Faults
	if errors.As(err, &faults) {
		fmt.Fprintln(stderr, faults.Error())
		return ExitUsage
	}
	fmt.Fprintf(stderr, "cacheinv_exporter: %v\n", err)
	if errors.Is(err, errConfiguration) || errors.Is(err, incident.ErrUsage) {
		return ExitUsage
	}
	return 1
}

// Start loads the configuration and serves it until ctx ends. It closes the exporter.
func Start(ctx context.Context, exporter Exporter, opt Options, log *slog.Logger) error {
	cfg, err := opt.Load()
	if err == nil {
		err = exporter.Load(cfg)
	}
	if err != nil {
		exporter.Close()
		return fmt.Errorf("%w: %w", errConfiguration, err)
	}
	log.Info("starting cacheinv_exporter", "version", version.Info(), "build", version.BuildContext())
	for _, advice := range cfg.Advice() {
		log.Warn("the configuration could be better", "advice", advice)
	}
	return New(exporter, opt, log).Run(ctx)
}

// Diagnose writes what the exporter says over a configuration file, as text or json, and gives the exit code. It closes
// the exporter.
func Diagnose(ctx context.Context, exporter Exporter, path, output string, stdout io.Writer) (int, error) {
	defer exporter.Close()
	cfg, err := Load(path)
	if err != nil {
		return 0, err
	}
	cfg.Probes = nil // they write, and are a serving exporter's
	if err := exporter.Load(cfg); err != nil {
		return 0, fmt.Errorf("%w: %w", errConfiguration, err)
	}
	return incident.RunDiagnose(ctx, exporter, output, stdout)
}

// Load reads a configuration file. Its error has ExitUsage for an exit code, and a line for each fault.
func Load(path string) (*config.Config, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConfiguration, err)
	}
	return cfg, nil
}

// CheckConfig validates a file; its error is that of Load.
func CheckConfig(path string, stdout io.Writer) error {
	cfg, err := Load(path)
	if err != nil {
		return err
	}
	for _, advice := range cfg.Advice() {
		fmt.Fprintln(stdout, advice)
	}
	fmt.Fprintf(stdout, "%s is valid\n", path)
	return nil
}
