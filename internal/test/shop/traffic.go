package shop

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

const (
	// step between the batches of a shop with more than 100 changes a second.
	step = 10 * time.Millisecond
	// most reads a second: readers need not be faster than what they fill is looked at.
	mostReads = 600
	// processed is how many invalidations a processor takes at once, where it has so much to do.
	processed = 200
)

func (s *Shop) connectKafka() {
	s.t.Helper()
	s.Broker, s.Topic = s.opt.Broker, s.opt.Topic
	if s.Broker == nil {
		s.Broker = servers.Kafka(s.t)
	}
	if s.Topic == "" {
		s.Topic = "cache-invalidation"
	}
	var err error
	if s.producer, err = kgo.NewClient(kgo.SeedBrokers(s.Broker.Addr), kgo.DefaultProduceTopic(s.Topic)); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.producer.Close)
	admin := kadm.NewClient(s.producer)
	servers.Eventually(s.t, "the topic is made", func() bool {
		r, err := admin.CreateTopic(s.t.Context(), 3, 1, nil, s.Topic)
		return err == nil && r.Err == nil
	})
	// The group has committed everywhere from the first moment on, so that its lag is known.
	start := kadm.Offsets{}
	for p := range int32(3) {
		start.AddOffset(s.Topic, p, 0, -1)
	}
	servers.Eventually(s.t, "the first commit is taken", func() bool {
		return admin.CommitAllOffsets(s.t.Context(), s.group(), start) == nil
	})
}

// group of the topic's consumers; shops that share a broker have groups of their own.
func (s *Shop) group() string {
	if s.opt.Broker != nil {
		return Group + "-" + s.Topic
	}
	return Group
}

// LoseMessages deletes all of the topic that is there, also what nobody has processed.
func (s *Shop) LoseMessages() {
	s.t.Helper()
	admin := kadm.NewClient(s.producer)
	ends, err := admin.ListEndOffsets(s.t.Context(), s.Topic)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := admin.DeleteRecords(s.t.Context(), ends.Offsets()); err != nil {
		s.t.Fatal(err)
	}
}

// Trade until the test ends: rate changes of the database a second, and the reads.
func (s *Shop) Trade(rate int) {
	s.t.Cleanup(func() {
		close(s.stop)
		s.trading.Wait()
	})
	s.batch = 1
	if s.opt.Batch {
		s.batch = processed
	}
	s.every(rate, s.write)
	names := slices.Sorted(maps.Keys(s.caches))
	reads := s.opt.Reads
	if reads == 0 {
		reads = min(3*rate, mostReads)
	}
	for range 3 {
		s.every(reads/3, func(n int) {
			for range n {
				s.read(names[rand.IntN(len(names))])
			}
		})
	}
	s.trading.Go(func() {
		for {
			select {
			case <-s.stop:
				return
			default:
				s.process()
			}
		}
	})
	if s.producer != nil {
		s.consume()
	}
}

// every second, rate times or in batches.
func (s *Shop) every(rate int, do func(n int)) {
	pause, n := time.Second/time.Duration(rate), 1
	if pause < step {
		pause, n = step, rate*int(step)/int(time.Second)
	}
	s.trading.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				do(n)
			}
		}
	})
}

// Message is an invalidation.
type Message struct {
	Key     string `json:"key"`
	Version int64  `json:"version"`
}

// write changes keys in the database and publishes their invalidations.
func (s *Shop) write(n int) {
	if s.Paused.Load() {
		return
	}
	var messages []Message
	for range n {
		k := rand.IntN(len(s.db))
		s.db[k].mu.Lock()
		s.db[k].version++
		version := s.db[k].version
		s.db[k].mu.Unlock()
		if rand.Int64N(100) >= s.Forgotten.Load() {
			messages = append(messages, Message{Key(k), version})
		}
	}
	s.Written.Add(int64(n))
	s.Publish(messages...)
}

// Publish invalidations.
func (s *Shop) Publish(messages ...Message) {
	var values []any
	for _, m := range messages {
		value := fmt.Sprintf(`{"key":%q,"version":%d,"ts":%d}`, m.Key, m.Version, time.Now().UnixMilli())
		values = append(values, value)
		if s.producer != nil {
			s.producer.TryProduce(s.t.Context(), &kgo.Record{Key: []byte(m.Key), Value: []byte(value)}, nil)
		}
	}
	if len(values) > 0 {
		s.Queue.RPush(s.t.Context(), listKey, values...)
	}
}

