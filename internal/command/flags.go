package command

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	webflag "github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/cacheinv/cacheinv_exporter/collector"
	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/incident"
	"github.com/cacheinv/cacheinv_exporter/internal/server"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Flags holds what the command line says. Declare them, parse, ask Valid, and make Options of them.
type Flags struct {
	// ConfigFile is the configuration file (--config.file).
	ConfigFile string
	// Backends that the configuration may name.
	Backends []probes.Backend

	keyFile             string
	addressGiven        bool
	maxValue, maxBody   units.Base2Bytes
	checkClass, pattern string
	limit               int
	showValues          bool
	// These are bound to the flags that are theirs alone; what several need is added by Options.
	exporter collector.Options
	server   server.Options
	env      probes.Env
}

// Options of everything that a command may use, made once.
type Options struct {
	Exporter collector.Options
	Server   server.Options
	Check    incident.CheckOptions
	// Load reads the configuration file.
	Load Loader
	// AuditDir is where commands put what they changed on record; empty: nowhere.
	AuditDir string
	// AddressGiven: the command line says where to listen, so that no other port will do.
	AddressGiven bool
}

// Declare the flags of all commands.
func (f *Flags) Declare(app *kingpin.Application) {
	app.Flag("config.file", "Configuration file.").Default("cacheinv.yml").StringVar(&f.ConfigFile)
	f.server.Web = webflag.AddFlags(app, ":10120")
	app.GetFlag("web.listen-address").IsSetByUser(&f.addressGiven)
	app.Flag("web.telemetry-path", "Path of the metrics.").Default("/metrics").StringVar(&f.server.TelemetryPath)
	app.Flag("web.enable-lifecycle", "Allow reloading the configuration through /-/reload.").BoolVar(&f.server.Lifecycle)
	app.Flag("web.max-requests", "Most requests that are answered at once; 0: any number.").Default("40").IntVar(&f.server.MaxRequests)
	e := &f.exporter
	app.Flag("scrape.timeout-offset", "What is left of a scrape's timeout for the answer.").Default("250ms").DurationVar(&e.TimeoutOffset)
	app.Flag("scrape.min-interval", "Time after a sampling in which its answer is given again.").Default("500ms").DurationVar(&e.MinInterval)
	app.Flag("scrape.min-deadline", "Least time that a sampling gets, however short the timeout of the request that begins it; at most 30s.").Default("2s").DurationVar(&e.MinDeadline)
	app.Flag("canary.reread-delay", "Time between the two reads of a key.").Default("20ms").DurationVar(&e.Sampler.RereadDelay)
	app.Flag("canary.max-key-series", "Most keys of a class with a series of their own.").Default("1000").IntVar(&e.Sampler.MaxKeySeries)
	app.Flag("canary.scan-count", "COUNT of a SCAN step.").Default("1000").IntVar(&e.Sampler.ScanCount)
	app.Flag("canary.max-value-bytes", "Largest value that is read.").Default("1MiB").BytesVar(&f.maxValue)
	app.Flag("queue.sample", "Newest messages of a queue to look at for storms and loops; 0: none.").Default("1000").IntVar(&f.env.SampleMessages)
	app.Flag("queue.stall-window", "Time without a commit after which a group with lag is stalled.").Default("60s").DurationVar(&e.StallWindow)
	app.Flag("http.max-body", "Largest HTTP body that is read.").Default("4MiB").BytesVar(&f.maxBody)
	app.Flag("discovery.forget-after", "How long a node that left its group is still queried.").Default("10m").DurationVar(&f.env.ForgetAfter)
	app.Flag("digest.key-file", "File with the key for digests and the choice of sampled keys.").StringVar(&f.keyFile)
	app.Flag("audit.dir", "Folder for the audit logs of what commands change, and for what undoes it or could not be applied; serve counts what repairs came to.").StringVar(&e.AuditDir)
	e.Enabled = map[string]*bool{}
	for _, s := range collector.Signals {
		e.Enabled[s.Name] = app.Flag("collector."+s.Name, "Enable the "+s.Name+" collector.").Default("true").Bool()
	}
}

