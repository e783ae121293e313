package extension

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/collector"
	"github.com/cacheinv/cacheinv_exporter/internal/command"
	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/incident"
	"github.com/cacheinv/cacheinv_exporter/internal/test/extension/memo"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

const shop = `
layers:
  - {name: l1, ttl: none, nodes: [{name: a, memo: {address: one}}, {name: b, memo: {address: two}}, {name: c, memo: {address: three}}]}
queues:
  - {name: orders, capacity: 10, memo: {address: one}}
canaries:
  - {class: user, keys: ["user:1", "user:2"], layers: [l1], version: {json: "$.v"}}
`

// world is three servers, on one of which a copy is stale, and a full queue.
func world() map[string]*memo.Server {
	servers := map[string]*memo.Server{"one": {}, "two": {}, "three": {}}
	for _, s := range servers {
		s.Set("user:1", `{"v": 2}`)
		s.Set("user:2", `{"v": 2}`)
	}
	servers["two"].Set("user:1", `{"v": 1}`)
	servers["three"].Set("other", "x")
	for range 10 {
		servers["one"].Push("user:1")
	}
	return servers
}

// docs: begin lines

// extended gives all backends and all signals, with a line for each that is new.
func extended(servers map[string]*memo.Server) ([]probes.Backend, []collector.Signal) {
	return append(slices.Clone(backends.All), memo.New(servers)),
		append(slices.Clone(collector.Signals), items)
}

// docs: end lines

func env() *probes.Env {
	return &probes.Env{
		MaxValueBytes: 1 << 20, MaxBody: 1 << 20, ForgetAfter: time.Minute, Budget: probes.NewBudget(), Kept: probes.NewKept(),
		Log: slog.New(slog.DiscardHandler),
	}
}

func TestBackendAndSignalOfThisTestAlone(t *testing.T) {
	known, signals := extended(world())
	load := command.Loader(func() (*config.Config, error) { return config.Parse("shop.yml", []byte(shop), known) })
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	sampler := consistency.Options{RereadDelay: time.Millisecond, ScanCount: 100, MaxKeySeries: 100}
	exporter := func() *collector.Exporter {
		return collector.New(collector.Options{Signals: signals, Sampler: sampler, Env: env()})
	}

	t.Run("metrics", func(t *testing.T) {
		e := exporter()
		defer e.Close()
		if err := e.Load(cfg); err != nil {
			t.Fatal(err)
		}
		got := httptest.NewRecorder()
		e.ServeHTTP(got, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		for _, line := range []string{
			`cacheinv_node_up{kind="memo",layer="l1",node="b"} 1`,
			`cacheinv_queue_depth{kind="memo",queue="orders"} 10`,
			`cacheinv_canary_copies{class="user",layer="l1",node="b",state="stale"} 1`,
			`cacheinv_layer_items{layer="l1",which="fewest"} 2`,
			`cacheinv_layer_items{layer="l1",which="most"} 3`,
			`cacheinv_collector_success{collector="items"} 1`,
		} {
			if !strings.Contains(got.Body.String(), line+"\n") {
				t.Errorf("no %s in\n%s", line, got.Body)
			}
		}
	})

	t.Run("check", func(t *testing.T) {
		var out bytes.Buffer
		code, err := command.Check(t.Context(), load, incident.CheckOptions{Sampler: sampler, Env: env()}, "table", &out)
		if err != nil || code != 1 || !strings.Contains(out.String(), "user:1") || !strings.Contains(out.String(), "stale") {
			t.Errorf("exit code %d, %v:\n%s", code, err, &out)
		}
	})

	t.Run("diagnose", func(t *testing.T) {
		var out bytes.Buffer
		code, err := command.Diagnose(t.Context(), exporter(), load, "text", &out)
		if err != nil || code != 1 {
			t.Errorf("exit code %d, %v", code, err)
		}
		for _, part := range []string{"queue orders (memo)", "items", "memo-cli length one"} {
			if !strings.Contains(out.String(), part) {
				t.Errorf("no %q in\n%s", part, &out)
			}
		}
	})
}

// A fault in the new backend's block is told as any other is.
func TestFaultOfTheNewBackend(t *testing.T) {
	known, _ := extended(world())
	_, err := config.Parse("shop.yml", []byte(strings.Replace(shop, "memo: {address: two}", "memo: {addresses: two}", 1)), known)
	var faults form.Faults
	if !errors.As(err, &faults) || !strings.Contains(err.Error(), "shop.yml:3: layers[0].nodes[1].memo.addresses: is unknown; did you mean address?") {
		t.Errorf("%v", err)
	}
	cfg, err := config.Parse("shop.yml", []byte(strings.Replace(shop, "address: two", "address: four", 1)), known)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.OpenFleet(env()); err == nil || err.Error() != `node b: there is no server "four"` {
		t.Errorf("%v", err)
	}
}
