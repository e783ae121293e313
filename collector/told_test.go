package collector

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestKindsOfFaults(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"node r: dial tcp 10.0.0.1:6379: connect: connection refused", "node r: dial tcp 10.0.0.2:6380: connect: connection refused", true},
		{"node r: read tcp 127.0.0.1:44444->127.0.0.1:6379: i/o timeout", "node r: read tcp 127.0.0.1:5->127.0.0.1:6379: i/o timeout", true},
		{"node r: no answer after 9.75s", "node r: no answer after 312ms", true},
		{"history h: request id 6F9KQ2: throttled", "history h: request id A0B1C2D3: throttled", true},
		{"history h: id 0bd8f8a5-7f0c-4c3b-9a4b-2b1f5a9d0c11", "history h: id 1c0a-22-3", true},
		{"queue q: behind by 1000", "queue q: behind by 12", true},
		{"node redis-1: refused", "node redis-2: refused", false},
		{"node a: refused", "node a: timeout", false},
		{"node a: status 500 Internal Server Error", "node a: status 404 Not Found", false},
		{"group c: no Sentinel tells its nodes", "node c: no Sentinel tells its nodes", false},
	} {
		if same := kindOf(c.a) == kindOf(c.b); same != c.same {
			t.Errorf("%q and %q are of one kind: %v", kindOf(c.a), kindOf(c.b), same)
		}
	}
}

// A fault whose text varies is told once; a new one beside it is, too; and what came back after a while.
func TestFaultsAreToldOnce(t *testing.T) {
	var log strings.Builder
	r := newRunner(nil, nil, slog.New(slog.NewTextHandler(&log, nil)))
	lines := func() int {
		n := strings.Count(log.String(), "\n")
		log.Reset()
		return n
	}
	for i := range 100 {
		r.logChange("node", fmt.Errorf("node a: read tcp 127.0.0.1:%d->127.0.0.1:1: after %dms: i/o timeout", 30000+i, i))
	}
	if n := lines(); n != 1 {
		t.Errorf("100 failures alike: %d lines", n)
	}
	for i := range 100 {
		one := fmt.Errorf("node a: read tcp 127.0.0.1:%d->127.0.0.1:1: after %dms: i/o timeout", 30000+i, i)
		r.logChange("node", errors.Join(one, fmt.Errorf("node b: dial tcp 127.0.0.1:2: try %d: connection refused", i)))
	}
	if text := log.String(); lines() != 1 || strings.Contains(text, "node a") || !strings.Contains(text, "node b") {
		t.Errorf("another node fails, too:\n%s", text)
	}
	r.logChange("node", nil)
	r.logChange("node", errors.New("node b: refused"))
	if n := lines(); n != 2 {
		t.Errorf("it recovered, and fails again: %d lines", n)
	}
	for i := range 1000 { // nodes that nobody knew before
		r.logChange("node", fmt.Errorf("node c/%d: refused", i))
	}
	if n := lines(); n > mostTold {
		t.Errorf("1,000 names: %d lines", n)
	}
	kinds, now := told{}, time.Now()
	if kinds.news("a: x", now) == "" || kinds.news("a: x", now.Add(forgetTold)) != "" || kinds.news("a: x", now.Add(3*forgetTold)) == "" {
		t.Error("what comes back after a while is told anew, and not before")
	}
	if got := kinds.news(strings.Repeat("a long line\n", 1000)+"another", now.Add(3*forgetTold)); got != "a long line\nanother" {
		t.Errorf("%q", got)
	}
}
