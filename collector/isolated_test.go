package collector

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/test/extension/memo"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const threeNodes = `
layers:
  - name: l1
    ttl: none
    max_staleness: 1s
    nodes: [{name: a, memo: {address: a}}, {name: b, memo: {address: b}}, {name: c, memo: {address: c}}]
canaries:
  - {class: user, keys: ["user:0", "user:1", "user:2", "user:3", "user:4", "user:5"], layers: [l1]}
`

// TestIsolatedNodeStaysTheCause: a node that missed writes is isolated until its copies are gone, however long ago the last write was.
func TestIsolatedNodeStaysTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := map[string]*memo.Server{"a": {}, "b": {}, "c": {}}
		write := func(key int, value string, on ...string) {
			for _, name := range on {
				servers[name].Set(fmt.Sprintf("user:%d", key), value)
			}
		}
		cfg, err := config.Parse("shop.yml", []byte(threeNodes), []probes.Backend{memo.New(servers)})
		if err != nil {
			t.Fatal(err)
		}
		// One collector alone asks for the copies: in fake time, no other may wait for its lock.
		one := slices.DeleteFunc(slices.Clone(Signals), func(s Signal) bool { return s.Name != "canary" && s.Name != causeName })
		e := New(Options{
			TimeoutOffset: 250 * time.Millisecond, Signals: one, Sampler: consistency.Options{RereadDelay: time.Millisecond},
			Env: &probes.Env{MaxValueBytes: 1 << 20, Budget: probes.NewBudget(), Kept: probes.NewKept(), Log: slog.New(slog.DiscardHandler)},
		})
		defer e.Close()
		if err := e.Load(cfg); err != nil {
			t.Fatal(err)
		}
		// sample once more, and give the verdict.
		sample := func() string {
			time.Sleep(10 * time.Second)
			return e.Report(t.Context(), 5*time.Second).Diagnosis.Verdict
		}
		for key := range 6 {
			write(key, "old", "a", "b", "c")
		}
		if verdict := sample(); verdict != "none" {
			t.Fatalf("all is well, and the verdict is %s", verdict)
		}
		for key := range 6 { // c is cut off
			write(key, "new", "a", "b")
			sample()
		}
		for waited := 10 * time.Second; waited < 20*time.Minute; waited += 10 * time.Second {
			if verdict := sample(); verdict != "network" {
				t.Fatalf("%v after the last write the verdict is %s", waited, verdict)
			}
		}
		for key := range 6 {
			write(key, "new", "c")
		}
		if verdict := sample(); verdict != "none" {
			t.Errorf("all copies are fresh again, and the verdict is %s", verdict)
		}
	})
}
