package situations

import (
	"maps"
	"slices"
	"time"
)

// eventsChapter is about invalidations that are looked at one by one.
func eventsChapter(s Settings) chapter {
	c := chapter{name: "events", about: "invalidations that have no effect, and those that only look so", evaluate: time.Minute}
	c.situations = []situation{
		s.effective(13), s.effective(1.0 / 360), s.oddEvent(), s.fewFail(), s.fewFailEverywhere(),
		s.processorStops(), s.rebalanced(), s.batchWaits(), s.alwaysLate(),
		s.deaf(), s.deafOfMany(), s.staleSets(), s.ineffective(), s.harmed(), s.deafInstance(),
		s.restarted(), s.rewound(), s.unmatched(), s.idleQueue(),
	}
	return c
}

// checked is a class whose events come from a queue, so many a second.
type checked struct {
	name, queue, layer string
	nodes              []string
	shared             bool // each node has its part of the keys; else each has all
	rate               curve
	bad                map[string]curve // share of the events, by result
	on                 []string         // nodes that have the bad copies; empty: all
	skipped            map[string]curve // messages a second, by reason, which are seen besides
}

// profileEvents are the usual class's, on so many nodes.
func profileEvents(rate float64, nodes int) checked {
	return checked{name: usualClass, queue: "invalidations", layer: usualLayer, nodes: numbered("redis-", nodes), rate: always(rate)}
}

// times is the product of two curves.
func times(a, b curve) curve {
	return func(at time.Duration) (float64, bool) {
		x, okX := a(at)
		y, okY := b(at)
		return x * y, okX && okY
	}
}

// rest is what is left of 1.
func rest(of map[string]curve) curve {
	return func(at time.Duration) (float64, bool) {
		left := 1.0
		for _, share := range of {
			v, _ := share(at)
			left -= v
		}
		return left, true
	}
}

func (c checked) series() []series {
	all := []series{gauge("event_within_seconds", always(60), "class", c.name)}
	tell := func(name string, rate curve, bad map[string]curve, who ...string) {
		who = append(who, "class", c.name, "window", "1m", "result")
		all = append(all, counter(name, times(rate, rest(bad)), append(who, "current")...))
		for _, result := range slices.Sorted(maps.Keys(bad)) {
			all = append(all, counter(name, times(rate, bad[result]), append(who, result)...))
		}
	}
	parts := 1.0
	if c.shared {
		parts = float64(len(c.nodes))
	}
	events := map[string]curve{}
	for result, share := range c.bad {
		events[result] = times(share, always(1/parts))
		if len(c.on) == 0 {
			events[result] = share
		}
	}
	tell("event_checks_total", c.rate, events)
	for _, n := range c.nodes {
		bad := c.bad
		if len(c.on) > 0 && !slices.Contains(c.on, n) {
			bad = nil
		}
		tell("event_copy_checks_total", times(c.rate, always(1/parts)), bad, "layer", c.layer, "node", n)
	}
	seen := []curve{c.rate}
	for _, reason := range []string{"budget", "no_class", "too_old", "unreadable"} {
		skipped := orNone(c.skipped[reason])
		seen = append(seen, skipped)
		all = append(all, counter("events_skipped_total", skipped, "queue", c.queue, "reason", reason))
	}
	return append(all, counter("events_seen_total", sum(seen...), "queue", c.queue))
}

// events are what is checked of the usual queue, where all else is well.
func (s Settings) events(q queue, all ...checked) []series {
	told := [][]series{collectors(nil), causes(nil), q.series()}
	for _, c := range all {
		told = append(told, c.series())
	}
	return pod().tells(s, told...)
}

func usualQueue() queue { return topic("invalidations", 20) }

// effective are so many events a second.
func (s Settings) effective(rate float64) situation {
	name := "200 invalidations each 15 s, and all take effect: nobody is told"
	if rate < 1 {
		name = "ten invalidations an hour, and all take effect: nobody is told"
	}
	return situation{
		name: name, lasts: 3 * time.Hour, scrape: sparse,
		series: s.events(usualQueue(), profileEvents(rate, 3)), expect: []expectation{s.quiet(besides)},
	}
}

