package kafka

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// TestLagIsTheTruth has a producer that stamps its records, and a group that is behind by a few of them: every lag in
// seconds is within an interval of the truth, and within a second where the record was read.
func TestLagIsTheTruth(t *testing.T) {
	partitions := int32(50)
	if os.Getenv("CACHEINV_SOAK") != "" {
		partitions = 1000
	}
	k := servers.Kafka(t)
	u := newUser(t, []string{k.Addr})
	u.create(t, "truth", partitions)
	count := &requestCount{}
	reads := openQueue(t, configOf([]string{k.Addr}, []string{"truth"}, []string{"g"}), kgo.WithHooks(count))
	blind := kversion.Stable()
	blind.SetMaxKeyVersion(int16(kmsg.OffsetFetch), 9)
	blind.SetMaxKeyVersion(int16(kmsg.Fetch), -1)
	estimates := openQueue(t, configOf([]string{k.Addr}, []string{"truth"}, []string{"g"}), kgo.MaxVersions(blind))
	servers.Eventually(t, "groups can be asked for", func() bool { _, err := probetest.SampleIn(t, reads, 10*time.Second); return err == nil })
	last := time.Now()
	sampleWell(t, estimates)
	written := make([][]time.Time, partitions)
	longest := time.Duration(0)
	for range 12 {
		for range 1 + rand.IntN(3) {
			var records []*kgo.Record
			for p := range partitions {
				if rand.IntN(4) == 0 {
					continue // idle for now
				}
				at := time.UnixMilli(time.Now().UnixMilli())
				written[p] = append(written[p], at)
				records = append(records, &kgo.Record{Topic: "truth", Partition: p, Value: []byte("x"), Timestamp: at})
			}
			u.write(t, records...)
			pause.For(t.Context(), time.Duration(rand.IntN(100))*time.Millisecond)
		}
		commits := map[int32]int64{}
		for p := range partitions {
			commits[p] = max(0, int64(len(written[p])-rand.IntN(5)))
		}
		u.commit(t, "g", "truth", commits)
		for _, q := range []*queue{reads, estimates} {
			count.take()
			before := time.Now()
			b := sampleWell(t, q)
			after := time.Now()
			tolerance := time.Second
			if q == estimates {
				longest = max(longest, after.Sub(last))
				tolerance = longest
				last = before
			} else if n := fetches(count); n > 1 {
				t.Errorf("%d requests for records in a sampling", n)
			}
			g := probetest.GroupOf(t, b, "g")
			for p := range partitions {
				id := probes.Partition{Topic: "truth", ID: p}
				got, known := g.LagSeconds[id]
				least, most := time.Duration(0), time.Duration(0)
				if at := commits[p]; at < int64(len(written[p])) {
					least, most = before.Sub(written[p][at])-tolerance, after.Sub(written[p][at])+tolerance
				}
				if !known || got < least.Seconds()-0.001 || got > most.Seconds()+0.001 {
					t.Errorf("partition %d, read %v: behind by %v s (known: %v), want %v to %v", p, q == reads, got, known, least, most)
				}
			}
		}
	}
}

// A broker that answers all but requests for records costs its partitions their times and holds nobody up.
func TestOneBrokerGivesNoRecords(t *testing.T) {
	c, u := fakeBroker(t)
	u.commit(t, "g", "inv", allAt(4))
	release := make(chan struct{})
	c.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if c.CurrentNode() == 1 {
			c.SleepControl(func() { <-release })
		}
		return nil, nil, false
	})
	defer close(release)
	q := openQueue(t, configOf(c.ListenAddrs(), []string{"inv"}, []string{"g"}))
	q.newest = 12
	for range 2 {
		b, err := probetest.SampleIn(t, q, 2*time.Second)
		if err != nil || !b.Complete || b.BrokersUp != 3 {
			t.Errorf("complete %v, %d up, error %v", b.Complete, b.BrokersUp, err)
		}
		probetest.WantDepth(t, b, 36)
		held := 0
		for p := range int32(6) {
			_, known := probetest.GroupOf(t, b, "g").LagSeconds[inv(p)]
			if there := c.LeaderFor("inv", p) == 1; there == known {
				t.Errorf("partition %d: at the broker that gives no records: %v; known: %v", p, there, known)
			} else if there {
				held++
			}
		}
		if held > 0 && b.OldestAge.Known || b.Sample == nil || b.Sample.Messages != 2*(6-held) {
			t.Errorf("%d partitions held up: oldest %+v, sample %+v", held, b.OldestAge, b.Sample)
		}
	}
}

