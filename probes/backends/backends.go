package backends

import (
	"fmt"
	"log/slog"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/dynamodb"
	"github.com/cacheinv/cacheinv_exporter/probes/http"
	"github.com/cacheinv/cacheinv_exporter/probes/kafka"
	"github.com/cacheinv/cacheinv_exporter/probes/memcached"
	"github.com/cacheinv/cacheinv_exporter/probes/redis"
)

// OpenFleet opens what the layers name. Nothing is asked yet.
func OpenFleet(cfg *config.Config, opt probes.Options, logger *slog.Logger) (*probes.Fleet, error) {
	f := &probes.Fleet{}
	for _, l := range cfg.Layers {
		for _, c := range l.Nodes {
			m, err := openMembers(probes.Identity{Layer: l.Name, Name: c.Name}, c, opt, logger)
			if err != nil {
				f.Close()
				return nil, fmt.Errorf("node %s: %w", c.Name, err)
			}
			f.Add(c.Name, m)
		}
	}
	return f, nil
}

func openMembers(id probes.Identity, c config.Node, opt probes.Options, log *slog.Logger) (probes.Members, error) {
	switch {
	case c.Redis != nil:
		return redis.OpenMembers(id, *c.Redis, c.MinNodes, opt, log)
	case c.Memcached != nil:
		return memcached.OpenMembers(id, *c.Memcached, c.MinNodes, opt, log)
	}
	return http.OpenMembers(id, *c.HTTP, c.MinNodes, opt, log)
}

// OpenQueues opens the queues in the order of cfg.Queues. Nothing is asked yet. Those in Redis use the nodes of fleet,
// which must be closed after them.
func OpenQueues(cfg *config.Config, fleet *probes.Fleet, opt probes.Options, log *slog.Logger) ([]probes.Queue, error) {
	var out []probes.Queue
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

func openQueue(c config.Queue, fleet *probes.Fleet, opt probes.Options, log *slog.Logger) (probes.Queue, error) {
	switch {
	case c.Redis != nil:
		return redis.OpenQueue(*c.Redis, c.Message, fleet, opt)
	case c.Kafka != nil:
		return kafka.NewQueue(*c.Kafka, c.Message, opt, log.With("queue", c.Name))
	default:
		return http.NewQueue(*c.HTTP, c.Name, opt)
	}
}

// OpenHistories opens the configured histories, in the order of cfg.History. Nothing is asked yet.
func OpenHistories(cfg *config.Config, counts *probes.Histories, opt probes.Options) ([]probes.History, error) {
	var out []probes.History
	for _, c := range cfg.History {
		h, err := openHistory(c, counts.Of(c.Name), opt)
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

func openHistory(c config.History, counts *probes.Tally, opt probes.Options) (probes.History, error) {
	if c.DynamoDB != nil {
		return dynamodb.NewHistory(*c.DynamoDB, counts, opt)
	}
	return http.NewHistory(*c.HTTP, counts, opt)
}

// OpenPublisher opens what c names. Redis is asked through the nodes of fleet, which must be closed after it.
func OpenPublisher(c config.Publish, fleet *probes.Fleet, opt probes.Options) (probes.Publisher, error) {
	switch {
	case c.Kafka != nil:
		return kafka.NewPublisher(*c.Kafka)
	case c.Redis != nil:
		return redis.OpenPublisher(*c.Redis, fleet)
	default:
		return http.NewPublisher(*c.HTTP, opt)
	}
}
