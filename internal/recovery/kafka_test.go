package recovery

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// A group that has members keeps its messages; once stop_processors has stopped them they are applied and committed.
func TestKafkaNeedsItsProcessorsStopped(t *testing.T) {
	k, r := servers.Kafka(t), servers.Redis(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(t.Context(), 2, 1, nil, "inv"); err != nil {
		t.Fatal(err)
	}
	var start kadm.Offsets
	for p := range int32(2) {
		start.AddOffset("inv", p, 0, -1)
	}
	if _, err := admin.CommitOffsets(t.Context(), "processors", start); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		key := fmt.Sprintf("product:%d", i)
		r.Must(t, "set", key, secretValue)
		record := &kgo.Record{Topic: "inv", Value: fmt.Appendf(nil, `{"key":%q}`, key)}
		if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	stop := filepath.Join(t.TempDir(), "stop")
	cfg, err := config.Parse("c.yml", fmt.Appendf(nil, `
layers: [{name: l2, ttl: 1h, nodes: [{name: a, redis: {address: %q}}]}]
queues: [{name: inv, kafka: {brokers: [%q], topics: [inv], groups: [processors]}, message: {key: "$.key"}}]
recovery:
  standard_above: 10
  stop_processors: [sh, -c, 'touch "$0.now"; until test -e "$0.done"; do sleep 0.02; done', %q]
  restart: ["true"]
  monitor: {every: 10ms, looks: 1}
`, r.Addr, k.Addr, stop), backends.All)
	if err != nil {
		t.Fatal(err)
	}
	member := hang(t, k.Addr)
	waitForMembers(t, admin, 1)
	minimal, err := Run(t.Context(), cfg, Options{Apply: true, Strategy: Minimal, Env: testEnv()})
	if err != nil {
		t.Fatal(err)
	}
	check(t, minimal)
	if minimal.ExitCode != ExitLeft || !says(minimal, "member") || left(t, r, "product:*") != 40 {
		t.Errorf("with a member: exit code %d", minimal.ExitCode)
	}
	stopped := make(chan struct{})
	go func() { // what would be told to stop
		defer close(stopped)
		for t.Context().Err() == nil {
			if _, err := os.Stat(stop + ".now"); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		member.Close()
		_ = os.WriteFile(stop+".done", nil, 0o600)
	}()
	plan, err := Run(t.Context(), cfg, Options{Strategy: Auto, Env: testEnv()})
	if err != nil {
		t.Fatal(err)
	}
	check(t, plan)
	if plan.ExitCode != ExitDone || plan.Strategy != Standard || plan.Depth == nil || *plan.Depth != 40 {
		t.Errorf("the plan: exit code %d, strategy %s, depth %v", plan.ExitCode, plan.Strategy, plan.Depth)
	}
	report, err := Run(t.Context(), cfg, Options{Apply: true, Strategy: Auto, Env: testEnv()})
	if err != nil {
		t.Fatal(err)
	}
	<-stopped
	check(t, report)
	if report.ExitCode != ExitDone || left(t, r, "product:*") != 0 {
		t.Errorf("without members: exit code %d, %d keys are left", report.ExitCode, left(t, r, "product:*"))
	}
	offsets, err := admin.FetchOffsets(t.Context(), "processors")
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	offsets.Each(func(o kadm.OffsetResponse) { total += o.At })
	if total != 40 {
		t.Errorf("%d messages of 40 are committed", total)
	}
}

// hang is a processor that joins the group and commits nothing.
func hang(t *testing.T, broker string) *kgo.Client {
	t.Helper()
	member, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumerGroup("processors"), kgo.ConsumeTopics("inv"), kgo.DisableAutoCommit())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(member.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if errs := member.PollFetches(ctx).Errors(); len(errs) > 0 {
		t.Fatal(errs[0].Err)
	}
	return member
}

func waitForMembers(t *testing.T, admin *kadm.Client, n int) {
	t.Helper()
	servers.Eventually(t, "the group has its members", func() bool {
		groups, err := admin.DescribeGroups(t.Context(), "processors")
		return err == nil && len(groups["processors"].Members) == n && strings.EqualFold(groups["processors"].State, "Stable")
	})
}