// TestRewindsAndRestarts: positions go back when offsets are reset, and what is known is given again after a restart.
func TestRewindsAndRestarts(t *testing.T) {
	k := servers.Kafka(t)
	u := newUser(t, []string{k.Addr})
	u.create(t, "inv", 2)
	u.write(t, ago("inv", 0, 80*time.Second), ago("inv", 0, 70*time.Second), ago("inv", 1, 60*time.Second))
	u.commit(t, "g", "inv", map[int32]int64{0: 2, 1: 1})
	q := openQueue(t, configOf([]string{k.Addr}, []string{"inv"}, []string{"g"}))
	q.newest = 10
	b := sampleWell(t, q)
	if b.OldestAge != (probes.Count{Value: 0, Known: true}) || b.Sample.Messages != 3 {
		t.Errorf("%+v, %+v", b.OldestAge, b.Sample)
	}
	k.Tool(t, servers.KafkaGroups, "--group", "g", "--topic", "inv", "--reset-offsets", "--to-earliest", "--execute")
	b = sampleWell(t, q)
	wantSeconds(t, "reset", b, "g", inv(0), 80)
	wantSeconds(t, "reset", b, "g", inv(1), 60)
	if g := probetest.GroupOf(t, b, "g"); g.Positions[inv(0)] != 0 || g.Positions[inv(1)] != 0 {
		t.Errorf("positions %v", g.Positions)
	}
	likeTool(t, k, b, "g")
	k.Freeze(t)
	for range 3 {
		if b, err := probetest.SampleIn(t, q, 300*time.Millisecond); err == nil || b.OldestAge.Known || b.Sample != nil || len(b.Groups) > 0 && len(b.Groups[0].LagSeconds) > 0 {
			t.Errorf("frozen: %+v, %v", b, err)
		}
	}
	k.Thaw(t)
	k.Restart(t)
	servers.Eventually(t, "all is learned after the restart", func() bool { _, err := probetest.SampleIn(t, q, 5*time.Second); return err == nil })
	b = sampleWell(t, q)
	wantSeconds(t, "restarted", b, "g", inv(0), 80)
	likeTool(t, k, b, "g")
	if b.Sample == nil || b.Sample.Messages != 3 {
		t.Errorf("sample %+v", b.Sample)
	}
}

// Whatever a broker answers, nothing of it brings the exporter down or makes a lag negative.
func FuzzRecords(f *testing.F) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "inv"))
	if err != nil {
		f.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("inv"))
	if err != nil {
		f.Fatal(err)
	}
	for i := range 3 {
		if err := client.ProduceSync(f.Context(), kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			f.Fatal(err)
		}
	}
	q, err := newQueue(configOf(c.ListenAddrs(), []string{"inv"}, nil), nil, probetest.Env(), probetest.Quiet())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		client.Close()
		q.Close()
		c.Close()
	})
	conn, err := q.conns.at(c.ListenAddrs()[0])
	if err != nil {
		f.Fatal(err)
	}
	newFetch := func() partitionFetch {
		p := &partition{Partition: inv(0)}
		p.end.offset = 3
		return partitionFetch{p: p, log: newPartitionLog([16]byte{}), maxBytes: maxFetchBytes}
	}
	response, err := newFetchRequest([]partitionFetch{newFetch()}).RequestWith(f.Context(), conn)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(response.Topics[0].Partitions[0].RecordBatches, int64(1), false)
	f.Add([]byte{}, int64(0), true)
	f.Add(append(make([]byte, 11), 3, 2, '0', 0), int64(1), true) // 15 bytes, as it says
	f.Fuzz(func(t *testing.T, batches []byte, offset int64, open bool) {
		answer := &kmsg.FetchResponseTopicPartition{RecordBatches: batches, HighWatermark: 3, LastStableOffset: 3}
		one := newFetch()
		one.offset, one.readUncommitted = max(0, offset%3), open
		s := &sampling{q: q, newestEach: 10}
		q.batchSizes.learn(one, answer, maxFetchBytes)
		if one.log.batchBytes < leastBytes || one.log.batchBytes > maxFetchBytes {
			t.Errorf("%d bytes are needed", one.log.batchBytes)
		}
		s.takeNext(one, answer, conn.decompressor())
		got, next := one.records(answer, conn.decompressor())
		if newest := s.takeNewest(one, answer, got, next); len(newest) > 10 {
			t.Errorf("%d messages", len(newest))
		}
		for _, record := range one.log.records {
			if record.to < record.from || record.at < 0 {
				t.Errorf("%+v", record)
			}
		}
	})
}
