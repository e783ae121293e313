package collector

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
)

var replicationLinkUp = gauge("replication_link_up",
	"Whether the replica's link to its primary is up (1) or not, also where the replica does not answer (0).", "layer", "node")

// replicas are the nodes that were replicas when they last answered.
type replicas map[string]bool

// replicationCollector tells whether replicas follow their primaries.
type replicationCollector struct{ known replicas }

func (replicationCollector) Name() string { return "replication" }

func (c replicationCollector) update(r *consistency.Result, ch chan<- prometheus.Metric) error {
	var errs []error
	listed := announced(r)
	seen := map[string]bool{}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.Kind != "redis" {
			continue
		}
		seen[n.Name] = true
		if n.Err != nil || !n.Up {
			errs = append(errs, fmt.Errorf("node %s: %w", n.Name, cmp.Or(n.Err, errNoAnswer)))
		}
		switch {
		case !n.Up && (c.known[n.Name] || listed[n.Name]):
			c.known[n.Name] = true
			replicationLinkUp.send(ch, 0, n.Layer, n.Name)
		case n.Up && n.Survey.Role == "replica":
			c.known[n.Name] = true
			up := n.Survey.Replication != nil && n.Survey.Replication.LinkUp
			replicationLinkUp.send(ch, number(up), n.Layer, n.Name)
		case n.Up && n.Survey.Role != "":
			delete(c.known, n.Name)
		}
	}
	for name := range c.known {
		if !seen[name] {
			delete(c.known, name)
		}
	}
	return errors.Join(errs...)
}

var errNoAnswer = errors.New("no answer")

// announced are the names of the nodes that a primary of their group lists as its replicas.
func announced(r *consistency.Result) map[string]bool {
	addresses := map[string]bool{} // GROUP/HOST:PORT
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.Group == "" || n.Survey.Replication == nil {
			continue
		}
		for _, replica := range n.Survey.Replication.Replicas {
			addresses[n.Group+"/"+strings.TrimSpace(replica.Address)] = true
		}
	}
	return addresses
}
