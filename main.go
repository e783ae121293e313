// Command cacheinv_exporter tells Prometheus whether the copies of cached keys agree, and why not.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"

	"github.com/cacheinv/cacheinv_exporter/collector"
	"github.com/cacheinv/cacheinv_exporter/internal/bundle"
	"github.com/cacheinv/cacheinv_exporter/internal/command"
	"github.com/cacheinv/cacheinv_exporter/internal/demo"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

func main() {
	command.CollectRarely()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// commandLine is the flags of all commands, and those that one command has for itself.
type commandLine struct {
	command.Flags
	scenario, output, form string
	bundle                 bundle.Options
	repair                 command.RepairFlags
	recover                command.RecoverFlags
}

// run a command line and give its exit code: 0, 1 for a failure, 64 for usage or configuration, and the commands' own.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := kingpin.New("cacheinv_exporter", "Tells Prometheus whether the copies of cached keys agree, and why not.")
	app.Version(version.Print("cacheinv_exporter")).UsageWriter(stdout).ErrorWriter(stderr).HelpFlag.Short('h')
	logConfig := &promslog.Config{Writer: stderr}
	promslogflag.AddFlags(app, logConfig)
	line := commandLine{Flags: command.Flags{Backends: backends.All}}
	line.declare(app)

	name, err := app.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "cacheinv_exporter: %v; try --help\n", err)
		return command.ExitUsage
	}
	err = line.Valid()
	switch name {
	case "bundle":
		err = errors.Join(err, line.bundle.Valid())
	case "repair":
		err = errors.Join(err, line.repair.Valid())
	}
	if err != nil {
		fmt.Fprintf(stderr, "cacheinv_exporter: %v\n", err)
		return command.ExitUsage
	}
	code, err := line.do(ctx, name, stdout, promslog.New(logConfig))
	if err != nil {
		return command.ExitCode(err, stderr)
	}
	return code
}

// declare the commands and all flags, in the order in which --help shows them.
func (l *commandLine) declare(app *kingpin.Application) {
	l.Declare(app)
	app.Command("serve", "Serve metrics (the default).").Default()
	shown := app.Command("demo", "Serve metrics of embedded caches, a queue and application instances with traffic.")
	shown.Flag("scenario", "What goes wrong there: "+strings.Join(demo.Scenarios(), ", ")+".").Default(demo.Healthy).EnumVar(&l.scenario, demo.Scenarios()...)
	check := app.Command("check", "Report once how consistent the caches are. Exit code 1: a copy is stale or undecided; "+
		"2: a node was not read, or nothing compared.")
	l.DeclareCheck(check)
	check.Flag("output", "table or json.").Short('o').Default("table").EnumVar(&l.output, "table", "json")
	diagnose := app.Command("diagnose", "Say from two samplings what causes stale data, and what to run next. Exit code 1: a cause stands; "+
		"2: nothing could be sampled.")
	diagnose.Flag("output", "text or json.").Short('o').Default("text").EnumVar(&l.form, "text", "json")
	l.repair.Declare(app.Command("repair", "Repair the stale copies that check finds; without --apply say what would be done. Exit code 3: "+
		"something was not done, or of a plan can't be."))
	l.recover.Declare(app.Command("recover", "End an incident of queues: apply the backlog, delete stale patterns, restart processors, and see that it is over. "+
		"A plan unless --apply. Exit code 1: a step failed; 3: something is not done, and still in the queue."))
	app.Command("check-config", "Validate the configuration file.")
	out := app.Command("bundle", "Write the rules, dashboards and runbooks of this build.")
	out.Flag("out", "Folder to write to; it gets the folders alerts, dashboards and runbooks, and remembers its settings.").StringVar(&l.bundle.Dir)
	out.Flag("set", "A number or name of the rules, such as stale_share=2%; can be repeated.").PlaceHolder("NAME=VALUE").StringsVar(&l.bundle.Set)
	out.Flag("list-settings", "Print all settings with their values, and write nothing.").BoolVar(&l.bundle.List)
	out.Flag("force", "Overwrite files that were changed by hand.").BoolVar(&l.bundle.Force)
	out.Flag("grafana.url", "Where annotations and links find Grafana: the setting grafana_url.").StringsVar(&l.bundle.GrafanaURL)
	out.Flag("runbooks.url", "Where annotations and links find the runbooks: the setting runbooks_url.").StringsVar(&l.bundle.RunbooksURL)
}

// do what a command is for, and give its exit code.
func (l *commandLine) do(ctx context.Context, name string, stdout io.Writer, log *slog.Logger) (int, error) {
	opt, err := l.Options(log)
	if err != nil {
		return 0, err
	}
	switch name {
	case "check-config":
		return 0, command.CheckConfig(l.ConfigFile, opt.Load, stdout)
	case "check":
		return command.Check(ctx, opt.Load, opt.Check, l.output, stdout)
	case "diagnose":
		opt.Exporter.MinInterval = 0 // each of its samplings is a new one
		return command.Diagnose(ctx, collector.New(opt.Exporter), opt.Load, l.form, stdout)
	case "repair":
		l.repair.ConfigFile = l.ConfigFile
		return command.Repair(ctx, opt, l.repair, stdout)
	case "recover":
		recovering, err := l.recover.Options(l.ConfigFile, opt.AuditDir, opt.Exporter.Env)
		if err != nil {
			return 0, err
		}
		return command.Recover(ctx, opt.Load, recovering, l.recover.Output, stdout)
	case "bundle":
		return 0, bundle.Write(l.bundle, stdout)
	case "demo":
		shown := command.DemoOptions{Scenario: l.scenario, FreePort: !opt.AddressGiven, Server: opt.Server, Backends: backends.All}
		return 0, command.Demo(ctx, collector.New(opt.Exporter), shown, stdout, log)
	}
	return 0, command.Serve(ctx, collector.New(opt.Exporter), opt.Server, log)
}
