package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

var (
	replicationLinkUp = gauge("replication_link_up",
		"Whether the replica's link to its primary is up (1) or not, also where the replica does not answer (0).", "layer", "node")
	replicationLagBytes = gauge("replication_lag_bytes",
		"How far the replica is behind its primary, in bytes of the replication stream; by the primary's account where the replica "+
			"does not answer.", "layer", "node")
	replicationLagSeconds = gauge("replication_lag_seconds",
		"Time since the earliest sampling in which the primary was already ahead of where the replica is now, in seconds; 0 if none.",
		"layer", "node")
)

// mostPositions of a primary that are kept for one replica.
const mostPositions = 256

// replicas are the nodes that were replicas when they last answered. They outlive configurations, of which an old one may
// still be sampled when a new one begins.
type replicas struct {
	mu sync.Mutex
	by map[string]*replicaHistory
}

func newReplicas() *replicas { return &replicas{by: map[string]*replicaHistory{}} }

// replicaHistory is where a replica's primary was.
type replicaHistory struct {
	// primary is the name of the node that it last followed.
	primary string
	// peer is where it was reached last.
	peer string
	// replID of the stream that the positions are in.
	replID    string
	positions []position
}

// position of a primary at a time; a later one is further.
type position struct {
	at     time.Time
	offset int64
}

// lag of a replica at offset, where that is known; primary is what its primary says of itself, nil where it does not answer.
func (h *replicaHistory) lag(now time.Time, offset int64, known bool, primary *probes.Replication) (bytes, seconds probes.Count) {
	if primary != nil {
		h.note(now, primary)
	}
	if !known {
		return bytes, seconds
	}
	told := primary != nil && primary.HasOffset
	if told {
		bytes = probes.Count{Value: float64(max(0, primary.Offset-offset)), Known: true}
	}
	passed := 0
	for passed < len(h.positions) && h.positions[passed].offset <= offset {
		passed++
	}
	h.positions = h.positions[passed:]
	switch {
	case len(h.positions) > 0:
		seconds = probes.Count{Value: now.Sub(h.positions[0].at).Seconds(), Known: true}
	case told:
		seconds.Known = true
	}
	return bytes, seconds
}

// note where the primary is.
func (h *replicaHistory) note(now time.Time, primary *probes.Replication) {
	if h.replID != primary.ReplID {
		if h.replID == "" || h.replID != primary.ReplID2 { // another stream; one that goes on after a failover keeps its offsets
			h.positions = nil
		}
		h.replID = primary.ReplID
	}
	if !primary.HasOffset {
		return
	}
	if last := len(h.positions) - 1; last >= 0 && primary.Offset <= h.positions[last].offset {
		if primary.Offset < h.positions[0].offset {
			h.positions = nil
		}
		return // it has been there before, and the earlier time counts
	}
	h.positions = append(h.positions, position{now, primary.Offset})
	if len(h.positions) > mostPositions {
		h.thin()
	}
}

// thin keeps positions that stand evenly over the time, the earliest and the last among them.
func (h *replicaHistory) thin() {
	last := h.positions[len(h.positions)-1]
	gap := last.at.Sub(h.positions[0].at) * 2 / mostPositions
	spread := h.positions[:1]
	for _, p := range h.positions[1:] {
		if p == last || p.at.Sub(spread[len(spread)-1].at) >= gap {
			spread = append(spread, p)
		}
	}
	h.positions = spread
}

// newReplicationSignal remembers who were replicas, and where their primaries were, over all configurations.
func newReplicationSignal(Options) Opener {
	known := newReplicas()
	return func(*Setup) (Collector, error) { return &replicationCollector{known: known}, nil }
}

// replicationCollector reports whether replicas follow their primaries, and how closely.
type replicationCollector struct {
	known *replicas
	// evidence of the last Update.
	evidence []diagnosis.Replica
}

// AddEvidence implements Evidencer.
func (c *replicationCollector) AddEvidence(e *diagnosis.Evidence) { e.Replicas = c.evidence }

// Update implements Collector.
func (c *replicationCollector) Update(_ context.Context, s *Sampling, ch chan<- prometheus.Metric) error {
	r := s.Consistency()
	c.known.mu.Lock()
	defer c.known.mu.Unlock()
	c.evidence = nil
	var errs []error
	streams := streamsOf(r)
	seen := map[string]bool{}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if !n.Traits.Replicates {
			continue
		}
		seen[n.Name] = true
		if n.Err != nil || !n.Up {
			errs = append(errs, fmt.Errorf("node %s: %w", n.Name, cmp.Or(n.Err, errNoAnswer)))
		}
		switch {
		case !n.Up && (c.known.by[n.Name] != nil || streams.listed[placeOf(n.Layer, n.Address)] != nil):
		case n.Up && n.Survey.Role == "replica":
		case n.Up && n.Survey.Role != "":
			delete(c.known.by, n.Name)
			continue
		default:
			continue
		}
		if c.known.by[n.Name] == nil {
			c.known.by[n.Name] = &replicaHistory{}
		}
		c.send(r.Began, n, streams, ch)
	}
	for name := range c.known.by {
		if !seen[name] {
			delete(c.known.by, name)
		}
	}
	sendRanks(r, ch)
	return errors.Join(errs...)
}

