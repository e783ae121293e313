// Package kafka asks Apache Kafka, and what speaks like it, for the topics and consumer groups of a queue, and publishes to a
// topic.
//
// queue is what outlives a sampling, sampling is one of them, peer is the connection to one broker. A sampling costs a few
// requests for each broker, however many partitions there are.
package kafka

import (
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Backend is Kafka.
var Backend = probes.Backend{
	Name:      backendName,
	Queue:     func(block form.Value, _ probes.Known) probes.QueueSource { return readQueue(block) },
	Publisher: func(block form.Value, _ probes.Known) probes.PublisherSource { return readPublisher(block) },
}

const backendName = "kafka"
