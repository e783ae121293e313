package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/cacheinv/cacheinv_exporter/internal/repair"
)

// RepairFlags are the flags of repair alone.
type RepairFlags struct {
	repair.Options
	output, rate string
}

// Declare the flags.
func (f *RepairFlags) Declare(cmd *kingpin.CmdClause) {
	cmd.Flag("strategy", "What takes the place of a stale copy: "+strings.Join(repair.Strategies(), ", ")+".").EnumVar(&f.Strategy, repair.Strategies()...)
	cmd.Flag("class", "Canary class to repair; without it all.").StringVar(&f.Check.Class)
	cmd.Flag("rate", "Most writes in a second, such as 100/s; 0: no limit.").Default("100/s").StringVar(&f.rate)
	cmd.Flag("apply", "Carry the plan out; without it nothing is written.").BoolVar(&f.Apply)
	cmd.Flag("force", "Let --strategy=majority decide classes that have a version or an origin.").BoolVar(&f.Force)
	cmd.Flag("undo", "Put back what a repair overwrote, from its undo file.").PlaceHolder("FILE").StringVar(&f.Undo)
	cmd.Flag("output", "text or json.").Short('o').Default("text").EnumVar(&f.output, "text", "json")
}

// Valid says which flag's value makes no sense, and reads the rate.
func (f *RepairFlags) Valid() error {
	switch {
	case f.Strategy == "" && f.Undo == "":
		return fmt.Errorf("repair needs --strategy=%s, or --undo=FILE", strings.Join(repair.Strategies(), "|"))
	case f.Strategy != "" && f.Undo != "":
		return errors.New("--strategy and --undo were both given; keep one of them")
	}
	perSecond, err := parseRate(f.rate)
	f.Rate = perSecond
	return err
}

// Repair writes a plan, or carries it out, and gives the exit code.
func Repair(ctx context.Context, opt Options, f RepairFlags, stdout io.Writer) (int, error) {
	cfg, err := opt.Load.load()
	if err != nil {
		return 0, err
	}
	class := f.Check.Class
	f.Check, f.AuditDir, f.Log = opt.Check, opt.AuditDir, opt.Exporter.Env.Log
	f.Check.Class = class
	return repair.Main(ctx, cfg, f.Options, f.output, stdout)
}
