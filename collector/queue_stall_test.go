package collector

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// TestListStalled plays samplings a second apart, with a window of three.
func TestListStalled(t *testing.T) {
	const unknown = -1
	type ends = map[string]uint64
	type step struct {
		depth float64
		next  ends
		want  float64
	}
	for name, steps := range map[string][]step{
		"nothing is taken": {
			{9, ends{"head": 1}, unknown},
			{9, ends{"head": 1}, unknown},
			{9, ends{"head": 1}, unknown},
			{9, ends{"head": 1}, 1},
			{9, ends{"head": 1}, 1},
			{8, ends{"head": 2}, 0},
		},
		"it grows, and nothing is taken": {
			{1, ends{"head": 1, "tail": 1}, unknown}, {2, ends{"head": 1, "tail": 2}, unknown}, {3, ends{"head": 1, "tail": 3}, unknown}, {4, ends{"head": 1, "tail": 4}, 1},
		},
		"it keeps up": {
			{5, ends{"head": 1}, unknown}, {5, ends{"head": 6}, unknown}, {5, ends{"head": 11}, unknown}, {5, ends{"head": 16}, 0}, {5, ends{"head": 21}, 0},
		},
		"it keeps up, and which end is the older is not known": {
			{5, ends{"head": 1, "tail": 5}, unknown}, {5, ends{"head": 6, "tail": 10}, unknown}, {6, ends{"head": 11, "tail": 16}, unknown}, {6, ends{"head": 16, "tail": 21}, 0},
		},
		"messages that are all alike are taken": {
			{5, ends{"head": 1, "tail": 1}, unknown}, {4, ends{"head": 1, "tail": 1}, unknown}, {3, ends{"head": 1, "tail": 1}, unknown}, {2, ends{"head": 1, "tail": 1}, 0},
		},
		"empty": {{0, ends{}, unknown}, {0, ends{}, unknown}, {0, ends{}, unknown}, {0, ends{}, 0}, {3, ends{"head": 1}, 0}},
		"not readable meanwhile": {
			{9, ends{"head": 1}, unknown}, {9, ends{"head": 1}, unknown}, {9, nil, unknown}, {9, ends{"head": 1}, unknown}, {9, ends{"head": 1}, unknown},
		},
	} {
		c, now, id := newQueueCounters(3*time.Second), time.Unix(1_700_000_000, 0), idOf(listQueue("q"))
		for i, s := range steps {
			c.observe(id, probes.Backlog{Complete: true, Depth: count(s.depth), Ends: map[probes.Partition]float64{{}: s.depth}, Next: s.next}, now)
			got, there := groupTold(t, c, id, now)["queue_stalled"]
			if there != (s.want != unknown) || there && got != s.want {
				t.Errorf("%s, sampling %d: %v (there: %v), want %v", name, i, got, there, s.want)
			}
			now = now.Add(time.Second)
		}
	}
}

// A stream's group that never read has no positions; where it stands tells. What it processes is not known, which is not nothing.
func TestStalledGroupThatNeverRead(t *testing.T) {
	c, now, id, p := newQueueCounters(3*time.Second), time.Unix(1_700_000_000, 0), idOf(queueOf("redis_stream", "q")), at("inv", 0)
	for i, s := range []struct {
		standing string
		waits    int64
		want     float64 // below 0: absent
	}{
		{"0-0", 5, -1},
		{"0-0", 6, -1},
		{"0-0", 7, -1},
		{"0-0", 7, 1},
		{"7-0", 0, 0}, // XGROUP SETID to the end
		{"7-0", 0, 0},
		{"7-0", 3, 0},
		{"8-0", 2, 0}, // it reads
	} {
		c.observe(id, probes.Backlog{Complete: true, Depth: count(float64(s.waits)), Ends: map[probes.Partition]float64{p: 7}, Groups: []probes.GroupBacklog{
			{Group: "g", HasOffsets: true, Standing: s.standing, Lag: map[probes.Partition]int64{p: 9}, Waiting: map[probes.Partition]int64{p: s.waits}},
		}}, now)
		told := groupTold(t, c, id, now)
		if n, there := told["consumer_group_processed_total"]; there {
			t.Errorf("sampling %d: %v processed, as if that were known", i, n)
		}
		got, there := told[stalledName]
		if there != (s.want >= 0) || there && got != s.want {
			t.Errorf("sampling %d: %v (there: %v), want %v", i, got, there, s.want)
		}
		now = now.Add(time.Second)
	}
}