// oddEvent is one bad one of some hundred.
func (s Settings) oddEvent() situation {
	c := profileEvents(0.1, 3)
	at := 100 * time.Minute
	c.bad, c.on = map[string]curve{"survived": always(0).between(at, at+10*time.Second, always(1))}, []string{"redis-1"}
	return situation{
		name: "one of 360 invalidations an hour does not take effect: nobody is told", lasts: 4 * time.Hour, scrape: sparse,
		series: s.events(usualQueue(), c), expect: []expectation{s.quiet(besides)},
	}
}

// fewFailEverywhere are ten an hour, and no node gets any.
func (s Settings) fewFailEverywhere() situation {
	c := profileEvents(1.0/360, 3)
	c.rate, c.bad = single(6*time.Minute), map[string]curve{"survived": always(1)}
	return situation{
		name: "ten invalidations an hour, and no node gets any: a ticket of the class", lasts: s.late(80 * time.Minute),
		series: s.events(usualQueue(), c),
		expect: []expectation{s.noPage(), s.ticket(s.late(70*time.Minute), labels{"class": usualClass})},
	}
}

// fewFail are ten an hour, and one node gets none of them.
func (s Settings) fewFail() situation {
	c := profileEvents(1.0/360, 3)
	c.rate = single(6 * time.Minute)
	c.bad, c.on = map[string]curve{"survived": always(1)}, []string{"redis-2"}
	return situation{
		name: "ten invalidations an hour, and one node gets none: a ticket that names it", lasts: s.late(80 * time.Minute),
		series: s.events(usualQueue(), c),
		expect: []expectation{s.noPage(), s.ticket(s.late(70*time.Minute), labels{"node": "redis-2", "cause": "network"})},
	}
}

// processorStops has all that comes wait.
func (s Settings) processorStops() situation {
	from := 30 * time.Minute
	c := profileEvents(13, 3)
	c.bad = map[string]curve{"waiting": always(0).from(from+time.Minute, always(0.9))}
	at := from + s.late(40*time.Minute)
	return situation{
		name: "the consumers of the queue stop, and what is invalidated waits: one incident, of the queue", lasts: at,
		series: s.events(stopped(usualQueue(), from), c),
		expect: []expectation{s.incidents(from+s.late(10*time.Minute), labels{"queue": c.queue}), s.incidents(at, labels{"queue": c.queue})},
	}
}

// rebalanced are consumers that stand still for two minutes.
func (s Settings) rebalanced() situation {
	from := 40 * time.Minute
	c := profileEvents(13, 3)
	c.bad = map[string]curve{"waiting": always(0).between(from+time.Minute, from+2*time.Minute, always(0.9))}
	q := usualQueue()
	q.processed = q.processed.between(from, from+2*time.Minute, always(0)).between(from+2*time.Minute, from+3*time.Minute, always(60))
	q.oldest = q.oldest.between(from, from+2*time.Minute, ramp(from, 1, 1))
	return situation{
		name: "consumers rebalance for two minutes: no page", lasts: s.late(2 * time.Hour), series: s.events(q, c),
		expect: []expectation{s.noPage()},
	}
}

// batchWaits has all events of a nightly batch wait for longer than is promised.
func (s Settings) batchWaits() situation {
	from := 45 * time.Minute
	c := profileEvents(13, 3)
	c.bad = map[string]curve{"waiting": always(0).between(from+time.Minute, from+11*time.Minute, always(0.9))}
	return situation{
		name: "a nightly batch drains in nine and a half minutes, and its invalidations are late: no page", lasts: s.late(2 * time.Hour),
		series: s.events(batch(usualQueue(), from, 1750), c), expect: []expectation{s.noPage()},
	}
}

