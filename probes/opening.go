package probes

import (
	"fmt"
	"log/slog"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// OpenFleet opens what the layers name. Nothing is asked yet.
func OpenFleet(cfg *config.Config, opt Options, logger *slog.Logger) (*Fleet, error) {
	f := &Fleet{}
	for _, l := range cfg.Layers {
		for _, c := range l.Nodes {
			m, err := openMembers(Identity{Layer: l.Name, Name: c.Name}, c, opt, logger)
			if err != nil {
				f.Close()
				return nil, fmt.Errorf("node %s: %w", c.Name, err)
			}
			f.Add(c.Name, m)
		}
	}
	return f, nil
}

func openMembers(id Identity, c config.Node, opt Options, log *slog.Logger) (Members, error) {
	switch {
	case c.Redis != nil:
		return openRedisMembers(id, *c.Redis, c.MinNodes, opt, log)
	case c.Memcached != nil:
		return openMemcachedMembers(id, *c.Memcached, c.MinNodes, opt, log)
	}
	return openHTTPMembers(id, *c.HTTP, c.MinNodes, opt, log)
}

// OpenQueues opens the queues in the order of cfg.Queues. Nothing is asked yet. Those in Redis use the nodes of fleet,
// which must be closed after them.
func OpenQueues(cfg *config.Config, fleet *Fleet, opt Options, log *slog.Logger) ([]Queue, error) {
	var out []Queue
	for _, c := range cfg.Queues {
		q, err := openQueue(c, fleet, opt, log)
		if err != nil {
			for _, q := range out {
				q.Close()
			}
			return nil, fmt.Errorf("queue %s: %w", c.Name, err)
		}
		out = append(out, q)
	}
	return out, nil
}

func openQueue(c config.Queue, fleet *Fleet, opt Options, log *slog.Logger) (Queue, error) {
	switch {
	case c.Redis != nil:
		return openRedisQueue(*c.Redis, c.Message, fleet, opt)
	case c.Kafka != nil:
		return newKafkaQueue(*c.Kafka, c.Message, opt, log.With("queue", c.Name))
	default:
		return newHTTPQueue(*c.HTTP, c.Name, opt)
	}
}

// OpenHistories opens the configured histories, in the order of cfg.History. Nothing is asked yet.
func OpenHistories(cfg *config.Config, counts *Histories, opt Options) ([]History, error) {
	var out []History
	for _, c := range cfg.History {
		h, err := openHistory(c, counts.of(c.Name), opt)
		if err != nil {
			for _, h := range out {
				h.Close()
			}
			return nil, fmt.Errorf("history %s: %w", c.Name, err)
		}
		out = append(out, h)
	}
	return out, nil
}

func openHistory(c config.History, counts *tally, opt Options) (History, error) {
	if c.DynamoDB != nil {
		return newDynamoDB(*c.DynamoDB, counts, opt)
	}
	return newHTTPHistory(*c.HTTP, counts, opt)
}

// OpenPublisher opens what c names. Redis is asked through the nodes of fleet, which must be closed after it.
func OpenPublisher(c config.Publish, fleet *Fleet, opt Options) (Publisher, error) {
	switch {
	case c.Kafka != nil:
		return newKafkaPublisher(*c.Kafka)
	case c.Redis != nil:
		return openRedisPublisher(*c.Redis, fleet)
	default:
		return newHTTPPublisher(*c.HTTP, opt)
	}
}
