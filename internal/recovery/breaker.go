package recovery

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// askLongest is how long one asking of a health URL may take.
const askLongest = 5 * time.Second

// breaker stops the recovery where those that it harms are not well: deleted keys are read from the origin. While it is in doubt
// nobody passes.
type breaker struct {
	config.Breaker
	asks []ask

	mu   sync.Mutex
	last time.Time
	// tripped is why nobody passes any more; nil: they do.
	tripped error
	health  probes.Health // to be closed; may be nil
}

// ask one of those who may say stop. name is how the report calls it.
type ask struct {
	name string
	ask  func(ctx context.Context) error
}

func newBreaker(c config.Breaker, env *probes.Env) (*breaker, error) {
	b := &breaker{Breaker: c}
	if c.Health != nil {
		var err error
		if b.health, err = c.Health.Open(env); err != nil {
			return nil, err
		}
		b.add("recovery.breaker.url", b.health.Ask)
	}
	if c.Command.Given() {
		h := hook{c.Command, "breaker.command"}
		b.add("recovery.breaker.command", h.run)
	}
	return b, nil
}

func (b *breaker) add(name string, one func(ctx context.Context) error) {
	b.asks = append(b.asks, ask{name, one})
}

func (b *breaker) close() {
	if b.health != nil {
		b.health.Close()
	}
}

// check gives an error where the recovery is to stop. It asks at most every Every; once somebody says that all is not well it asks
// again until all is, or Failures in a row said so. errInterrupted: ctx ended meanwhile.
func (b *breaker) check(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tripped != nil || len(b.asks) == 0 || time.Since(b.last) < b.Every {
		return b.tripped
	}
	for failures := 1; ; failures++ {
		err := b.askAll(ctx)
		if ctx.Err() != nil {
			return errInterrupted
		}
		b.last = time.Now()
		if err == nil {
			return nil
		}
		if failures >= b.Failures {
			b.tripped = fmt.Errorf("the circuit breaker stopped it: %w (%d times in a row)", err, failures)
			return b.tripped
		}
		if !pause.For(ctx, b.Every) {
			return errInterrupted
		}
	}
}

func (b *breaker) askAll(ctx context.Context) error {
	for _, a := range b.asks {
		limited, cancel := context.WithTimeout(ctx, askLongest+b.Command.Timeout) // a command has its own limit
		err := a.ask(limited)
		cancel()
		if err != nil {
			return fmt.Errorf("%s is not well: %w", a.name, err)
		}
	}
	return nil
}
