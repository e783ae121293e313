package hostile

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	dto "github.com/prometheus/client_model/go"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// Brokers that stall cost the data of their own queues and no others', and no scrape its time.
func TestStallingBrokers(t *testing.T) {
	k := servers.Kafka(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin, read := kadm.NewClient(client), kadm.Offsets{}
	servers.Eventually(t, "the topic is made", func() bool {
		made, err := admin.CreateTopic(t.Context(), 1, 1, nil, "t")
		return err == nil && made.Err == nil
	})
	for range 5 {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("{}")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	read.AddOffset("t", 0, 2, -1)
	servers.Eventually(t, "the commit is taken", func() bool { return admin.CommitAllOffsets(t.Context(), "g", read) == nil })

	honest := Attack{Name: "honest", Start: func(t testing.TB) Config {
		c := kafkaQueue("honest", k.Addr)
		r := servers.Redis(t)
		r.Must(t, "rpush", "q", "a", "b")
		c.Layers = []string{fmt.Sprintf("  - {name: queues, ttl: 1h, nodes: [{name: queue, redis: {address: %q}}]}\n", r.Addr)}
		c.Queues = append(c.Queues, "  - {name: honest-list, redis: {node: queue, list: q}}\n")
		return c
	}}
	v := Start(t, build(t), 2, append(stallingKafka(), honest))
	v.timeout = pick(v.timeout, v.timeout/2)
	for range pick(10, 3) {
		p := parsePage(t, v.Scrape(t))
		depths, up := map[string]float64{}, map[string]float64{}
		p.each("cacheinv_queue_depth", func(labels map[string]string, m *dto.Metric) { depths[labels["queue"]] = m.GetGauge().GetValue() })
		p.each("cacheinv_queue_up", func(labels map[string]string, m *dto.Metric) { up[labels["queue"]] = m.GetGauge().GetValue() })
		if len(depths) != 2 || depths["honest"] != 3 || depths["honest-list"] != 2 {
			t.Errorf("depths are %v", depths)
		}
		for _, name := range []string{"kafka-hangs", "kafka-hangs-later", "kafka-hangs-in-answers", "kafka-drips"} {
			if is, ok := up[name]; !ok || is != 0 {
				t.Errorf("%s is up: %v, %v", name, is, ok)
			}
		}
		if up["honest"] != 1 || up["honest-list"] != 1 {
			t.Errorf("up are %v", up)
		}
		p.each("cacheinv_collector_duration_seconds", func(labels map[string]string, m *dto.Metric) {
			if took := m.GetGauge().GetValue(); took >= v.timeout.Seconds() {
				t.Errorf("%s took %v s of %v", labels["collector"], took, v.timeout)
			}
		})
	}
	v.Small(t)
}
