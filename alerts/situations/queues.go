package situations

import (
	"math"
	"time"
)

func queuesChapter(s Settings) chapter {
	c := chapter{name: "queues", about: "queues that back up, stop, and are merely busy", evaluate: time.Minute}
	for _, of := range []queue{topic("invalidations", 20), list("invalidations")} {
		c.situations = append(c.situations, s.nightly(of, 1750), s.nightly(of, 125), s.stopped(of))
	}
	c.situations = append(c.situations,
		s.flapping(topic("invalidations", 200)), s.flapping(list("invalidations")),
		s.slowList(false), s.slowList(true), s.stallBesideHarm(), s.twoQueues(), s.twoClusters(),
		s.abandoned(), s.neverCommitted(), s.lost(0.02, 1000), s.lost(0.0001, 1000),
		s.looping(time.Minute), s.looping(time.Hour), s.unqueried(time.Minute), s.unqueried(time.Hour), s.brokers(),
		s.limits(800, map[string]float64{"depth": 500, "depth_ticket": 100}), s.limits(20000, map[string]float64{"depth": 50000, "depth_ticket": 30000}),
		s.nearlyFull(), s.unheard(3*time.Minute), s.unheard(time.Hour))
	return c
}

// queues are what happens, where all else is well.
func (s Settings) queues(all ...queue) []series {
	told := [][]series{collectors(nil), causes(nil)}
	for _, q := range all {
		told = append(told, q.series())
	}
	return pod().tells(s, told...)
}

// batch is a million messages that come within a minute; so many a second are processed.
func batch(q queue, from time.Duration, rate float64) queue {
	const messages, minute = 1e6, 60.0
	arrive, drained := from+time.Minute, from+time.Duration(messages/rate)*time.Second
	usual, _ := q.enqueued(0)
	q.enqueued = always(usual).between(from, arrive, always(messages/minute))
	if q.group == "" { // of a list, only its growth is seen
		q.enqueued = always(0).between(from, arrive, always(messages/minute-rate))
	} else {
		q.processed = always(usual).between(from, drained, always(rate))
	}
	q.depth = q.depth.between(from, drained, func(at time.Duration) (float64, bool) {
		since := (at - from).Seconds()
		return min(messages, messages/minute*since) - rate*since, true
	})
	// What is processed now came when as many had come: a message's place in the batch tells its age.
	q.oldest = q.oldest.between(from, drained, func(at time.Duration) (float64, bool) {
		since := (at - from).Seconds()
		return since - minute*rate*since/messages, true
	})
	return q
}

func (s Settings) nightly(q queue, rate float64) situation {
	x := situation{
		name: "a nightly batch of 1,000,000 drains in nine and a half minutes (" + q.kind + "): no page", lasts: 40 * time.Minute,
		series: s.queues(batch(q, 15*time.Minute, rate)), expect: []expectation{s.noPage()},
	}
	if rate < 1000 {
		x.name = "a nightly batch of 1,000,000 needs two hours (" + q.kind + "): a page"
		x.lasts = s.late(45 * time.Minute)
		x.expect = []expectation{s.page(s.late(30*time.Minute), labels{"queue": q.name, "cause": "queue"})}
	}
	return x
}

func (s Settings) stopped(q queue) situation {
	return situation{
		name: "the consumers of a queue stop (" + q.kind + "): a page", lasts: s.late(30 * time.Minute),
		series: s.queues(stopped(q, 10*time.Minute)), expect: []expectation{s.page(s.late(20*time.Minute), labels{"queue": q.name, "cause": "queue"})},
	}
}

// flapping has the depth above its limit and below it, in turn: a topic's goes up and down, a list is emptied in gulps.
func (s Settings) flapping(q queue) situation {
	const turn = 3 * time.Minute
	q.depth, q.oldest = inTurn(turn, 6000, 100), always(30)
	if q.group == "" {
		q.enqueued = inTurn(turn, 5900/turn.Seconds(), 0)
	} else {
		q.depth = func(at time.Duration) (float64, bool) {
			at %= 2 * turn
			return 3000 + 20*min(at, 2*turn-at).Seconds(), true
		}
		q.processed = inTurn(turn, 180, 220)
	}
	return situation{
		name: "a depth goes above its limit and below every three minutes (" + q.kind + "): it rings once at most", lasts: 2 * time.Hour,
		series: s.queues(q), expect: []expectation{s.once()},
	}
}

