package drain_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/drain"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

func TestKafka(t *testing.T) {
	servers.NoLeaks(t)
	k, mc, down := servers.Kafka(t), servers.Memcached(t), servers.Memcached(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Addr), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	yaml := fmt.Sprintf(`
layers:
  - {name: l3, ttl: 1h, nodes: [{name: pool, memcached: {servers: [%q, %q], hashing: gomemcache}}]}
queues: [{name: inv, kafka: {brokers: [%q], topics: [inv], groups: [processors]}, message: {key: "$.key"}}]`, mc.Addr, down.Addr, k.Addr)
	sendKafka(t, client, admin, nil)
	produce := func(partition int32, values ...string) {
		t.Helper()
		for _, v := range values {
			if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "inv", Partition: partition, Value: []byte(v)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	committed := func() (out [3]int64) {
		t.Helper()
		got, err := admin.FetchOffsets(t.Context(), "processors")
		if err != nil {
			t.Fatal(err)
		}
		for p := range int32(3) {
			o, _ := got.Lookup("inv", p)
			out[p] = o.At
		}
		return out
	}

	t.Run("a key that no node can hold, and records that retention took", func(t *testing.T) {
		produce(0, message("a"), message("b"), message("with space"), message("c"))
		truncate := kadm.Offsets{}
		truncate.AddOffset("inv", 0, 2, -1)
		if _, err := admin.DeleteRecords(t.Context(), truncate); err != nil {
			t.Fatal(err)
		}
		folder := t.TempDir()
		r := apply(t, yaml, drain.Options{DeadLetters: folder})
		q := r.Queues[0]
		if r.Incomplete || q.Applied != 1 || q.Dead != 2 || committed() != [3]int64{4, 0, 0} {
			t.Errorf("%+v, committed %v", r, committed())
		}
		if len(q.DeadIDs) != 2 || q.DeadIDs[0].ID != "inv/0/0-1" || q.DeadIDs[1].ID != "inv/0/2" {
			t.Errorf("dead letters %+v", q.DeadIDs)
		}
		if b, err := os.ReadFile(q.DeadFile); err != nil || !strings.Contains(string(b), "with space") {
			t.Errorf("%s holds %q: %v", q.DeadFile, b, err)
		}
	})
	t.Run("records that retention took, all of them", func(t *testing.T) {
		produce(0, message("a"), message("b"))
		truncate := kadm.Offsets{}
		truncate.AddOffset("inv", 0, 6, -1)
		if _, err := admin.DeleteRecords(t.Context(), truncate); err != nil {
			t.Fatal(err)
		}
		if r := apply(t, yaml, drain.Options{}); r.Incomplete || r.Queues[0].Dead != 1 || r.Queues[0].DeadIDs[0].ID != "inv/0/4-5" || committed() != [3]int64{6, 0, 0} {
			t.Errorf("%+v, committed %v", r, committed())
		}
	})
	t.Run("transactions", func(t *testing.T) {
		transactor, err := kgo.NewClient(kgo.SeedBrokers(k.Addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("t"))
		if err != nil {
			t.Fatal(err)
		}
		defer transactor.Close()
		for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
			if err := transactor.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := transactor.ProduceSync(t.Context(), &kgo.Record{Topic: "inv", Partition: 0, Value: []byte(message("a"))}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if err := transactor.EndTransaction(t.Context(), end); err != nil {
				t.Fatal(err)
			}
		}
		// Each ends with a record that is no message; to apply what was aborted harms nothing.
		if r := apply(t, yaml, drain.Options{}); r.Incomplete || r.Queues[0].Applied != 2 || committed() != [3]int64{10, 0, 0} {
			t.Errorf("%+v, committed %v", r, committed())
		}
	})
	for _, protocol := range []struct {
		name    string
		options []kgo.Opt
	}{{"classic", nil}, {"consumer", []kgo.Opt{kgo.ServerSideBalancer()}}} {
		t.Run("with members of the protocol "+protocol.name, func(t *testing.T) {
			produce(1, message("a"))
			before := committed()
			member, err := kgo.NewClient(append([]kgo.Opt{
				kgo.SeedBrokers(k.Addr), kgo.ConsumerGroup("processors"), kgo.ConsumeTopics("inv"), kgo.DisableAutoCommit(),
			}, protocol.options...)...)
			if err != nil {
				t.Fatal(err)
			}
			servers.Eventually(t, "the group has a member", func() bool { return members(t, admin) == 1 })
			r, p := apply(t, yaml, drain.Options{}), plan(t, yaml)
			if q := r.Queues[0]; !r.Incomplete || !strings.Contains(q.Error, "has 1 member") || committed() != before {
				t.Errorf("%+v", r)
			}
			if q := p.Queues[0]; !p.Incomplete || !strings.Contains(q.Note, "has 1 member") || *q.Waiting != 1 || q.DistinctKeys != 1 {
				t.Errorf("%+v", p)
			}
			member.Close()
			servers.Eventually(t, "the group is empty", func() bool { return members(t, admin) == 0 })
			if r := apply(t, yaml, drain.Options{}); r.Incomplete || r.Queues[0].Applied != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
	t.Run("a node down", func(t *testing.T) {
		all := keys(0, 50)
		produce(2, messagesOf(all)...)
		down.Stop()
		r := apply(t, yaml, drain.Options{Batch: 10})
		q := r.Queues[0]
		// A commit goes no further than the first record that is kept, though what follows is applied.
		if at := committed(); !r.Incomplete || q.Kept == 0 || q.Applied == 0 || at[2] != q.Removed || *q.Left != 50-q.Removed {
			t.Errorf("%+v, committed %v", r, at)
		}
		servers.MemcachedAt(t, down.Addr)
		if r := apply(t, yaml, drain.Options{}); r.Incomplete || *r.Queues[0].Left != 0 || committed() != [3]int64{10, 2, 50} {
			t.Errorf("%+v, committed %v", r, committed())
		}
	})
}

// members of the group, by either protocol.
func members(t *testing.T, admin *kadm.Client) int {
	t.Helper()
	classic, err := admin.DescribeGroups(t.Context(), "processors")
	if err != nil {
		t.Fatal(err)
	}
	newer, err := admin.DescribeConsumerGroups(t.Context(), "processors")
	if err != nil {
		t.Fatal(err)
	}
	return len(classic["processors"].Members) + len(newer["processors"].Members)
}
