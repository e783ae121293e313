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
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	webflag "github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/cacheinv/cacheinv_exporter/collector"
	"github.com/cacheinv/cacheinv_exporter/internal/bundle"
	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/demo"
	"github.com/cacheinv/cacheinv_exporter/internal/incident"
	"github.com/cacheinv/cacheinv_exporter/internal/server"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(60) // most of the heap is what the last sampling left behind
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command is the command line.
type command struct {
	configFile, keyFile string
	addressGiven        bool
	maxValue, maxBody   units.Base2Bytes
	exporter            collector.Options
	server              server.Options
	check               incident.CheckOptions
	bundle              bundle.Options
	log                 *slog.Logger
}

// run a command line and give its exit code: 0, 1 for a failure, 64 for usage or configuration, and the commands' own.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := kingpin.New("cacheinv_exporter", "Tells Prometheus whether the copies of cached keys agree, and why not.")
	app.Version(version.Print("cacheinv_exporter")).UsageWriter(stdout).ErrorWriter(stderr).HelpFlag.Short('h')
	logConfig := &promslog.Config{Writer: stderr}
	promslogflag.AddFlags(app, logConfig)
	var c command
	c.flags(app)
	app.Command("serve", "Serve metrics (the default).").Default()
	demoCommand := app.Command("demo", "Serve metrics of embedded caches, a queue and application instances with traffic.")
	scenario := demoCommand.Flag("scenario", "What goes wrong there: "+strings.Join(demo.Scenarios(), ", ")+".").Default(demo.Healthy).Enum(demo.Scenarios()...)
	check := app.Command("check", "Report once how consistent the caches are. Exit code 1: a copy is stale or undecided; "+
		"2: a node was not read, or nothing compared.")
	check.Flag("class", "Canary class to read; without it all.").StringVar(&c.check.Class)
	check.Flag("pattern", "Glob of keys to read instead of the configured ones.").StringVar(&c.check.Pattern)
	check.Flag("limit", "Most keys to read of each pattern; 0: the class's sample, or 1000.").IntVar(&c.check.Limit)
	check.Flag("show-values", "Tell the values of copies that differ.").BoolVar(&c.check.Sampler.ShowValues)
	output := check.Flag("output", "table or json.").Short('o').Default("table").Enum("table", "json")
	diagnose := app.Command("diagnose", "Say from two samplings what causes stale data, and what to run next. Exit code 1: a cause stands; "+
		"2: nothing could be sampled.")
	form := diagnose.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json")
	app.Command("check-config", "Validate the configuration file.")
	out := app.Command("bundle", "Write the rules, dashboards and runbooks of this build.")
	out.Flag("out", "Folder to write to; it gets the folders alerts, dashboards and runbooks.").Required().StringVar(&c.bundle.Dir)
	out.Flag("force", "Overwrite files that differ.").BoolVar(&c.bundle.Force)
	out.Flag("grafana.url", "Where annotations and links find Grafana.").Default(bundle.GrafanaURL).StringVar(&c.bundle.GrafanaURL)
	out.Flag("runbooks.url", "Where annotations and links find the runbooks.").Default(bundle.RunbooksURL).StringVar(&c.bundle.RunbooksURL)

	name, err := app.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "cacheinv_exporter: %v; try --help\n", err)
		return server.ExitUsage
	}
	err = c.valid()
	if name == "bundle" {
		err = errors.Join(err, c.bundle.Valid())
	}
	if err != nil {
		fmt.Fprintf(stderr, "cacheinv_exporter: %v\n", err)
		return server.ExitUsage
	}
	c.log = promslog.New(logConfig)
	if c.exporter.Sampler.DigestKey, err = server.ReadKey(c.keyFile); err != nil {
		return server.ExitCode(err, stderr)
	}
	c.exporter.Probes.MaxValueBytes, c.exporter.Probes.MaxBody = int64(c.maxValue), int64(c.maxBody)
	c.exporter.Probes.Budget, c.exporter.Probes.Kept = probes.NewBudget(), probes.NewKept()
	code := 0
	switch name {
	case "check-config":
		err = server.CheckConfig(c.configFile, stdout)
	case "check":
		code, err = c.runCheck(ctx, *output, stdout)
	case "diagnose":
		c.exporter.MinInterval = 0
		code, err = server.Diagnose(ctx, collector.New(c.exporter, c.log), c.configFile, *form, stdout)
	case "bundle":
		err = bundle.Write(c.bundle, stdout)
	case "demo":
		err = c.runDemo(ctx, *scenario, stdout)
	default:
		c.server.Load = func() (*config.Config, error) { return config.Load(c.configFile) }
		err = server.Start(ctx, collector.New(c.exporter, c.log), c.server, c.log)
	}
	if err != nil {
		return server.ExitCode(err, stderr)
	}
	return code
}