// slowList gets a message a minute; its consumer is dead, or not.
func (s Settings) slowList(dead bool) situation {
	q := list("invalidations")
	x := situation{name: "a list at one message a minute: nobody is told", lasts: 70 * time.Minute, expect: []expectation{s.quiet()}}
	if dead {
		q.depth = func(at time.Duration) (float64, bool) {
			return max(0, math.Floor((at - 10*time.Minute).Minutes())), true
		}
		q.enqueued = always(0).from(10*time.Minute, single(time.Minute))
		q.oldest = ramp(11*time.Minute, 0, 1)
		q.stalled = always(0).from(13*time.Minute, always(1))
		x.name, x.lasts = "the consumer of a list dies at one message a minute: told within the hour", s.late(70*time.Minute)
		x.expect = []expectation{s.either(s.late(60*time.Minute), labels{"queue": q.name})}
	}
	x.series = s.queues(q)
	return x
}

func (s Settings) stallBesideHarm() situation {
	l := caches(5)
	c := profiles(l, 1000)
	c.overdue = bad(5*time.Minute, s.twice(5000), "redis-1", "redis-2")
	q := stopped(topic("emails", 20), 20*time.Minute)
	score := always(0).from(5*time.Minute, always(0.9))
	at := s.late(35 * time.Minute)
	return situation{
		name: "2% of the copies are overdue behind a partition, and then a queue that has nothing to do with it stalls: two incidents", lasts: s.late(40 * time.Minute),
		series: pod().tells(s, collectors(nil), l.series(), c.series(s.ScrapeInterval), q.series(),
			causes(map[string]curve{"network": score, "queue": always(0).from(22*time.Minute, always(0.9))}), blamed("network", l.name, score, "redis-1", "redis-2")),
		expect: []expectation{
			s.incidents(15*time.Minute, labels{}), s.incidents(at, labels{}, labels{"queue": q.name}),
			s.page(at, labels{"queue": "", "class": usualClass}).where(`class!=""`),
		},
	}
}

func (s Settings) twoQueues() situation {
	return situation{
		name: "two of three queues stop: two incidents", lasts: s.late(30 * time.Minute),
		series: s.queues(topic("emails", 20), stopped(topic("prices", 20), 5*time.Minute), stopped(list("profiles"), 7*time.Minute)),
		expect: []expectation{s.incidents(s.late(20*time.Minute), labels{"queue": "prices"}, labels{"queue": "profiles"})},
	}
}

func (s Settings) twoClusters() situation {
	us := pod()
	us.cluster, us.instance = "us", "pod-2"
	told := func(q queue) [][]series { return [][]series{collectors(nil), causes(nil), q.series()} }
	q := stopped(topic("prices", 20), 5*time.Minute)
	return situation{
		name: "a queue stops in two clusters: two incidents", lasts: s.late(30 * time.Minute),
		series: append(pod().tells(s, told(q)...), us.tells(s, told(q)...)...),
		expect: []expectation{s.incidents(s.late(20*time.Minute), labels{"queue": "prices"}, labels{"queue": "prices", s.ClusterLabel: "us"})},
	}
}

// abandoned is a group that is left over from an instance: it has its lag, and nothing else.
func (s Settings) abandoned() situation {
	q := topic("invalidations", 20)
	return situation{
		name: "a consumer group is abandoned beside live ones: nobody is told", lasts: 40 * time.Minute,
		series: append(s.queues(q), pod().tells(s, []series{
			gauge("queue_leftover_groups", always(1), "queue", q.name),
			gauge("consumer_group_lag", ramp(0, 100000, 20), "queue", q.name, "group", "processors-old", "topic", q.name, "partition", "0"),
			gauge("consumer_group_members", always(0), "queue", q.name, "group", "processors-old"),
			gauge("consumer_group_state", always(1), "queue", q.name, "group", "processors-old", "state", "Empty"),
		})[2:]...),
		expect: []expectation{s.quiet()},
	}
}

// neverCommitted is a group whose name is misspelled, or that was never started.
func (s Settings) neverCommitted() situation {
	q := topic("invalidations", 20)
	name := []string{"queue", q.name, "group", "procesors"}
	return situation{
		name: "a configured group has never committed though messages come: told", lasts: s.late(70 * time.Minute),
		series: append(s.queues(q), pod().tells(s, []series{
			gauge("consumer_group_members", always(0), name...),
			gauge("consumer_group_uncommitted_partitions", always(12), name...),
		})[2:]...),
		expect: []expectation{s.either(s.late(60*time.Minute), labels{"queue": q.name})},
	}
}

// unheard is a channel that one of three instances does not hear for so long.
func (s Settings) unheard(lasts time.Duration) situation {
	const name, from = "l1-bus", 10 * time.Minute
	who := []string{"queue", name}
	x := situation{
		name: "one of three instances does not hear the channel for an hour: a ticket", lasts: s.late(40 * time.Minute),
		series: append(s.queues(), pod().tells(s, []series{
			gauge("queue_up", always(1), "queue", name, "kind", "redis_channel"),
			gauge("queue_subscribers", always(3).between(from, from+lasts, always(2)), who...),
			gauge("queue_expected_subscribers", always(3), who...),
		})[2:]...),
		expect: []expectation{s.noPage(), s.ticket(s.late(30*time.Minute), labels{"queue": name})},
	}
	if lasts < time.Hour {
		x.name, x.expect = "an instance restarts, and hears the channel again after three minutes: nobody is told", []expectation{s.quiet()}
	}
	return x
}