// read a key on a node, and fill it in where it is missing.
func (s *Shop) read(name string) {
	if s.Cut[name].Load() {
		return
	}
	k := rand.IntN(Canaries)
	if rand.IntN(4) == 0 {
		k = rand.IntN(len(s.db))
	}
	s.db[k].mu.Lock()
	defer s.db[k].mu.Unlock()
	if c := s.caches[name]; !c.get(Key(k)) {
		c.set(Key(k), s.value(k))
	}
}

// process the next invalidations of the list: delete their keys on every node.
func (s *Shop) process() {
	slow, most := time.Duration(s.Slow.Load()), s.batch
	if slow > 0 {
		most = 1
	}
	_, got, err := s.Queue.BLMPop(s.t.Context(), time.Second, "left", most, listKey).Result()
	if err != nil {
		return // nothing waits
	}
	time.Sleep(slow) // what a slow processor does
	var keys []string
	var again []Message
	missing := map[string][]string{} // keys that do not reach a node
	for _, value := range got {
		var m Message
		if err := json.Unmarshal([]byte(value), &m); err != nil {
			s.t.Errorf("%v in %s", err, value)
			continue
		}
		if rand.Int64N(100) < s.Failing.Load() {
			s.Failed.Add(1)
			continue
		}
		if rand.Int64N(100) < s.Missing.Load() {
			name := slices.Sorted(maps.Keys(s.caches))[rand.IntN(len(s.caches))]
			missing[name] = append(missing[name], m.Key)
		}
		keys = append(keys, m.Key)
		if s.Looping.Load() {
			again = append(again, m)
		} else if k, found := s.number(m.Key); found && s.db[k].next.Load() != nil {
			again = append(again, Message{*s.db[k].next.Load(), m.Version})
		}
	}
	if len(keys) > 0 {
		s.remove(keys, missing)
	}
	s.Succeeded.Add(int64(len(keys)))
	s.Publish(again...)
}

// remove keys everywhere, but for those that miss a node.
func (s *Shop) remove(keys []string, missing map[string][]string) {
	slices.Sort(keys)
	keys = slices.Compact(slices.Clone(keys))
	var removing sync.WaitGroup
	for name, c := range s.caches {
		if s.Cut[name].Load() {
			continue // a node that can't be reached keeps what it has
		}
		removing.Go(func() {
			if mine := without(keys, missing[name]); len(mine) > 0 {
				c.remove(mine)
			}
		})
	}
	removing.Wait()
}

func without(keys, some []string) []string {
	if len(some) == 0 {
		return keys
	}
	return slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return slices.Contains(some, k) })
}

// consume the topic as a group that commits at once.
func (s *Shop) consume() {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Broker.Addr), kgo.ConsumeTopics(s.Topic), kgo.ConsumerGroup(s.group()),
		kgo.DisableAutoCommit(), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx := s.t.Context()
	s.trading.Go(func() {
		defer client.Close()
		for {
			select {
			case <-s.stop:
				return
			default:
			}
			if s.Stalled.Load() {
				time.Sleep(step)
				continue
			}
			fetches := client.PollRecords(ctx, 500)
			if slow := time.Duration(s.Slow.Load()); slow > 0 {
				time.Sleep(slow) // what a slow processor does
				continue
			}
			_ = client.CommitRecords(ctx, fetches.Records()...) // the next commit says the same, and more
		}
	})
}

// Crowd the caches with rate large copies a second of other applications, until the test ends: small caches evict.
func (s *Shop) Crowd(rate int) {
	s.every(rate, func(n int) {
		for range n {
			key := fmt.Sprintf("session:%d", rand.IntN(1_000_000))
			for i, name := range slices.Sorted(maps.Keys(s.caches)) {
				if rand.IntN(len(s.caches)) == i {
					s.caches[name].set(key, crowdValue)
				}
			}
		}
	})
}

var crowdValue = strings.Repeat("x", 10_000)
