package situations

import (
	"fmt"
	"math"
	"time"
)

// incidentsChapter is about incidents that have several causes or several symptoms, and must ring once, for what they are.
func incidentsChapter(s Settings) chapter {
	c := chapter{name: "incidents", about: "what belongs together, and what does not", evaluate: time.Minute}
	c.situations = []situation{
		s.half(1), s.half(2), s.manyClasses(), s.wandering(), s.comesAndGoes(),
		s.recovered(false), s.recovered(true), s.laterQueue(), s.nodeAndQueue(), s.twoQueuesHarm(), s.elsewhere(),
		s.disagree(), s.mishap(), s.deadLayer(1), s.deadLayer(12), s.nowAndThen(), s.deadInstance(),
		s.besideIdle(), s.slowsDown(), s.littleLoop(5), s.littleLoop(0.01),
	}
	return c
}

// ill is a layer of five nodes with a class of which 2% are overdue on two of them.
func (s Settings) ill() (layer, class) {
	l := caches(5)
	c := profiles(l, 1000)
	c.overdue = bad(5*time.Minute, s.twice(5000), "redis-1", "redis-2")
	return l, c
}

// watched are the exporter's series of the layer, its class, and what else is told.
func (s Settings) watched(l layer, c class, told ...[]series) []series {
	return pod().tells(s, append([][]series{collectors(nil), l.series(), c.series(s.ScrapeInterval)}, told...)...)
}

// half of what is wrong is overdue, the other half outlived a delete, on so many nodes: on one they may be the same copies.
func (s Settings) half(nodes int) situation {
	l := caches(5)
	c := profiles(l, 1000)
	share := 0.7 * s.StaleShare
	if nodes == 1 {
		share = s.mild(0.7)
	}
	part := math.Floor(share * 5000)
	c.overdue, c.survivors = bad(5*time.Minute, part, "redis-1"), bad(5*time.Minute, part, l.names()[nodes-1])
	x := situation{
		name: "0.7% of the copies are overdue, and as many others outlived a delete: a page", lasts: s.late(30 * time.Minute),
		series: s.base(l, c), expect: []expectation{s.page(s.late(20*time.Minute), labels{"class": usualClass})},
	}
	if nodes == 1 {
		x.name, x.expect = "0.7% of the copies are overdue, and outlived a delete: no page", []expectation{s.noPage()}
	}
	return x
}

// manyClasses are twenty of 50 copies, of which one has four bad ones and another a single one.
func (s Settings) manyClasses() situation {
	l := caches(2)
	told := [][]series{collectors(nil), l.series(), causes(nil)}
	for i := range 20 {
		c := profiles(l, 25)
		c.name = fmt.Sprintf("class-%d", i)
		switch i {
		case 7:
			c.overdue = bad(5*time.Minute, math.Ceil(s.StaleShare*50)+1, l.names()...)
		case 9:
			c.overdue = bad(5*time.Minute, 1, "redis-1")
		}
		told = append(told, c.series(s.ScrapeInterval))
	}
	return situation{
		name: "of twenty small classes one has bad copies, and another a single one: a page for the one", lasts: s.late(30 * time.Minute),
		series: pod().tells(s, told...),
		expect: []expectation{
			s.page(s.late(15*time.Minute), labels{"class": "class-7"}),
			s.ticket(s.late(28*time.Minute), labels{"class": "class-7"}, labels{"class": "class-9"}),
		},
	}
}

// wandering copies are overdue on another node each minute.
func (s Settings) wandering() situation {
	l := caches(5)
	c := profiles(l, 1000)
	c.overdue = map[string]curve{}
	for i, name := range l.names() {
		turn := make([]float64, 5)
		turn[i] = 2 * s.twice(5000)
		c.overdue[name] = always(0).from(5*time.Minute, inTurn(time.Minute, turn...))
	}
	return situation{
		name: "2% of the copies are overdue, on another node each minute: one page", lasts: s.late(30 * time.Minute), series: s.base(l, c),
		expect: []expectation{s.once(), s.page(s.late(15*time.Minute), labels{"class": usualClass})},
	}
}