// send what is known of one replica.
func (c *replicationCollector) send(now time.Time, n *consistency.NodeResult, s replicationStreams, ch chan<- prometheus.Metric) {
	h := c.known.by[n.Name]
	out := diagnosis.Replica{Layer: n.Layer, Node: n.Name}
	if rep := n.Survey.Replication; n.Up && rep != nil {
		h.peer = n.Survey.Peer
		out.LinkUp = rep.LinkUp
		primary := s.primaries[rep.ReplID]
		if primary != nil {
			h.primary = primary.Name
			out.LagBytes, out.LagSeconds = h.lag(now, rep.Offset, rep.HasOffset, primary.Survey.Replication)
		} else {
			out.LagBytes, out.LagSeconds = h.lag(now, rep.Offset, rep.HasOffset, nil)
		}
	} else if primary, listed := s.account(n, h, c.known.by); listed != nil {
		out.LagBytes, out.LagSeconds = h.lag(now, listed.Offset, listed.HasOffset, primary.Survey.Replication)
	}
	c.evidence = append(c.evidence, out)
	replicationLinkUp.send(ch, number(out.LinkUp), n.Layer, n.Name)
	if out.LagBytes.Known {
		replicationLagBytes.send(ch, out.LagBytes.Value, n.Layer, n.Name)
	}
	if out.LagSeconds.Known {
		replicationLagSeconds.send(ch, out.LagSeconds.Value, n.Layer, n.Name)
	}
}

var errNoAnswer = errors.New("no answer")

// replicationStreams are what the primaries of a sampling say of theirs.
type replicationStreams struct {
	// primaries by the id of their stream, and by name.
	primaries, byName map[string]*consistency.NodeResult
	// listed are what primaries say of their replicas, by the places of these.
	listed map[place]*listing
	// at are the names of the nodes at a place.
	at map[place]string
}

// place is where a layer's node is asked.
type place struct{ layer, address string }

func placeOf(layer, address string) place { return place{layer, strings.ToLower(address)} }

// listing is a primary's account of one of its replicas.
type listing struct {
	primary *consistency.NodeResult
	replica *probes.Replica
}

func streamsOf(r *consistency.Result) replicationStreams {
	s := replicationStreams{
		primaries: map[string]*consistency.NodeResult{}, byName: map[string]*consistency.NodeResult{},
		listed: map[place]*listing{}, at: map[place]string{},
	}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		for _, at := range []string{n.Address, n.Survey.Peer} {
			if at != "" {
				s.at[placeOf(n.Layer, at)] = n.Name
			}
		}
		rep := n.Survey.Replication
		if !n.Up || rep == nil {
			continue
		}
		if n.Survey.Role == "primary" && rep.ReplID != "" {
			s.primaries[rep.ReplID], s.byName[n.Name] = n, n
		}
		for k := range rep.Replicas {
			s.listed[placeOf(n.Layer, rep.Replicas[k].Address)] = &listing{n, &rep.Replicas[k]}
		}
	}
	return s
}

// account is what a primary says of a replica that does not answer. A primary may know it by another address than we do:
// then it is the only one of its list that is not accounted for.
func (s replicationStreams) account(n *consistency.NodeResult, h *replicaHistory, known map[string]*replicaHistory) (*consistency.NodeResult, *probes.Replica) {
	for _, at := range []string{n.Address, h.peer} {
		if l := s.listed[placeOf(n.Layer, at)]; l != nil && at != "" {
			return l.primary, l.replica
		}
	}
	primary := s.byName[h.primary]
	if primary == nil {
		return nil, nil
	}
	found := map[string]bool{} // followers that are listed at their place
	var open []*probes.Replica
	for i := range primary.Survey.Replication.Replicas {
		r := &primary.Survey.Replication.Replicas[i]
		if name, ok := s.at[placeOf(primary.Layer, r.Address)]; ok {
			found[name] = true
		} else {
			open = append(open, r)
		}
	}
	followers := 0
	for name, k := range known {
		if k.primary == h.primary && !found[name] {
			followers++
		}
	}
	if len(open) == 1 && followers == 1 {
		return primary, open[0]
	}
	return nil, nil
}