// flags of all commands.
func (c *command) flags(app *kingpin.Application) {
	app.Flag("config.file", "Configuration file.").Default("cacheinv.yml").StringVar(&c.configFile)
	c.server.Web = webflag.AddFlags(app, ":10120")
	app.GetFlag("web.listen-address").IsSetByUser(&c.addressGiven)
	app.Flag("web.telemetry-path", "Path of the metrics.").Default("/metrics").StringVar(&c.server.TelemetryPath)
	app.Flag("web.enable-lifecycle", "Allow to reload the configuration through /-/reload.").BoolVar(&c.server.Lifecycle)
	e := &c.exporter
	app.Flag("scrape.timeout-offset", "What is left of a scrape's timeout for the answer.").Default("250ms").DurationVar(&e.TimeoutOffset)
	app.Flag("scrape.min-interval", "Time after a sampling in which its answer is given again.").Default("500ms").DurationVar(&e.MinInterval)
	app.Flag("canary.reread-delay", "Time between the two reads of a key.").Default("20ms").DurationVar(&e.Sampler.RereadDelay)
	app.Flag("canary.max-key-series", "Most keys of a class with a series of their own.").Default("1000").IntVar(&e.Sampler.MaxKeySeries)
	app.Flag("canary.scan-count", "COUNT of a SCAN step.").Default("1000").IntVar(&e.Sampler.ScanCount)
	app.Flag("canary.max-value-bytes", "Largest value that is read.").Default("1MiB").BytesVar(&c.maxValue)
	app.Flag("queue.sample", "Newest messages of a queue to look at for storms and loops; 0: none.").Default("1000").IntVar(&e.Probes.SampleMessages)
	app.Flag("queue.stall-window", "Time without a commit after which a group with lag is stalled.").Default("60s").DurationVar(&e.StallWindow)
	app.Flag("http.max-body", "Largest HTTP body that is read.").Default("4MiB").BytesVar(&c.maxBody)
	app.Flag("discovery.forget-after", "How long a node that left its group is asked.").Default("10m").DurationVar(&e.Probes.ForgetAfter)
	app.Flag("digest.key-file", "File with the key for digests and the choice of sampled keys.").StringVar(&c.keyFile)
	e.Enabled = map[string]*bool{}
	for _, name := range collector.Names {
		e.Enabled[name] = app.Flag("collector."+name, "Enable the "+name+" collector.").Default("true").Bool()
	}
}

// valid says which flag's value makes no sense.
func (c *command) valid() error {
	path := c.server.TelemetryPath
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "/-/") || path == "/status" || path == "/api/v1/status" || strings.ContainsAny(path, " \t{}?#") {
		return fmt.Errorf("--web.telemetry-path is %q; write a path such as /metrics, which is none of /-/…, /status and /api/v1/status", path)
	}
	for flag, value := range map[string]int64{
		"canary.scan-count": int64(c.exporter.Sampler.ScanCount), "canary.max-value-bytes": int64(c.maxValue), "http.max-body": int64(c.maxBody),
	} {
		if value <= 0 {
			return fmt.Errorf("--%s is %d; write a number above 0", flag, value)
		}
	}
	for flag, value := range map[string]int64{
		"canary.max-key-series": int64(c.exporter.Sampler.MaxKeySeries), "canary.reread-delay": int64(c.exporter.Sampler.RereadDelay),
		"scrape.timeout-offset": int64(c.exporter.TimeoutOffset), "scrape.min-interval": int64(c.exporter.MinInterval),
		"discovery.forget-after": int64(c.exporter.Probes.ForgetAfter), "limit": int64(c.check.Limit),
		"queue.sample": int64(c.exporter.Probes.SampleMessages), "queue.stall-window": int64(c.exporter.StallWindow),
	} {
		if value < 0 {
			return fmt.Errorf("--%s is below 0; write 0 or more", flag)
		}
	}
	return nil
}

func (c *command) runCheck(ctx context.Context, output string, stdout io.Writer) (int, error) {
	cfg, err := server.Load(c.configFile)
	if err != nil {
		return 0, err
	}
	values := c.check.Sampler.ShowValues
	c.check.Sampler, c.check.Probes = c.exporter.Sampler, c.exporter.Probes
	c.check.Sampler.ShowValues = values
	return incident.RunCheck(ctx, cfg, c.check, output, stdout, c.log)
}

func (c *command) runDemo(ctx context.Context, scenario string, stdout io.Writer) error {
	listeners, err := server.Listen(*c.server.Web.WebListenAddresses, !c.addressGiven)
	if err != nil {
		return err
	}
	d, err := demo.Start(ctx, scenario, c.log)
	if err != nil {
		return fmt.Errorf("starting the demo: %w", err)
	}
	defer d.Close()
	fmt.Fprintln(stdout, d.Intro(server.URL(listeners[0])))
	c.server.Listeners = listeners
	c.server.Load = func() (*config.Config, error) { return config.Parse("demo", d.Config()) }
	return server.Start(ctx, collector.New(c.exporter, c.log), c.server, c.log)
}
