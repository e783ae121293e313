package situations

import (
	"math"
	"time"
)

// bad are so many overdue copies on each of the nodes, from a time on.
func bad(from time.Duration, copies float64, nodes ...string) map[string]curve {
	all := map[string]curve{}
	for _, n := range nodes {
		all[n] = always(0).from(from, always(copies))
	}
	return all
}

// twice the share that pages, of so many copies, on two nodes: so many on each.
func (s Settings) twice(copies float64) float64 { return math.Ceil(s.StaleShare * copies) }

func copiesChapter(s Settings) chapter {
	c := chapter{name: "copies", about: "copies that are wrong, and causes that stand beside them", evaluate: time.Minute}
	for _, cause := range everyCause {
		c.situations = append(c.situations, s.oneBadCopy(cause), s.twoPercent(cause), s.causeElsewhere(cause))
	}
	return c
}

// causeOn is a cause that stands, by what is known of nodes where that can be.
func causeOn(cause string, from time.Duration, nodes ...string) []series {
	score := always(0).from(from, always(0.9))
	all := causes(map[string]curve{cause: score})
	if cause == "network" || cause == "config" || cause == "version" {
		all = append(all, blamed(cause, usualLayer, score, nodes...)...)
	}
	return all
}

func (s Settings) oneBadCopy(cause string) situation {
	l := caches(5)
	c := profiles(l, 1000)
	c.overdue = bad(5*time.Minute, 1, "redis-1")
	return situation{
		name:  "one copy of 5,000 is overdue, and the cause " + cause + " stands on its node: a ticket, however certain",
		lasts: s.late(40 * time.Minute),
		series: pod().tells(s, collectors(nil), l.series(), c.series(s.ScrapeInterval), causeOn(cause, 5*time.Minute, "redis-1"),
			topic("invalidations", 20).series()),
		expect: []expectation{s.noPage(), s.ticket(s.late(30*time.Minute), labels{"class": usualClass})},
	}
}

// twoPercent has the share of copies that pages twice over, on two nodes that the cause is about.
func (s Settings) twoPercent(cause string) situation {
	l := caches(5)
	c := profiles(l, 1000)
	c.overdue = bad(5*time.Minute, s.twice(5000), "redis-1", "redis-2")
	q := topic("invalidations", 20)
	at := s.late(15 * time.Minute)
	x := situation{lasts: s.late(20 * time.Minute), expect: []expectation{s.page(at, labels{"class": usualClass})}}
	none, named := labels{"cause": ""}, labels{"cause": cause}
	switch cause {
	case "queue":
		q = stopped(q, 5*time.Minute)
		x.name = "2% of the copies are overdue since the queue's consumers have stopped: one incident, of the queue"
		x.expect = append(x.expect, s.incidents(at, labels{"queue": q.name}))
	case "config":
		x.name = "2% of the copies are overdue on nodes whose settings differ: a page that names no cause, as settings do not tell"
		x.expect = append(x.expect, s.page(at, none), s.incidents(at, labels{}))
	default:
		x.name = "2% of the copies are overdue, and the cause " + cause + " explains them: a page that names it"
		x.expect = append(x.expect, s.page(at, none, named), s.incidents(at, labels{}))
	}
	x.series = pod().tells(s, collectors(nil), l.series(), c.series(s.ScrapeInterval), causeOn(cause, 5*time.Minute, "redis-1", "redis-2"), q.series())
	return x
}

// causeElsewhere has the harm on nodes that the cause is not about.
func (s Settings) causeElsewhere(cause string) situation {
	l := caches(5)
	c := profiles(l, 1000)
	c.overdue = bad(5*time.Minute, s.twice(5000), "redis-1", "redis-2")
	at := s.late(15 * time.Minute)
	x := situation{lasts: s.late(20 * time.Minute)}
	stands := causeOn(cause, 0, "redis-5")
	switch cause {
	case "queue":
		x.name = "2% of the copies are overdue, and the cause queue stands though no queue is ill: a page that names no queue"
		x.expect = []expectation{s.page(at, labels{"cause": ""}), s.incidents(at, labels{})}
	case "logic":
		score := always(0.9)
		stands = append(causes(map[string]curve{"logic": score, "config": score}), blamed("config", usualLayer, score, "redis-5")...)
		x.name = "2% of the copies are overdue by the code's fault, beside a node whose settings differ on purpose: logic is named all the same"
		x.expect = []expectation{s.page(at, labels{"cause": ""}, labels{"cause": "logic"}), s.incidents(at, labels{})}
	default:
		x.name = "2% of the copies are overdue, and the cause " + cause + " stands on another node: a page that names no cause"
		x.expect = []expectation{s.page(at, labels{"cause": ""}), s.incidents(at, labels{})}
	}
	x.series = pod().tells(s, collectors(nil), l.series(), c.series(s.ScrapeInterval), stands, topic("invalidations", 20).series())
	return x
}
