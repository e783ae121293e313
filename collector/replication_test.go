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
		replica        int64 // -1: unknown
		bytes, seconds probes.Count
	}{
		{"equal", 0, &probes.Replication{ReplID: "a", Offset: 100, HasOffset: true}, 100, count(0), count(0)},
		{"read before the replica", 1, &probes.Replication{ReplID: "a", Offset: 110, HasOffset: true}, 120, count(0), count(0)},
		{"just ahead", 10, &probes.Replication{ReplID: "a", Offset: 200, HasOffset: true}, 120, count(80), count(0)},
		{"still where it was", 20, &probes.Replication{ReplID: "a", Offset: 300, HasOffset: true}, 120, count(180), count(10)},
		{"has reached where the primary was at 10", 30, &probes.Replication{ReplID: "a", Offset: 400, HasOffset: true}, 250, count(150), count(10)},
		{"the primary is silent", 40, nil, 250, probes.Count{}, count(20)},
		{"the replica has all that was seen", 45, nil, 400, probes.Count{}, probes.Count{}},
		{"an idle primary", 50, &probes.Replication{ReplID: "a", Offset: 500, HasOffset: true}, 450, count(50), count(0)},
		{"an idle primary, later", 60, &probes.Replication{ReplID: "a", Offset: 500, HasOffset: true}, 450, count(50), count(10)},
		{"a failover goes on with the offsets", 70, &probes.Replication{ReplID: "b", ReplID2: "a", Offset: 600, HasOffset: true}, 450, count(150), count(20)},
		{"another stream", 80, &probes.Replication{ReplID: "c", Offset: 700, HasOffset: true}, 450, count(250), count(0)},
		{"the replica tells no offset", 82, &probes.Replication{ReplID: "c", Offset: 700, HasOffset: true}, -1, probes.Count{}, probes.Count{}},
		{"the primary tells none", 84, &probes.Replication{ReplID: "c"}, 450, probes.Count{}, count(4)},
		{"nor does the primary of another stream", 86, &probes.Replication{ReplID: "d"}, 450, probes.Count{}, probes.Count{}},
		{"which it tells again", 88, &probes.Replication{ReplID: "c", Offset: 700, HasOffset: true}, 450, count(250), count(0)},
		{"reset", 90, &probes.Replication{ReplID: "c", Offset: 10, HasOffset: true}, 5, count(5), count(0)},
		{"caught up", 100, &probes.Replication{ReplID: "c", Offset: 10, HasOffset: true}, 10, count(0), count(0)},
	} {
		bytes, seconds := h.lag(at(step.second), max(step.replica, 0), step.replica >= 0, step.primary)
		if bytes != step.bytes || seconds != step.seconds {
			t.Errorf("%s: %+v and %+v, want %+v and %+v", step.what, bytes, seconds, step.bytes, step.seconds)
		}
	}
}

// What is kept is bounded, and the earliest time is kept.
func TestReplicationLagOfLongFrozenReplica(t *testing.T) {
	h := &replicaHistory{}
	for i := range 10_000 {
		_, seconds := h.lag(time.Unix(int64(i), 0), 0, true, &probes.Replication{ReplID: "a", Offset: int64(i + 1), HasOffset: true})
		if seconds.Value != float64(i) {
			t.Fatalf("%v s after %d", seconds, i)
		}
	}
	if len(h.positions) > mostPositions {
		t.Errorf("%d positions are kept", len(h.positions))
	}
	// Half way there, it is told within the grain of what was kept.
	_, seconds := h.lag(time.Unix(10_000, 0), 5000, true, &probes.Replication{ReplID: "a", Offset: 10_001, HasOffset: true})
	if seconds.Value > 5000 || seconds.Value < 4800 {
		t.Errorf("%v", seconds)
	}
}
