package kafka

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/test/ratio"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// BenchmarkFollow samples a topic to which 200 messages came, and follows them or not; the floor is to produce them.
func BenchmarkFollow(b *testing.B) {
	k := servers.Kafka(b)
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Addr), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("inv"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	produce := func() error {
		records := make([]*kgo.Record, 200)
		for i := range records {
			records[i] = kgo.StringRecord(fmt.Sprintf(`{"key":"user:%d:profile","version":%d}`, i, i))
		}
		return client.ProduceSync(b.Context(), records...).FirstErr()
	}
	servers.Eventually(b, "the topic takes records", func() bool { return produce() == nil })
	variants := []ratio.Variant{{Name: "produced", Do: produce}}
	came := 0
	for _, name := range []string{"sampled", "followed"} {
		q, err := newQueue(configOf([]string{k.Addr}, []string{"inv"}, nil), &probes.Message{Key: "$.key"}, probetest.Env(), probetest.Quiet())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(q.Close)
		q.newest = 1000
		if name == "followed" {
			q.Follow(nil, func(probes.Event) { came++ })
		}
		variants = append(variants, ratio.Variant{Name: name, Do: func() error {
			if err := produce(); err != nil {
				return err
			}
			_, err := q.Sample(b.Context())
			return err
		}})
	}
	ratio.Run(b, 50, nil, variants...)
	if came == 0 {
		b.Error("no message was followed")
	}
}