// A marker alone is lag, and stalls nobody; a group that waits beside it is stalled all the same.
func TestMarkersStallNobody(t *testing.T) {
	c, now, id, p := newQueueCounters(3*time.Second), time.Unix(1_700_000_000, 0), idOf(kafkaQueue("q")), at("t", 0)
	for range 6 {
		one := map[probes.Partition]float64{p: 10}
		c.observe(id, probes.Backlog{Complete: true, Ends: map[probes.Partition]float64{p: 11}, Groups: []probes.GroupBacklog{
			{Group: "done", Positions: one, Lag: map[probes.Partition]int64{p: 1}, Waiting: map[probes.Partition]int64{p: 0}},
			{Group: "behind", Positions: one, Lag: map[probes.Partition]int64{p: 1}, Waiting: map[probes.Partition]int64{p: 1}},
		}}, now)
		now = now.Add(time.Second)
	}
	for name, want := range map[string]float64{"done": 0, "behind": 1} {
		if s := c.by[id].groups[name].stalled(c.window, now); !s.Known || s.Value != want {
			t.Errorf("group %s: stalled %+v, want %v", name, s, want)
		}
	}
}

// A leftover group has its lag, and nothing that counts; the live one beside it has all.
func TestLeftoverGroups(t *testing.T) {
	p := at("t", 0)
	group := func(name string, leftover bool) probes.GroupBacklog {
		return probes.GroupBacklog{
			Group: name, State: "Empty", HasMembers: true, HasOffsets: true, Leftover: leftover, Positions: map[probes.Partition]float64{p: 3},
			Lag: map[probes.Partition]int64{p: 7}, Waiting: map[probes.Partition]int64{p: 7}, LagSeconds: map[probes.Partition]float64{p: 900},
			Starts: map[probes.Partition]float64{p: 5},
		}
	}
	q := &fakeQueue{backlog: probes.Backlog{
		Complete: true, Depth: count(7), Ends: map[probes.Partition]float64{p: 10}, LeftoverGroups: count(1),
		Groups: []probes.GroupBacklog{group("gone", true), group("live", false)},
	}}
	c := newQueueCollector([]config.Queue{kafkaQueue("q")}, []probes.Queue{q}, newQueueCounters(0), slog.New(slog.DiscardHandler))
	var text string
	for range 4 {
		played, err := playQueues(t, c, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		text = played.text(t)
	}
	for _, line := range []string{
		`cacheinv_queue_leftover_groups{queue="q"} 1`, `cacheinv_consumer_group_lag{group="gone",partition="0",queue="q",topic="t"} 7`,
		`cacheinv_consumer_group_stalled{group="live",queue="q"} 1`, `cacheinv_consumer_group_lag_seconds{group="live",partition="0",queue="q",topic="t"} 900`,
		`cacheinv_queue_lost_messages_total{group="live",queue="q"} 0`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	for _, family := range []string{"stalled", "processed_total", "lag_seconds", "rewinds_total"} {
		if strings.Contains(text, "cacheinv_consumer_group_"+family+`{group="gone"`) {
			t.Errorf("the leftover group has %s:\n%s", family, text)
		}
	}
	if e := c.evidence[0]; len(e.Groups) != 1 || e.Groups[0].Name != "live" {
		t.Errorf("evidence %+v", e.Groups)
	}
}

// What can't be read as configured is counted, and said once where it is all.
func TestUnreadableMessages(t *testing.T) {
	var log bytes.Buffer
	q := &fakeQueue{backlog: probes.Backlog{Complete: true, Depth: count(3)}}
	c := newQueueCollector([]config.Queue{listQueue("q")}, []probes.Queue{q}, newQueueCounters(0), slog.New(slog.NewTextHandler(&log, nil)))
	for _, s := range []struct {
		unreadable map[string]int
		warnings   int
	}{
		{map[string]int{"key": 0, "timestamp": 2}, 0},
		{map[string]int{"key": 0, "timestamp": 3}, 1},
		{map[string]int{"key": 0, "timestamp": 3}, 1},
		{map[string]int{"key": 0, "timestamp": 1}, 1},
		{map[string]int{"key": 3, "timestamp": 3}, 2},
	} {
		q.backlog.Sample = &probes.MessageSample{Messages: 3, Unreadable: s.unreadable}
		p, err := playQueues(t, c, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		text := p.text(t)
		for part, n := range s.unreadable {
			if line := `cacheinv_queue_unreadable_messages{part="` + part + `",queue="q"} ` + string(rune('0'+n)); !strings.Contains(text, line+"\n") {
				t.Errorf("no %s in\n%s", line, text)
			}
		}
		if n := strings.Count(log.String(), "level=WARN"); n != s.warnings {
			t.Errorf("%d warnings, want %d:\n%s", n, s.warnings, log.String())
		}
	}
}
