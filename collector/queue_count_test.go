package collector

import (
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// groupTold is what the counters tell of group g of a queue.
func groupTold(t *testing.T, c *queueCounters, id queueID, now time.Time) map[string]float64 {
	t.Helper()
	ch := make(chan prometheus.Metric, 100)
	c.send(id, now, ch)
	close(ch)
	p := &played{}
	for m := range ch {
		p.metrics = append(p.metrics, m)
	}
	out := map[string]float64{}
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(p); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			out[f.GetName()[len("cacheinv_"):]] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

// play samplings a second apart; each gives end, start, commit and lag of one partition.
type logStep struct {
	end, start, commit float64
	lag                int64
	want               map[string]float64
	absent             []string
}

func playLog(t *testing.T, id queueID, window time.Duration, steps []logStep) {
	t.Helper()
	c, now, p := newQueueCounters(window), time.Unix(1_700_000_000, 0), probes.Partition{Topic: "t"}
	for i, s := range steps {
		one := func(v float64) map[probes.Partition]float64 { return map[probes.Partition]float64{p: v} }
		c.observe(id, probes.Backlog{Complete: true, Ends: one(s.end), Groups: []probes.GroupBacklog{{
			Group: "g", HasOffsets: true, Positions: one(s.commit), Starts: one(s.start), Lag: map[probes.Partition]int64{p: s.lag},
		}}}, now)
		got := groupTold(t, c, id, now)
		for name, want := range s.want {
			if got[name] != want {
				t.Errorf("sampling %d: %s is %v, want %v", i, name, got[name], want)
			}
		}
		for _, name := range s.absent {
			if _, ok := got[name]; ok {
				t.Errorf("sampling %d: %s is there", i, name)
			}
		}
		now = now.Add(time.Second)
	}
}

const (
	enqueuedName  = "queue_enqueued_total"
	processedName = "consumer_group_processed_total"
	lostName      = "queue_lost_messages_total"
	rewindsName   = "consumer_group_rewinds_total"
	rewoundName   = "consumer_group_rewound_messages_total"
	stalledName   = "consumer_group_stalled"
	changedName   = "consumer_group_last_commit_timestamp_seconds"
)

func TestLostMessagesAreNotProcessed(t *testing.T) {
	playLog(t, idOf(kafkaQueue("q")), time.Minute, []logStep{
		{end: 100, start: 50, commit: 10, want: map[string]float64{lostName: 0, processedName: 0}}, // lost before we looked
		{end: 100, start: 60, commit: 10, want: map[string]float64{lostName: 10}},                  // 50 to 60
		{end: 100, start: 60, commit: 10, want: map[string]float64{lostName: 10}},                  // each once
		{end: 100, start: 60, commit: 65, want: map[string]float64{lostName: 10, processedName: 5}},
		{end: 100, start: 90, commit: 70, want: map[string]float64{lostName: 30, processedName: 10}},
		{end: 100, start: 90, commit: 75, want: map[string]float64{lostName: 30, processedName: 10}}, // it had these already
		{end: 100, start: 95, commit: 97, want: map[string]float64{lostName: 30, processedName: 17}}, // not passed: processed
	})
}

func TestRewinds(t *testing.T) {
	playLog(t, idOf(kafkaQueue("q")), time.Minute, []logStep{
		{end: 100, commit: 90, want: map[string]float64{rewindsName: 0, rewoundName: 0}},
		{end: 100, commit: 40, want: map[string]float64{rewindsName: 1, rewoundName: 50, processedName: 0}},
		{end: 100, commit: 45, want: map[string]float64{rewindsName: 1, rewoundName: 50, processedName: 5}},
		{end: 100, commit: 5, want: map[string]float64{rewindsName: 2, rewoundName: 90, processedName: 5}},
		{end: 3, commit: 1, want: map[string]float64{rewindsName: 2, rewoundName: 90, processedName: 5}}, // the topic was made anew
	})
	// A processor that tells how many it has processed since it started has started again.
	playLog(t, idOf(queueOf("http", "q")), time.Minute, []logStep{
		{end: 100, commit: 90, absent: []string{rewindsName}},
		{end: 100, commit: 4, absent: []string{rewindsName}, want: map[string]float64{processedName: 0}},
		{end: 100, commit: 6, want: map[string]float64{processedName: 2}},
	})
}

func TestStalled(t *testing.T) {
	playLog(t, idOf(kafkaQueue("q")), 3*time.Second, []logStep{
		{end: 100, commit: 90, lag: 10, absent: []string{stalledName, changedName}},
		{end: 100, commit: 90, lag: 10, absent: []string{stalledName}},
		{end: 100, commit: 90, lag: 10, absent: []string{stalledName}}, // not yet for the window
		{end: 100, commit: 90, lag: 10, want: map[string]float64{stalledName: 1}},
		{end: 100, commit: 91, lag: 9, want: map[string]float64{stalledName: 0, changedName: 1_700_000_004}},
		{end: 100, commit: 91, lag: 9, want: map[string]float64{stalledName: 0, changedName: 1_700_000_004}},
		{end: 100, commit: 91, lag: 9, want: map[string]float64{stalledName: 0}},
		{end: 100, commit: 91, lag: 9, want: map[string]float64{stalledName: 0}},
		{end: 100, commit: 91, lag: 9, want: map[string]float64{stalledName: 1}}, // three seconds since it was seen waiting
		{end: 100, commit: 91, lag: 0, want: map[string]float64{stalledName: 0}}, // nothing waits
		{end: 100, commit: 100, lag: 0, want: map[string]float64{stalledName: 0}},
		{end: 100, commit: 100, lag: 0, want: map[string]float64{stalledName: 0}},
		{end: 100, commit: 100, lag: 0, want: map[string]float64{stalledName: 0}}, // an idle topic
		{end: 105, commit: 100, lag: 5, want: map[string]float64{stalledName: 0}},
	})
	// Three samplings are needed whatever the window.
	playLog(t, idOf(kafkaQueue("q")), 0, []logStep{
		{end: 100, commit: 90, lag: 10, absent: []string{stalledName}},
		{end: 100, commit: 90, lag: 10, absent: []string{stalledName}},
		{end: 100, commit: 90, lag: 10, want: map[string]float64{stalledName: 1}},
	})
}

// A number that no counter comes to is not counted, and counting goes on from the one before it: from so much on a sum stands still.
func TestQueueCountersOddPositions(t *testing.T) {
	const odd = math.MaxUint64
	playLog(t, idOf(kafkaQueue("q")), time.Minute, []logStep{
		{end: 100, start: 10, commit: 90},
		{end: 110, start: 10, commit: 95, want: map[string]float64{enqueuedName: 10, processedName: 5, lostName: 0}},
		{end: odd, start: 10, commit: 97, want: map[string]float64{enqueuedName: 10, processedName: 7}},
		{end: 112, start: 10, commit: odd, want: map[string]float64{enqueuedName: 12, processedName: 7, rewindsName: 0}},
		{end: 113, start: odd, commit: 99, want: map[string]float64{enqueuedName: 13, processedName: 9, lostName: 0}},
		{end: 120, start: 103, commit: 100, want: map[string]float64{enqueuedName: 20, processedName: 10, lostName: 3, rewindsName: 0}},
	})
}

func TestQueueEvidence(t *testing.T) {
	c, id, p := newQueueCounters(time.Minute), idOf(kafkaQueue("q")), probes.Partition{Topic: "t"}
	one := func(v float64) map[probes.Partition]float64 { return map[probes.Partition]float64{p: v} }
	now := time.Unix(1_700_000_000, 0)
	told := func(end, start, fast, slow float64) diagnosis.Queue {
		b := probes.Backlog{Complete: true, Ends: one(end), Groups: []probes.GroupBacklog{
			{Group: "fast", Positions: one(fast), Starts: one(start), LagSeconds: one(3)}, {Group: "slow", Positions: one(slow), Starts: one(start)},
		}}
		c.observe(id, b, now)
		var q diagnosis.Queue
		c.addRates(id, &b, &q, now)
		now = now.Add(2 * time.Second)
		return q
	}
	if q := told(100, 0, 90, 50); q.EnqueuedRate.Known || q.ProcessedRate.Known {
		t.Errorf("rates of one sampling: %+v", q)
	}
	q := told(120, 60, 110, 52)
	if q.EnqueuedRate.Value != 10 || q.ProcessedRate.Value != 1 {
		t.Errorf("%v enqueued and %v processed a second, want 10 and 1", q.EnqueuedRate, q.ProcessedRate)
	}
	if len(q.Groups) != 2 || q.Groups[1].Lost != 8 || q.Groups[0].Lost != 0 || q.Groups[0].LagSeconds.Value != 3 || q.Groups[1].LagSeconds.Known {
		t.Errorf("groups are %+v", q.Groups)
	}
	if q = told(120, 60, 100, 52); q.Groups[0].Rewound != 10 || q.Groups[1].Lost != 0 {
		t.Errorf("groups are %+v", q.Groups)
	}
}