// comesAndGoes is harm behind a partition that is gone for less than five minutes in between.
func (s Settings) comesAndGoes() situation {
	l := caches(5)
	c := profiles(l, 1000)
	copies := always(0)
	for at := 5 * time.Minute; at < 45*time.Minute; at += 10*time.Minute - 10*time.Second {
		copies = copies.between(at, at+5*time.Minute, always(2*s.twice(5000)))
	}
	c.overdue = map[string]curve{"redis-1": copies}
	return situation{
		name: "2% of the copies are overdue for five minutes, and not for the next: it rings once", lasts: time.Hour,
		series: s.watched(l, c, causeOn("network", 0, "redis-1")), expect: []expectation{s.once()},
	}
}

// recovered is a queue that stopped for ten minutes; what it should have removed stays for an hour, and looks like the code's fault then.
func (s Settings) recovered(logic bool) situation {
	l, c := s.ill()
	q := stopped(topic("invalidations", 20), 5*time.Minute)
	until := 15 * time.Minute
	q.depth, q.oldest, q.stalled = q.depth.from(until, always(20)), q.oldest.from(until, always(1)), q.stalled.from(until, always(0))
	q.processed = q.processed.between(until, until+time.Minute, always(220)).from(until+time.Minute, always(20))
	scores := map[string]curve{"queue": always(0).between(5*time.Minute, until+time.Minute, always(0.9))}
	x := situation{name: "a queue recovers, and copies stay overdue for an hour: one incident, of the queue", lasts: s.late(70 * time.Minute)}
	if logic {
		scores["logic"] = always(0).from(20*time.Minute, always(0.9))
		x.name = "a queue recovers, and what it left overdue looks like the code's fault: one incident, of the queue"
	}
	of := labels{"queue": q.name}
	x.series = s.watched(l, c, causes(scores), q.series())
	x.expect = []expectation{s.incidents(12*time.Minute, of), s.incidents(s.late(65*time.Minute), of)}
	return x
}

// laterQueue stalls long after copies were overdue for a reason that nobody knows.
func (s Settings) laterQueue() situation {
	l, c := s.ill()
	from := s.late(30 * time.Minute)
	q := stopped(topic("emails", 20), from)
	at := from + s.late(15*time.Minute)
	return situation{
		name: "2% of the copies are overdue, and half an hour later a queue stops: two incidents", lasts: at + 5*time.Minute,
		series: s.watched(l, c, causes(map[string]curve{"queue": always(0).from(from+time.Minute, always(0.9))}), q.series()),
		expect: []expectation{s.incidents(from, labels{}), s.incidents(at, labels{}, labels{"queue": q.name})},
	}
}

// nodeAndQueue explain one class each.
func (s Settings) nodeAndQueue() situation {
	l, c := s.ill()
	other := profiles(l, 1000)
	other.name, other.overdue = "product_price", bad(5*time.Minute, s.twice(2000), l.names()...)
	q := stopped(topic("invalidations", 20), 5*time.Minute)
	score := always(0).from(5*time.Minute, always(0.9))
	at := s.late(20 * time.Minute)
	return situation{
		name: "nodes that are cut off have stale copies of one class, a queue of another: two incidents", lasts: s.late(25 * time.Minute),
		series: s.watched(l, c, other.series(s.ScrapeInterval), q.series(), causes(map[string]curve{"network": score, "queue": score}),
			blamed("network", l.name, score, "redis-1", "redis-2")),
		expect: []expectation{s.incidents(at, labels{"queue": q.name}, labels{}), s.page(at, labels{"class": "product_price"}).where(`queue!=""`)},
	}
}

// twoQueuesHarm has copies overdue while two queues have stopped.
func (s Settings) twoQueuesHarm() situation {
	l, c := s.ill()
	first, second := stopped(topic("profiles", 20), 5*time.Minute), stopped(topic("prices", 20), 7*time.Minute)
	return situation{
		name: "two queues stop, and 2% of the copies are overdue: two incidents, one for each queue", lasts: s.late(25 * time.Minute),
		series: s.watched(l, c, first.series(), second.series(), causes(map[string]curve{"queue": always(0).from(5*time.Minute, always(0.9))})),
		expect: []expectation{s.incidents(s.late(20*time.Minute), labels{"queue": "profiles"}, labels{"queue": "prices"})},
	}
}

