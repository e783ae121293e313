package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kingpin/v2"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/recovery"
	"github.com/cacheinv/cacheinv_exporter/internal/shell"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// RecoverFlags are the flags of recover alone.
type RecoverFlags struct {
	// Output is text or json.
	Output string

	apply, flushAll bool
	strategy, rate  string
}

// Declare the flags.
func (f *RecoverFlags) Declare(c *kingpin.CmdClause) {
	c.Flag("apply", "Do it; without it nothing is changed.").BoolVar(&f.apply)
	c.Flag("strategy", "How far to go: aggressive, standard, minimal; auto goes by the depth of the queues.").
		Default(string(recovery.Auto)).EnumVar(&f.strategy, recovery.Strategies()...)
	c.Flag("rate", "Most keys and messages in a second, such as 500/s; 0: no limit. Without it recovery.rate, or 1000/s.").StringVar(&f.rate)
	c.Flag("allow-flush-all", "Delete all keys of a memcached that does not list them, where patterns are to be deleted.").BoolVar(&f.flushAll)
	c.Flag("output", "text or json.").Short('o').Default("text").EnumVar(&f.Output, "text", "json")
}

// Options of what the flags say. configFile is that of --config.file, auditDir that of --audit.dir.
func (f *RecoverFlags) Options(configFile, auditDir string, env *probes.Env) (recovery.Options, error) {
	opt := recovery.Options{
		Apply: f.apply, Strategy: recovery.Strategy(f.strategy), AllowFlushAll: f.flushAll, AuditDir: auditDir, Env: env,
	}
	for _, flag := range []struct{ name, value string }{{"config.file", configFile}, {"rate", f.rate}, {"audit.dir", auditDir}} {
		if flag.value != "" {
			opt.Again = append(opt.Again, "--"+flag.name+"="+shell.Quote(flag.value))
		}
	}
	if f.rate == "" {
		return opt, nil
	}
	perSecond, err := parseRate(f.rate)
	if err != nil {
		return opt, err
	}
	opt.Rate = &perSecond
	return opt, nil
}

// parseRate reads a flag's value; 0 is no limit.
func parseRate(text string) (perSecond float64, err error) {
	perSecond, ok := form.ParseRate(text)
	if !ok {
		return 0, fmt.Errorf("%w: --rate is %q; write %s, or 0 for no limit", errConfiguration, text, form.RateForm)
	}
	return perSecond, nil
}

// Recover plans or does the recovery, writes a report as text or json, and gives the exit code. A first signal ends it after the
// batch in hand, a second one at once.
func Recover(ctx context.Context, load Loader, opt recovery.Options, output string, stdout io.Writer) (int, error) {
	cfg, err := load.load()
	if err != nil {
		return 0, err
	}
	stopping := context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt, syscall.SIGTERM) })
	defer stopping()
	show, stop := recovery.View(os.Stderr)
	opt.Progress = show
	report, err := recovery.Run(ctx, cfg, opt)
	stop()
	if report == nil {
		return 0, err
	}
	written := report.Text
	if output == "json" {
		written = report.JSON
	}
	if failed := written(stdout); failed != nil {
		return 0, failed
	}
	return report.ExitCode, nil
}
