package config

import (
	"fmt"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// OpenFleet opens the nodes of all layers. Nothing is asked yet.
func (c *Config) OpenFleet(env *probes.Env) (*probes.Fleet, error) {
	var nodes []probes.LayerNode
	for _, l := range c.Layers {
		for _, n := range l.Nodes {
			id := probes.Identity{Layer: l.Name, Name: n.Name, Kind: n.Kind, Traits: n.Traits}
			nodes = append(nodes, probes.LayerNode{Identity: id, Source: n.Source, Least: n.MinNodes})
		}
	}
	return probes.OpenFleet(nodes, env)
}

// OpenQueues opens the queues, in the order of c.Queues. Nothing is asked yet. Close them before the fleet, whose nodes some
// of them use.
func (c *Config) OpenQueues(fleet *probes.Fleet, env *probes.Env) ([]probes.Queue, error) {
	return openAll(c.Queues, func(q Queue) (probes.Queue, error) {
		out, err := q.Source.Open(q.Name, q.Message, fleet, env)
		return out, named("queue", q.Name, err)
	})
}

// OpenHistories opens the histories, in the order of c.History; they count to counts. Nothing is asked yet.
func (c *Config) OpenHistories(counts *probes.Histories, env *probes.Env) ([]probes.History, error) {
	return openAll(c.History, func(h History) (probes.History, error) {
		out, err := h.Source.Open(counts.Of(h.Name), env)
		return out, named("history", h.Name, err)
	})
}

// OpenApplications opens the applications, in the order of c.Versions. Nothing is asked yet.
func (c *Config) OpenApplications(env *probes.Env) ([]probes.Application, error) {
	return openAll(c.Versions, func(a App) (probes.Application, error) {
		out, err := a.Source.Open(a.Name, env)
		return out, named("application", a.Name, err)
	})
}

// openAll opens one of each, or none.
func openAll[C any, O interface{ Close() }](configured []C, open func(C) (O, error)) ([]O, error) {
	var out []O
	for _, c := range configured {
		o, err := open(c)
		if err != nil {
			for _, o := range out {
				o.Close()
			}
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

func named(what, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, name, err)
}