// elsewhere: causes stand in another cluster, whose nodes have the same names.
func (s Settings) elsewhere() situation {
	l, c := s.ill()
	us := pod()
	us.cluster, us.instance = "us", "pod-2"
	score := always(0).from(5*time.Minute, always(0.9))
	q := stopped(topic("invalidations", 20), 5*time.Minute)
	at := s.late(20 * time.Minute)
	return situation{
		name: "2% of the copies are overdue in one cluster, and a queue and nodes are ill in another: two incidents", lasts: s.late(25 * time.Minute),
		series: append(s.watched(l, c, causes(nil), topic("invalidations", 20).series()),
			us.tells(s, collectors(nil), l.series(), profiles(l, 1000).series(s.ScrapeInterval), q.series(),
				causes(map[string]curve{"network": score, "queue": score}), blamed("network", l.name, score, "redis-1", "redis-2"))...),
		expect: []expectation{
			s.incidents(at, labels{}, labels{"queue": q.name, s.ClusterLabel: "us"}),
			s.page(at, labels{"cause": ""}).where(fmt.Sprintf("%s=%q", s.ClusterLabel, usualCluster)),
		},
	}
}

// disagree: of two exporters one has just begun and does not know since when copies are stale; then the other dies.
func (s Settings) disagree() situation {
	l, c := s.ill()
	young := profiles(l, 1000)
	young.overdue = bad(20*time.Minute, s.twice(5000), "redis-1", "redis-2")
	old, other := pod(), pod()
	other.instance, other.from, other.starts = "pod-2", 15*time.Minute, []time.Duration{15 * time.Minute}
	old.lost = func(at time.Duration) bool { return at >= 22*time.Minute }
	at := s.late(40 * time.Minute)
	return situation{
		name: "a second exporter begins in mid-incident, and then the first dies: one page, and a ticket", lasts: s.late(45 * time.Minute),
		series: append(old.tells(s, collectors(nil), l.series(), c.series(s.ScrapeInterval), causes(nil)),
			other.tells(s, collectors(nil), l.series(), young.series(s.ScrapeInterval), causes(nil))...),
		expect: []expectation{s.once(), s.page(at, labels{"class": usualClass}), s.tickets(at, 1, `family="exporter"`)},
	}
}

// mishap is an exporter that restarts in mid-incident and forgets for three minutes since when copies are stale.
func (s Settings) mishap() situation {
	l := caches(5)
	c := profiles(l, 1000)
	away := 20 * time.Minute
	c.overdue = map[string]curve{"redis-1": always(0).between(5*time.Minute, away, always(2*s.twice(5000))).from(away+4*time.Minute, always(2*s.twice(5000)))}
	t := pod()
	t.starts = []time.Duration{away + time.Minute}
	t.lost = func(at time.Duration) bool { return at >= away && at < away+time.Minute }
	return situation{
		name: "the exporter restarts in mid-incident: one page", lasts: s.late(40 * time.Minute),
		series: t.tells(s, collectors(nil), l.series(), c.series(s.ScrapeInterval), causes(nil)),
		expect: []expectation{s.once(), s.page(s.late(35*time.Minute), labels{"class": usualClass})},
	}
}

// deadLayer has so many nodes, and all die: no copy can be read then, which is the same incident.
func (s Settings) deadLayer(nodes int) situation {
	l := caches(nodes)
	down := always(1).from(10*time.Minute, always(0))
	for i := range nodes {
		l = l.with(i, func(n *node) { n.up = down })
	}
	c := profiles(l, 400)
	c.unread = bad(10*time.Minute, 400, l.names()...)
	return situation{
		name: fmt.Sprintf("all nodes of the only layer die, %d: one page, of the layer", nodes), lasts: s.late(45 * time.Minute),
		series: pod().tells(s, collectors(map[string]curve{"node": down, "canary": down}), l.series(), c.series(s.ScrapeInterval), causes(nil)),
		expect: []expectation{
			s.page(s.late(20*time.Minute), labels{"layer": usualLayer}), s.page(s.late(40 * time.Minute)).where(`family="exporter"`),
			s.page(s.late(40*time.Minute), labels{"layer": usualLayer}),
		},
	}
}

// nowAndThen is a node that answers every third time.
func (s Settings) nowAndThen() situation {
	l, c := twelve()
	up := always(1).from(10*time.Minute, inTurn(s.ScrapeInterval, 0, 1, 0))
	l = l.with(0, func(n *node) { n.up = up })
	c.unread = map[string]curve{"redis-1": only(inverse(up), always(417)).orZero()}
	return situation{
		name: "a node answers every third time: one ticket", lasts: s.late(70 * time.Minute),
		series: pod().tells(s, collectors(map[string]curve{"node": up, "canary": up}), l.series(), c.series(s.ScrapeInterval), causes(nil)),
		expect: []expectation{s.noPage(), s.atMost(1), s.ticket(s.late(60*time.Minute), labels{"node": "redis-1"})},
	}
}

