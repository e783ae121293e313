package kafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Metadata that lists other brokers each time, and very many.
func TestBrokersHaveABound(t *testing.T) {
	q := openQueue(t, queueConfig{Brokers: []string{"127.0.0.1:1"}})
	id := int32(0)
	for range 5 {
		var listed []kmsg.MetadataResponseBroker
		for range 5 * mostBrokers {
			id++
			listed = append(listed, kmsg.MetadataResponseBroker{NodeID: id, Host: "127.0.0.1", Port: 1})
		}
		q.learnBrokers(listed)
		if q.brokers[listed[0].NodeID] == nil || len(q.brokers) > mostBrokers+probes.MostLeft {
			t.Fatalf("%d brokers are known", len(q.brokers))
		}
	}
}
