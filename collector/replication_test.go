package collector

import (
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

func TestReplicationLag(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1000+int64(s), 0) }
	h := &replicaHistory{}
	for _, step := range []struct {
		what           string
		second         int
		primary        *probes.Replication
		replica        int64
		bytes, seconds probes.Count
	}{
		{"equal", 0, &probes.Replication{ReplID: "a", Offset: 100}, 100, count(0), count(0)},
		{"read before the replica", 1, &probes.Replication{ReplID: "a", Offset: 110}, 120, count(0), count(0)},
		{"just ahead", 10, &probes.Replication{ReplID: "a", Offset: 200}, 120, count(80), count(0)},
		{"still where it was", 20, &probes.Replication{ReplID: "a", Offset: 300}, 120, count(180), count(10)},
		{"has reached where the primary was at 10", 30, &probes.Replication{ReplID: "a", Offset: 400}, 250, count(150), count(10)},
		{"the primary is silent", 40, nil, 250, probes.Count{}, count(20)},
		{"the replica has all that was seen", 45, nil, 400, probes.Count{}, probes.Count{}},
		{"an idle primary", 50, &probes.Replication{ReplID: "a", Offset: 500}, 450, count(50), count(0)},
		{"an idle primary, later", 60, &probes.Replication{ReplID: "a", Offset: 500}, 450, count(50), count(10)},
		{"a failover goes on with the offsets", 70, &probes.Replication{ReplID: "b", ReplID2: "a", Offset: 600}, 450, count(150), count(20)},
		{"another stream", 80, &probes.Replication{ReplID: "c", Offset: 700}, 450, count(250), count(0)},
		{"reset", 90, &probes.Replication{ReplID: "c", Offset: 10}, 5, count(5), count(0)},
		{"caught up", 100, &probes.Replication{ReplID: "c", Offset: 10}, 10, count(0), count(0)},
	} {
		bytes, seconds := h.lag(at(step.second), step.replica, step.primary)
		if bytes != step.bytes || seconds != step.seconds {
			t.Errorf("%s: %+v and %+v, want %+v and %+v", step.what, bytes, seconds, step.bytes, step.seconds)
		}
	}
}

// What is kept is bounded, and the earliest time is kept.
func TestReplicationLagOfLongFrozenReplica(t *testing.T) {
	h := &replicaHistory{}
	for i := range 10_000 {
		_, seconds := h.lag(time.Unix(int64(i), 0), 0, &probes.Replication{ReplID: "a", Offset: int64(i + 1)})
		if seconds.Value != float64(i) {
			t.Fatalf("%v s after %d", seconds, i)
		}
	}
	if len(h.positions) > mostPositions {
		t.Errorf("%d positions are kept", len(h.positions))
	}
	// Half way there, it is told within the grain of what was kept.
	_, seconds := h.lag(time.Unix(10_000, 0), 5000, &probes.Replication{ReplID: "a", Offset: 10_001})
	if seconds.Value > 5000 || seconds.Value < 4800 {
		t.Errorf("%v", seconds)
	}
}
