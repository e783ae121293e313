package probes

import (
	"cmp"
	"context"
	"fmt"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// Publisher sends invalidations to where an application's processors take them from.
type Publisher interface {
	// Publish a message about key. After an error of ctx's end the message may have been taken all the same. It may be
	// called by several goroutines at once.
	Publish(ctx context.Context, key string, message []byte) error
	Close()
}

// OpenPublisher opens what c names. Redis is asked through the nodes of fleet, which must be closed after it.
func OpenPublisher(c config.Publish, fleet *Fleet, opt Options) (Publisher, error) {
	switch {
	case c.Kafka != nil:
		return newKafkaPublisher(*c.Kafka)
	case c.Redis != nil:
		server, ok := fleet.Redis(c.Redis.Node, cmp.Or(c.Redis.List, c.Redis.Stream))
		if !ok {
			return nil, fmt.Errorf("%q is no redis node of the layers; write the name of one", c.Redis.Node)
		}
		return redisPublisher{server: server, list: c.Redis.List, stream: c.Redis.Stream}, nil
	default:
		return newHTTPPublisher(*c.HTTP, opt)
	}
}
