package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// retryDelay is the wait before a broker or topic that failed is tried again.
const retryDelay = 100 * time.Millisecond

// publisher produces to one topic.
type publisher struct {
	client *kgo.Client
	topic  string
}

// On implements probes.PublisherSource.
func (*publishConfig) On() string { return "" }

// Open implements probes.PublisherSource.
func (c *publishConfig) Open(*probes.Fleet, *probes.Env) (probes.Publisher, error) {
	return newPublisher(*c)
}

func newPublisher(c publishConfig) (*publisher, error) {
	options, err := clientOptions(c.SASL, c.TLS)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(slices.Clip(options),
		kgo.SeedBrokers(c.Brokers...), kgo.RequiredAcks(kgo.AllISRAcks()),
		// A message goes at once, and can be given up: with idempotent writes one under way could not.
		kgo.ProducerLinger(0), kgo.DisableIdempotentWrite(),
		kgo.MetadataMinAge(retryDelay), kgo.RetryBackoffFn(func(int) time.Duration { return retryDelay }),
	)...)
	if err != nil {
		return nil, err
	}
	return &publisher{client: client, topic: c.Topic}, nil
}

// Publish implements probes.Publisher.
func (p *publisher) Publish(ctx context.Context, key string, message []byte) error {
	done := make(chan error, 1)
	p.client.Produce(ctx, &kgo.Record{Topic: p.topic, Key: []byte(key), Value: message}, func(_ *kgo.Record, err error) { done <- err })
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		return probes.NoAnswer(ctx)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return probes.NoAnswer(ctx)
	case errors.Is(err, kgo.ErrClientClosed):
		return probes.ErrClosed
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("topic %s does not exist, or may not be written; create it, and grant the exporter's user WRITE on it", p.topic)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return probes.Refusal(fmt.Errorf("topic %s may not be written; grant the exporter's user WRITE on it", p.topic))
	}
	return connectionFault(err)
}

// Close implements probes.Publisher: it gives up what is under way.
func (p *publisher) Close() { p.client.Close() }
