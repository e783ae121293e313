package recovery

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

func TestBreaker(t *testing.T) {
	asked, well := 0, 0
	b := &breaker{Breaker: config.Breaker{Every: time.Millisecond, Failures: 3}}
	b.add("the origin", func(context.Context) error {
		if asked++; asked > well && asked <= well+2 || asked > well+10 {
			return errors.New("status 503")
		}
		return nil
	})
	if err := b.check(t.Context()); err != nil || asked != 3 {
		t.Errorf("two failures of three: %v, asked %d times", err, asked)
	}
	well, asked = 0, 10
	b.last = time.Time{}
	err := b.check(t.Context())
	if err == nil || asked != 13 || !strings.Contains(err.Error(), "the origin is not well: status 503 (3 times in a row)") {
		t.Errorf("three failures: %v, asked %d times", err, asked)
	}
	if again := b.check(t.Context()); !errors.Is(again, err) || asked != 13 {
		t.Errorf("a breaker that has tripped: %v, asked %d times", again, asked)
	}
}

// Within Every nobody is asked again, and whoever is asked in vain does not hold up an interruption.
func TestBreakerIsAskedSeldom(t *testing.T) {
	var asked atomic.Int32
	b := &breaker{Breaker: config.Breaker{Every: time.Hour, Failures: 3}}
	b.add("a", func(context.Context) error { asked.Add(1); return nil })
	for range 5 {
		if err := b.check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	ill := &breaker{Breaker: config.Breaker{Every: time.Hour, Failures: 3}}
	ill.add("b", func(context.Context) error { time.AfterFunc(10*time.Millisecond, cancel); return errors.New("ill") })
	if err := ill.check(ctx); !errors.Is(err, errInterrupted) {
		t.Errorf("interrupted in doubt: %v", err)
	}
	none := &breaker{Breaker: config.Breaker{Every: 0, Failures: 1}}
	if err := none.check(t.Context()); err != nil {
		t.Errorf("nobody to ask: %v", err)
	}
}
