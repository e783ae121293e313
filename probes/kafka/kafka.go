// Package kafka reads the topics and consumer groups of a queue from Apache Kafka, or a server that speaks its protocol, and
// publishes to a topic.
//
// Types to know: queue is what outlives a sampling, sampling is one sampling under way, brokerConn is the connection to one
// broker, and partitionLog is what all samplings together know of one partition's records. A sampling costs a few requests
// for each broker, however many partitions there are.
package kafka

import (
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Backend is Kafka: queues, and publishers of invalidation probes.
var Backend = probes.Backend{
	Name:      backendName,
	Queue:     func(block form.Value, _ probes.Known) probes.QueueSource { return readQueue(block) },
	Publisher: func(block form.Value, _ probes.Known) probes.PublisherSource { return readPublisher(block) },
}

const backendName = "kafka"