// deadInstance of an application holds a local cache, and tells its version.
func (s Settings) deadInstance() situation {
	l := layer{name: "l1", kind: "http"}
	down := always(1).from(10*time.Minute, always(0))
	told := []series{gauge("collector_success", down, "collector", "app_version")}
	for i, name := range numbered("web-", 6) {
		up := always(1)
		if i == 0 {
			up = down
		}
		l.nodes = append(l.nodes, node{name: name, up: up})
		told = append(told, gauge("app_up", up, "app", "web", "node", name))
	}
	c := profiles(l, 1000)
	c.unread = bad(10*time.Minute, 1000, "web-1")
	return situation{
		name: "an instance dies that is asked for its copies and for its version: one ticket", lasts: s.late(50 * time.Minute),
		series: pod().tells(s, collectors(map[string]curve{"node": down, "canary": down}), l.series(), c.series(s.ScrapeInterval), causes(nil), told),
		expect: []expectation{s.noPage(), s.tickets(s.late(45*time.Minute), 1)},
	}
}

// besideIdle is a batch that is processed as fast as it should be, by one of two groups; the other waits for another topic.
func (s Settings) besideIdle() situation {
	q := topic("invalidations", 20)
	from, arrived := 10*time.Minute, 16*time.Minute
	const arrive, process = 4000.0, 1750.0
	drained := from + time.Duration(arrive*(arrived-from).Seconds()/process)*time.Second
	q.enqueued = q.enqueued.between(from, arrived, always(arrive))
	q.processed = q.processed.between(from, drained, always(process))
	q.depth = q.depth.between(from, arrived, ramp(from, 0, arrive-process)).
		between(arrived, drained, ramp(arrived, (arrive-process)*(arrived-from).Seconds(), -process))
	q.oldest = q.oldest.between(from, drained, ramp(from, 0, 1-process/arrive))
	of := []string{"queue", q.name, "group", "reports"}
	return situation{
		name: "a batch drains within ten minutes, and another group of the queue has nothing to do: no page", lasts: 35 * time.Minute,
		series: append(s.queues(q), pod().tells(s, []series{
			counter("consumer_group_processed_total", always(0), of...), gauge("consumer_group_stalled", always(0), of...),
			gauge("consumer_group_members", always(2), of...), gauge("consumer_group_lag", always(0), append(of[:4:4], "topic", "other", "partition", "0")...),
		})[2:]...),
		expect: []expectation{s.noPage()},
	}
}

// slowsDown is a batch whose processing promises well, and then slows down.
func (s Settings) slowsDown() situation {
	q := topic("invalidations", 20)
	from, arrived, slow := 10*time.Minute, 11*time.Minute, 13*time.Minute
	q.enqueued = q.enqueued.between(from, arrived, always(5000))
	q.processed = q.processed.between(from, slow, always(1000)).from(slow, always(60))
	q.depth = q.depth.between(from, arrived, ramp(from, 0, 4000)).between(arrived, slow, ramp(arrived, 240000, -1000)).from(slow, ramp(slow, 120000, -40))
	q.oldest = q.oldest.from(from, ramp(from, 0, 0.9))
	return situation{
		name: "a batch drains, and then slower than it promised: one page", lasts: s.late(40 * time.Minute), series: s.queues(q),
		expect: []expectation{s.once(), s.page(s.late(25*time.Minute), labels{"queue": q.name, "cause": "queue"})},
	}
}

// littleLoop repeats keys at a low rate; where next to nothing comes, what is left of a batch stays the newest of the log.
func (s Settings) littleLoop(rate float64) situation {
	q := topic("invalidations", rate)
	x := situation{
		name: "an invalidation causes itself at five messages a second: a ticket within the hour", lasts: s.late(70 * time.Minute),
		expect: []expectation{s.noPage(), s.ticket(s.late(60*time.Minute), labels{"queue": q.name})},
	}
	if rate < 1 {
		x.name, x.expect = "what is left of a batch repeats keys, in a log to which little comes: nobody is told", []expectation{s.quiet()}
	}
	x.series = append(s.queues(q), pod().tells(s, []series{
		gauge("queue_sampled_messages", always(1000), "queue", q.name, "kind", q.kind),
		gauge("queue_sampled_repeats", always(0).from(10*time.Minute, always(600)), "queue", q.name, "kind", q.kind),
	})[2:]...)
	return x
}
