// Package command is what the commands of the command line do, and its flags: Flags holds their values and makes the
// options of everything else from them, once. main names the commands and calls what is here.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/common/version"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/demo"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/incident"
	"github.com/cacheinv/cacheinv_exporter/internal/recovery"
	"github.com/cacheinv/cacheinv_exporter/internal/server"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// ExitUsage is the exit code where the command line or the configuration is wrong.
const ExitUsage = 64

// errConfiguration marks what the user has to write otherwise.
var errConfiguration = errors.New("wrong configuration")

// ExitCode for err, which is reported on stderr: ExitUsage for usage and configuration, else 1.
func ExitCode(err error, stderr io.Writer) int {
	var faults form.Faults
	if errors.As(err, &faults) {
		fmt.Fprintln(stderr, faults.Error())
		return ExitUsage
	}
	fmt.Fprintf(stderr, "cacheinv_exporter: %v\n", err)
	if errors.Is(err, errConfiguration) || errors.Is(err, incident.ErrUsage) || errors.Is(err, recovery.ErrUsage) {
		return ExitUsage
	}
	return 1
}

// Loader reads the configuration, such as a file.
type Loader func() (*config.Config, error)

// load gives an error that has ExitUsage for an exit code, and a line for each fault.
func (l Loader) load() (*config.Config, error) {
	cfg, err := l()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConfiguration, err)
	}
	return cfg, nil
}

// Serve loads the configuration and serves it until ctx ends. It closes the exporter.
func Serve(ctx context.Context, exporter server.Exporter, opt server.Options, log *slog.Logger) error {
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
	return server.New(exporter, opt, log).Run(ctx)
}

// DemoOptions of Demo.
type DemoOptions struct {
	// Scenario is what goes wrong there.
	Scenario string
	// FreePort lets it take another port where the one it should listen on is busy.
	FreePort bool
	// Server without a Load: the demo has a configuration of its own.
	Server server.Options
	// Backends that its configuration names.
	Backends []probes.Backend
}

// Demo serves a scenario of the demo's embedded servers until ctx ends. It closes the exporter.
func Demo(ctx context.Context, exporter server.Exporter, opt DemoOptions, stdout io.Writer, log *slog.Logger) error {
	defer exporter.Close()
	listeners, err := Listen(*opt.Server.Web.WebListenAddresses, opt.FreePort)
	if err != nil {
		return err
	}
	d, err := demo.Start(ctx, opt.Scenario, log)
	if err != nil {
		return fmt.Errorf("starting the demo: %w", err)
	}
	defer d.Close()
	fmt.Fprintln(stdout, d.Intro(URL(listeners[0])))
	serving := opt.Server
	serving.Listeners = listeners
	serving.Load = func() (*config.Config, error) { return config.Parse("demo", d.Config(), opt.Backends) }
	return Serve(ctx, exporter, serving, log)
}

// Check writes a report on the consistency of the configured caches, as table or json, and gives the exit code.
func Check(ctx context.Context, load Loader, opt incident.CheckOptions, output string, stdout io.Writer) (int, error) {
	cfg, err := load.load()
	if err != nil {
		return 0, err
	}
	return incident.RunCheck(ctx, cfg, opt, output, stdout)
}

// Diagnose writes what the exporter says over a configuration file, as text or json, and gives the exit code. It closes
// the exporter.
func Diagnose(ctx context.Context, exporter server.Exporter, load Loader, output string, stdout io.Writer) (int, error) {
	defer exporter.Close()
	cfg, err := load.load()
	if err != nil {
		return 0, err
	}
	cfg.RoundTrips = nil // they write, and are a serving exporter's
	if err := exporter.Load(cfg); err != nil {
		return 0, fmt.Errorf("%w: %w", errConfiguration, err)
	}
	return incident.RunDiagnose(ctx, exporter, output, stdout)
}

// CheckConfig validates the file at path, which load reads.
func CheckConfig(path string, load Loader, stdout io.Writer) error {
	cfg, err := load.load()
	if err != nil {
		return err
	}
	for _, advice := range cfg.Advice() {
		fmt.Fprintln(stdout, advice)
	}
	for _, k := range cfg.Canaries {
		if k.Events != nil {
			fmt.Fprintf(stdout, "class %q: %s\n", k.Name, k.Events.Summary())
		}
	}
	fmt.Fprintf(stdout, "%s is valid\n", path)
	return nil
}