// lost has a share of what is enqueued deleted unprocessed.
func (s Settings) lost(share, rate float64) situation {
	q := topic("invalidations", rate)
	q.lost = always(0).from(10*time.Minute, always(share*rate))
	at := s.late(25 * time.Minute)
	x := situation{
		name: "2% of the messages are deleted before they are processed: a page", lasts: s.late(30 * time.Minute),
		series: s.queues(q), expect: []expectation{s.page(at, labels{"queue": q.name, "cause": "queue"})},
	}
	if share < 0.01 {
		x.name = "one message of 10,000 is deleted before it is processed: a ticket"
		x.expect = []expectation{s.noPage(), s.ticket(at, labels{"queue": q.name})}
	}
	return x
}

// looping repeats keys at a high rate, as a loop does, or a batch for a minute; the consumers keep up.
func (s Settings) looping(long time.Duration) situation {
	q := topic("invalidations", 2)
	busy := always(2).between(15*time.Minute, 15*time.Minute+long, always(100))
	q.enqueued, q.processed = busy, busy
	all := append(s.queues(q), pod().tells(s, []series{
		gauge("queue_sampled_messages", always(1000), "queue", q.name, "kind", q.kind),
		gauge("queue_sampled_repeats", always(0).from(15*time.Minute, always(600)), "queue", q.name, "kind", q.kind),
	})[2:]...)
	x := situation{
		name: "an invalidation causes itself, and its consumers keep up: a page that names the code", lasts: s.late(40 * time.Minute),
		series: all, expect: []expectation{s.page(s.late(25*time.Minute), labels{"queue": q.name, "cause": "logic"})},
	}
	if long <= time.Minute {
		x.name, x.expect = "a batch of a minute repeats keys, which stay the newest of the log: no page", []expectation{s.noPage()}
	}
	return x
}

func (s Settings) unqueried(long time.Duration) situation {
	q := topic("invalidations", 20)
	q.up = always(1).between(10*time.Minute, 10*time.Minute+long, always(0))
	x := situation{
		name: "a queue cannot be queried: a page", lasts: s.late(30 * time.Minute),
		expect: []expectation{s.page(s.late(20*time.Minute), labels{"queue": q.name})},
	}
	if long <= time.Minute {
		x.name, x.expect = "a queue cannot be queried for a minute, as its broker restarts: nobody is told", []expectation{s.quiet()}
	}
	x.series = pod().tells(s, collectors(map[string]curve{"queue": q.up}), causes(nil), q.series())
	return x
}

func (s Settings) brokers() situation {
	q := topic("invalidations", 20)
	down := always(0).from(10*time.Minute, always(1))
	return situation{
		name: "one of three brokers is down: a ticket", lasts: s.late(50 * time.Minute),
		series: append(s.queues(q), pod().tells(s, []series{
			gauge("queue_brokers", sum(always(3), negative(down)), "queue", q.name, "state", "up"),
			gauge("queue_brokers", down, "queue", q.name, "state", "down"),
		})[2:]...),
		expect: []expectation{s.noPage(), s.ticket(s.late(45*time.Minute), labels{"queue": q.name})},
	}
}

// limits of a queue's own, with a depth that stands still.
func (s Settings) limits(depth float64, limits map[string]float64) situation {
	q := topic("invalidations", 20)
	q.depth, q.oldest = always(10).from(10*time.Minute, always(depth)), always(1).from(10*time.Minute, always(20))
	q.limits = limits
	x := situation{
		name: "a depth of 800 does not drain, and the queue's own limit is 500: a page", lasts: s.late(40 * time.Minute),
		series: s.queues(q), expect: []expectation{s.page(s.late(25*time.Minute), labels{"queue": q.name, "cause": "queue"})},
	}
	if depth < limits["depth"] {
		x.name, x.expect = "a depth of 20,000, and the queue's own limit is 50,000: no page", []expectation{s.noPage()}
	}
	return x
}

func (s Settings) nearlyFull() situation {
	q := list("invalidations")
	q.capacity = 5000
	q.depth, q.enqueued, q.oldest = ramp(5*time.Minute, 3000, 2), always(0).from(5*time.Minute, always(2)), ramp(5*time.Minute, 10, 0.1)
	return situation{
		name: "a queue fills up and is 80% full soon: a page", lasts: s.late(40 * time.Minute),
		series: s.queues(q), expect: []expectation{s.page(s.late(25*time.Minute), labels{"queue": q.name})},
	}
}