// alwaysLate: the queue is within its limits, and what it carries is later than is promised.
func (s Settings) alwaysLate() situation {
	from := 30 * time.Minute
	c := profileEvents(13, 3)
	c.bad = map[string]curve{"waiting": always(0).from(from, always(0.9))}
	q := usualQueue()
	q.depth, q.oldest = q.depth.from(from, always(900)), q.oldest.from(from, always(90))
	q.limits = map[string]float64{"oldest": 900}
	at := from + s.late(50*time.Minute)
	return situation{
		name: "each invalidation is processed a minute and a half late, which the queue's limits allow: a page with the queue", lasts: at,
		series: s.events(q, c), expect: []expectation{s.page(at, labels{"class": usualClass, "queue": c.queue}), s.once()},
	}
}

// deafOne is one node that gets nothing any more; where so many share the keys, it is a little part of them.
func (s Settings) deafOne(nodes int, share float64) (checked, time.Duration) {
	from := 30 * time.Minute
	c := profileEvents(13, nodes)
	c.shared = nodes > 3
	c.bad, c.on = map[string]curve{"survived": always(0).from(from+time.Minute, always(share))}, c.nodes[:1]
	return c, from
}

func (s Settings) deaf() situation {
	c, from := s.deafOne(3, 0.9)
	at, node := from+s.late(15*time.Minute), labels{"node": "redis-1", "cause": "network"}
	return situation{
		name: "one node gets no invalidations any more: a page that names it, and one incident", lasts: at + 5*time.Minute,
		series: s.events(usualQueue(), c),
		expect: []expectation{
			s.either(from+s.late(3*time.Minute), node), s.page(at, node), s.page(at, labels{"class": usualClass}), s.incidents(at, labels{}),
		},
	}
}

func (s Settings) deafOfMany() situation {
	c, from := s.deafOne(80, 0.5)
	c.rate = always(20)
	at := from + s.late(15*time.Minute)
	return situation{
		name: "one node of eighty loses half of its invalidations: a ticket that names it", lasts: at + 5*time.Minute,
		series: s.events(usualQueue(), c),
		expect: []expectation{s.noPage(), s.ticket(at, labels{"node": "redis-1", "cause": "network"})},
	}
}

// staleSets are fills that store what they read before the invalidation: one in five minutes.
func (s Settings) staleSets() situation {
	c := profileEvents(13, 3)
	c.bad = map[string]curve{"restored": times(single(5*time.Minute), always(1/13.0))}
	return situation{
		name: "a slow fill brings an old value back each five minutes, of 4,000 invalidations: a ticket", lasts: s.late(80 * time.Minute),
		series: s.events(usualQueue(), c),
		expect: []expectation{s.noPage(), s.ticket(s.late(70*time.Minute), labels{"class": usualClass, "cause": "logic"})},
	}
}

// ineffective is a fault of the code that invalidates.
func (s Settings) ineffective() situation {
	from := 30 * time.Minute
	c := profileEvents(13, 3)
	c.bad = map[string]curve{"survived": always(0).from(from, always(0.5))}
	at := from + s.late(15*time.Minute)
	return situation{
		name: "half of what is invalidated survives on all nodes: a page that names no node", lasts: at + 5*time.Minute,
		series: s.events(usualQueue(), c), expect: []expectation{s.page(at, labels{"class": usualClass})},
	}
}

// harmed has the copies of canaries overdue, too.
func (s Settings) harmed() situation {
	from := 30 * time.Minute
	l := caches(3)
	p := profiles(l, 1000)
	p.overdue = bad(from+3*time.Minute, 20*s.twice(3000), l.names()...)
	q := stopped(usualQueue(), from)
	c := profileEvents(13, 3)
	c.bad = map[string]curve{"waiting": always(0).from(from+time.Minute, always(0.9))}
	at := from + s.late(40*time.Minute)
	return situation{
		name: "the consumers stop, canaries are overdue and invalidations wait: one incident, of the queue", lasts: at,
		series: s.watched(l, p, causes(map[string]curve{"queue": always(0).from(from+2*time.Minute, always(0.9))}), q.series(), c.series()),
		expect: []expectation{s.incidents(from+s.late(15*time.Minute), labels{"queue": c.queue}), s.incidents(at, labels{"queue": c.queue})},
	}
}

