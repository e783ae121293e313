package consistency

import "github.com/cacheinv/cacheinv_exporter/probes"

// Who replicates whom, by what the nodes tell of themselves: a replica is judged by its own primary's copy, and has no
// vote beside it.

// findPrimaries of the replicas among a class's columns, by what both last told: the primary shares the replication id.
// Replicas of a primary that is none of the columns have one source between them.
func (r *round) findPrimaries(columns []nodeColumn) {
	absent := map[string]int{} // sources of primaries that are none of the columns, by replication id
	for i := range columns {
		col := &columns[i]
		col.source = i + 1
		self := r.lastKnown(col.result)
		if p := r.successorOf(columns, col, self); p != nil {
			col.replica, col.primary, col.source = true, p, int(p.index)+1
			continue
		}
		if self.role != "replica" {
			continue
		}
		if p := r.primaryOf(columns, col, self); p != nil {
			col.replica, col.primary, col.source = true, p, int(p.index)+1
			continue
		}
		if self.replID == "" {
			continue // it counts for itself
		}
		if absent[self.replID] == 0 {
			absent[self.replID] = len(columns) + len(absent) + 1
		}
		col.replica, col.source = true, absent[self.replID]
	}
}

// successorOf gives the column of the node that took over from a primary that does not answer; nil: none. Both have one
// vote between them.
func (r *round) successorOf(columns []nodeColumn, former *nodeColumn, self *nodeMemory) *nodeColumn {
	if self.role != "primary" || self.answered || self.replID == "" {
		return nil
	}
	for i := range columns {
		col := &columns[i]
		other := r.lastKnown(col.result)
		if col != former && col.layer == former.layer && other.answered && other.role == "primary" && other.replID2 == self.replID {
			return col
		}
	}
	return nil
}

// primaryOf gives the column of a replica's primary; nil: none of them.
func (r *round) primaryOf(columns []nodeColumn, replica *nodeColumn, self *nodeMemory) *nodeColumn {
	var only *nodeColumn
	in := 0
	for i := range columns {
		col := &columns[i]
		if col == replica || !col.result.Traits.Replicates || col.layer != replica.layer {
			continue
		}
		other := r.lastKnown(col.result)
		if other.role == "primary" && self.replID != "" && (other.replID == self.replID || other.replID2 == self.replID) {
			return col
		}
		if replica.result.Group != "" && col.result.Group == replica.result.Group && other.role != "replica" {
			only = col
			in++
		}
	}
	// The ids may not agree while a primary is replaced; in its group there is but one whose replica it can be.
	if in == 1 {
		return only
	}
	return nil
}

// lastKnown is what a node told of itself, now or when it last answered.
func (r *round) lastKnown(n *NodeResult) *nodeMemory { return r.memory.nodes[n.Name] }

// rebooted: the node that told this has another process than when it last told of itself.
func (n *nodeMemory) rebooted(s *probes.Survey) bool {
	return s.UptimeSeconds.Known && s.UptimeSeconds.Value < n.uptime || s.RunID != "" && n.runID != "" && s.RunID != n.runID
}

// noteNodes keeps what each node told of itself.
func (r *round) noteNodes() {
	for _, h := range r.memory.nodes {
		h.answered = false
	}
	for _, nr := range r.order {
		n := &nr.result
		h := r.memory.nodes[n.Name]
		if h == nil {
			h = &nodeMemory{}
			r.memory.nodes[n.Name] = h
		}
		h.asked = r.began
		if !nr.surveyed {
			continue // what it last told stands
		}
		h.answered = true
		v := &n.Survey
		if h.rebooted(v) {
			h.boots++
		}
		h.told = r.began
		h.uptime, h.evicted, h.loading, h.role = v.UptimeSeconds.Value, v.Evicted.Value, v.Loading, v.Role
		if v.Active {
			h.role = "" // it has a vote of its own
		}
		h.items = v.Items.Value
		h.counted = v.UptimeSeconds.Known && v.Evicted.Known && v.Items.Known
		if v.RunID != "" {
			h.runID = v.RunID
		}
		if v.Replication != nil {
			h.replID, h.replID2 = v.Replication.ReplID, v.Replication.ReplID2
			if v.Replication.HasOffset {
				h.offset = v.Replication.Offset
			}
		}
	}
	r.memory.forgetNodes(r.began, r.env.ForgetAfter)
}