// DeclareCheck the flags of check alone.
func (f *Flags) DeclareCheck(check *kingpin.CmdClause) {
	check.Flag("class", "Canary class to read; without it all.").StringVar(&f.checkClass)
	check.Flag("pattern", "Glob of keys to read instead of the configured ones.").StringVar(&f.pattern)
	check.Flag("limit", "Most keys to read of each pattern; 0: the class's sample, or 1000.").IntVar(&f.limit)
	check.Flag("show-values", "Show the values of copies that differ.").BoolVar(&f.showValues)
}

// Valid says which flag's value makes no sense.
func (f *Flags) Valid() error {
	path := f.server.TelemetryPath
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "/-/") || path == "/status" || path == "/api/v1/status" || strings.ContainsAny(path, " \t{}?#") {
		return fmt.Errorf("--web.telemetry-path is %q; write a path such as /metrics, which is none of /-/…, /status and /api/v1/status", path)
	}
	for flag, value := range map[string]int64{
		"canary.scan-count": int64(f.exporter.Sampler.ScanCount), "canary.max-value-bytes": int64(f.maxValue), "http.max-body": int64(f.maxBody),
	} {
		if value <= 0 {
			return fmt.Errorf("--%s is %d; write a number above 0", flag, value)
		}
	}
	for flag, value := range map[string]int64{
		"canary.max-key-series": int64(f.exporter.Sampler.MaxKeySeries), "canary.reread-delay": int64(f.exporter.Sampler.RereadDelay),
		"scrape.timeout-offset": int64(f.exporter.TimeoutOffset), "scrape.min-interval": int64(f.exporter.MinInterval),
		"scrape.min-deadline":    int64(f.exporter.MinDeadline),
		"discovery.forget-after": int64(f.env.ForgetAfter), "limit": int64(f.limit),
		"web.max-requests": int64(f.server.MaxRequests), "queue.sample": int64(f.env.SampleMessages), "queue.stall-window": int64(f.exporter.StallWindow),
	} {
		if value < 0 {
			return fmt.Errorf("--%s is below 0; write 0 or more", flag)
		}
	}
	if most := collector.LongestSampling; f.exporter.MinDeadline > most {
		return fmt.Errorf("--scrape.min-deadline is %v; write at most %v, which no sampling exceeds", f.exporter.MinDeadline, most)
	}
	return nil
}

// Options of what the flags say. It is here alone that what all backends share is made.
func (f *Flags) Options(log *slog.Logger) (Options, error) {
	key, err := readKey(f.keyFile)
	if err != nil {
		return Options{}, err
	}
	exporter := f.exporter
	exporter.Sampler.DigestKey = key
	env := f.env
	env.MaxValueBytes, env.MaxBody = int64(f.maxValue), int64(f.maxBody)
	env.Budget, env.Kept, env.Log = probes.NewBudget(), probes.NewKept(), log
	exporter.Env = &env
	check := incident.CheckOptions{
		Class: f.checkClass, Pattern: f.pattern, Limit: f.limit, Sampler: exporter.Sampler, Env: &env,
	}
	check.Sampler.ShowValues = f.showValues
	serving := f.server
	load := func() (*config.Config, error) { return config.Load(f.ConfigFile, f.Backends) }
	serving.Load = load
	return Options{Exporter: exporter, Server: serving, Check: check, Load: load, AuditDir: f.exporter.AuditDir, AddressGiven: f.addressGiven}, nil
}

// readKey of --digest.key-file; an empty path gives none.
func readKey(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	key, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: reading --digest.key-file: %w", errConfiguration, err)
	}
	if key = bytes.TrimSpace(key); len(key) == 0 {
		return nil, fmt.Errorf("%w: --digest.key-file %s is empty; write at least 16 random characters", errConfiguration, path)
	}
	return key, nil
}