// deafInstance does not hear the channel any more, which is known before its copies are overdue; that it misses what others get, a little after.
func (s Settings) deafInstance() situation {
	from := 30 * time.Minute
	l := layer{name: "l1", kind: "http"}
	for _, name := range numbered("web-", 3) {
		l.nodes = append(l.nodes, node{name: name, up: always(1)})
	}
	p := profiles(l, 1000)
	p.overdue = bad(from+time.Minute, 20*s.twice(3000), "web-3")
	c := profileEvents(13, 3)
	c.queue, c.layer, c.nodes = "l1-bus", l.name, l.names()
	c.bad, c.on = map[string]curve{"survived": always(0).from(from+time.Minute, always(0.9))}, c.nodes[2:]
	who := []string{"queue", c.queue}
	late := always(0).from(from+2*time.Minute, always(0.7))
	at := from + s.late(15*time.Minute)
	return situation{
		name: "an instance no longer hears the channel, and its copies are overdue: one incident that names it, and a ticket of the channel", lasts: at + 5*time.Minute,
		series: s.watched(l, p, causes(map[string]curve{"queue": always(0).from(from, always(0.42)), "network": late}), blamed("network", l.name, late, "web-3"), c.series(),
			[]series{
				gauge("queue_up", always(1), append(who[:2:2], "kind", "redis_channel")...),
				gauge("queue_subscribers", always(3).from(from, always(2)), who...), gauge("queue_expected_subscribers", always(3), who...),
			}),
		expect: []expectation{
			s.incidents(at, labels{}), s.page(at, labels{"node": "web-3", "cause": "network"}).where(`alertname="CacheInvalNodeMissesInvalidations"`),
			s.ticket(at, labels{"queue": c.queue}),
		},
	}
}

// restarted is an exporter that is away for two minutes and counts anew.
func (s Settings) restarted() situation {
	c := profileEvents(13, 3)
	c.bad = map[string]curve{"survived": always(s.EventBudget / 2)}
	away := 80 * time.Minute
	t := pod()
	t.starts = []time.Duration{away + 2*time.Minute}
	t.lost = func(at time.Duration) bool { return at >= away && at < away+2*time.Minute }
	return situation{
		name: "the exporter restarts, while half the budget of events burns: no page", lasts: s.late(3 * time.Hour),
		series: t.tells(s, collectors(nil), causes(nil), usualQueue().series(), c.series()),
		expect: []expectation{s.noPage(), s.quiet(`class!=""`)},
	}
}

// rewound is a queue whose producer sends a day of old messages again, beside the new ones.
func (s Settings) rewound() situation {
	from := 30 * time.Minute
	c := profileEvents(13, 3)
	c.skipped = map[string]curve{"too_old": always(0).between(from, from+30*time.Minute, always(500))}
	return situation{
		name: "half a day of messages is sent again, beside new ones: nobody is told of events", lasts: s.late(90 * time.Minute),
		series: s.events(usualQueue(), c), expect: []expectation{s.quiet(`class!=""`), s.quiet(`node!=""`)},
	}
}

// unmatched is a class whose match fits no message any more.
func (s Settings) unmatched() situation {
	from := 30 * time.Minute
	c := profileEvents(13, 3)
	c.rate = c.rate.from(from, always(0))
	c.skipped = map[string]curve{"no_class": always(0).from(from, always(13))}
	at := from + s.late(40*time.Minute)
	return situation{
		name: "keys are named otherwise, and no message fits a class any more: a ticket", lasts: at,
		series: s.events(usualQueue(), c), expect: []expectation{s.noPage(), s.ticket(at, labels{"queue": c.queue})},
	}
}

// idleQueue is a weekend without messages.
func (s Settings) idleQueue() situation {
	from := time.Hour
	c := profileEvents(13, 3)
	c.rate = c.rate.from(from, always(0))
	q := usualQueue()
	q.depth, q.enqueued, q.processed = q.depth.from(from, always(0)), q.enqueued.from(from, always(0)), q.processed.from(from, always(0))
	return situation{
		name: "nothing is invalidated for two hours: nobody is told", lasts: 3 * time.Hour, scrape: sparse,
		series: s.events(q, c), expect: []expectation{s.quiet(besides)},
	}
}
