package situations

import (
	"fmt"
	"time"
)

func nodesChapter(s Settings) chapter {
	c := chapter{name: "nodes", about: "nodes that die, restart, refuse and disagree", evaluate: time.Minute}
	c.situations = []situation{
		s.deaths(1), s.deaths(3), s.rollingRestart(), s.upgrade(), s.crashLoop(), s.refused(1), s.refused(12), s.announced(), s.tooFew(),
		s.replica(1), s.replica(12), s.dividedFor(time.Minute), s.dividedFor(time.Hour), s.resharding(),
	}
	return c
}

// twelve nodes and their class of 5,004 copies.
func twelve() (layer, class) {
	l := caches(12)
	return l, profiles(l, 417)
}

// deaths: so many of twelve nodes die for good. One is not alone: a copy on another node is overdue, which has nothing to do with it.
func (s Settings) deaths(n int) situation {
	l, c := twelve()
	from := 10 * time.Minute
	down := always(1).from(from, always(0))
	c.unread = bad(from, 417, l.names()[:n]...)
	var replication []series
	for i := range n {
		l = l.with(i, func(n *node) { n.up = down })
		replication = append(replication, gauge("replication_link_up", down, "layer", l.name, "node", l.names()[i]))
	}
	score := always(0).from(from, always(0.57))
	x := situation{
		name: "three of twelve nodes die: one page", lasts: s.late(45 * time.Minute),
		expect: []expectation{s.page(s.late(20*time.Minute), labels{"layer": usualLayer}), s.incidents(s.late(20*time.Minute), labels{})},
	}
	if n == 1 {
		c.overdue = bad(15*time.Minute, 1, "redis-7")
		x.name = "one of twelve nodes dies, and a copy on another is overdue: a ticket for each"
		at := s.late(40 * time.Minute)
		x.expect = []expectation{
			s.noPage(), s.tickets(at, 2), s.ticket(at, labels{"class": usualClass}), s.ticket(at, labels{"node": "redis-1"}).where(`class=""`),
		}
	}
	x.series = pod().tells(s, collectors(map[string]curve{"node": down, "canary": down, "replication": down}), l.series(), c.series(s.ScrapeInterval),
		replication, causes(map[string]curve{"network": score}), blamed("network", l.name, score, l.names()[:n]...))
	return x
}

// rollingRestart takes one node after the other away for a minute; what it held is filled again within two.
func (s Settings) rollingRestart() situation {
	l, c := twelve()
	c.unread, c.missing = map[string]curve{}, map[string]curve{}
	success, score := always(1), always(0)
	all := []series{}
	for i, name := range l.names() {
		from := time.Duration(5+3*i) * time.Minute
		to := from + time.Minute
		l = l.with(i, func(n *node) {
			n.up = always(1).between(from, to, always(0))
			n.starts = []time.Duration{to}
		})
		c.unread[name] = always(0).between(from, to, always(417))
		c.missing[name] = always(0).between(to, to+time.Minute, always(400)).between(to+time.Minute, to+2*time.Minute, always(100))
		success, score = success.between(from, to, always(0)), score.between(from, to, always(0.57))
		all = append(all, blamed("network", l.name, always(0).between(from, to, always(0.57)), name)...)
	}
	return situation{
		name: "a rolling restart of twelve nodes, a minute each: nobody is told", lasts: 50 * time.Minute,
		series: pod().tells(s, collectors(map[string]curve{"node": success, "canary": success}), l.series(), c.series(s.ScrapeInterval),
			causes(map[string]curve{"network": score}), all),
		expect: []expectation{s.quiet()},
	}
}

// upgrade runs two versions of the servers for an hour.
func (s Settings) upgrade() situation {
	l := caches(3)
	from, to := 10*time.Minute, 70*time.Minute
	score := always(0).between(from, to, always(0.28))
	return situation{
		name: "the servers are upgraded within an hour: no page", lasts: 80 * time.Minute,
		series: pod().tells(s, collectors(nil), l.series(), profiles(l, 1000).series(s.ScrapeInterval), causes(map[string]curve{"config": score}),
			[]series{gauge("layer_distinct_configs", always(1).between(from, to, always(2)), "layer", l.name, "setting", "server_version")}),
		expect: []expectation{s.noPage()},
	}
}

// loop of restarts: each turn begins with so long a time down.
func loop(from, to, turn, down time.Duration) (up curve, starts []time.Duration) {
	up = always(1)
	for at := from; at < to; at += turn {
		up = up.between(at, at+down, always(0))
		starts = append(starts, at+down)
	}
	return up, starts
}

func (s Settings) crashLoop() situation {
	l, c := twelve()
	up, starts := loop(10*time.Minute, 90*time.Minute, 4*time.Minute, 2*time.Minute)
	l = l.with(0, func(n *node) { n.up, n.starts = up, starts })
	c.unread = map[string]curve{"redis-1": only(inverse(up), always(417)).orZero()}
	return situation{
		name: "one of twelve nodes crashes every four minutes: no page, and no more than one ticket", lasts: 80 * time.Minute,
		series: pod().tells(s, collectors(map[string]curve{"node": up, "canary": up}), l.series(), c.series(s.ScrapeInterval),
			causes(map[string]curve{"network": only(inverse(up), always(0.57)).orZero()}), blamed("network", l.name, inverse(up), "redis-1")),
		expect: []expectation{s.noPage(), s.atMost(1)},
	}
}

// refused: so many nodes refuse the exporter's login; applications are served.
func (s Settings) refused(n int) situation {
	l, c := twelve()
	from := 10 * time.Minute
	down := always(1).from(from, always(0))
	c.unread = bad(from, 417, l.names()[:n]...)
	var told []series
	for i := range n {
		l = l.with(i, func(n *node) { n.up = down })
		told = append(told, gauge("node_refused", always(0).from(from, always(1)), "layer", l.name, "node", l.nodes[i].name, "kind", l.kind))
	}
	at := s.late(40 * time.Minute)
	x := situation{
		name: "one of twelve nodes refuses the exporter's login: one ticket, and not of the network", lasts: s.late(45 * time.Minute),
		expect: []expectation{s.noPage(), s.tickets(at, 1), s.ticket(at, labels{"cause": ""})},
	}
	if n > 1 {
		x.name = "all nodes refuse the exporter's login: it is blind, and that pages, but it is no fault of the network"
		x.expect = []expectation{s.page(at, labels{"family": "exporter"}), s.page(at, labels{"cause": ""})}
	}
	x.series = pod().tells(s, collectors(map[string]curve{"node": down, "canary": down}), l.series(), c.series(s.ScrapeInterval), told, causes(nil))
	return x
}

// members are nodes found by DNS.
func members(n int) layer {
	l := layer{name: usualLayer, kind: "redis", group: "pool"}
	for i := range n {
		l.nodes = append(l.nodes, node{name: fmt.Sprintf("pool/10.0.0.%d:6379", i+1)})
	}
	return l
}

func (s Settings) announced() situation {
	l := members(4)
	return situation{
		name: "three addresses are announced and never answer: told, and no page", lasts: s.late(3 * time.Hour), scrape: time.Minute,
		series: pod().tells(s, collectors(nil), l.series(), profiles(l, 1000).series(time.Minute), causes(nil),
			[]series{gauge("group_unreached_addresses", always(3), "layer", l.name, "group", "pool")}),
		expect: []expectation{s.noPage(), {at: s.late(150 * time.Minute), severity: s.Ticket + "|info", want: []labels{{"group": "pool"}}}},
	}
}

func (s Settings) tooFew() situation {
	l := members(3)
	l.expected = 4
	return situation{
		name: "a group has fewer nodes than min_nodes: a ticket", lasts: s.late(time.Hour),
		series: s.base(l, profiles(l, 1000)),
		expect: []expectation{s.noPage(), s.ticket(s.late(45*time.Minute), labels{"group": "pool"})},
	}
}

// replica is restarted so often, and does not follow its primary after it for six minutes.
func (s Settings) replica(restarts int) situation {
	l := caches(3)
	turn := 5 * time.Minute
	up, starts := loop(10*time.Minute, 10*time.Minute+time.Duration(restarts)*turn, turn, time.Minute)
	l = l.with(2, func(n *node) { n.up, n.starts = up, starts })
	c := profiles(l, 1000)
	c.unread = map[string]curve{"redis-3": only(inverse(up), always(1000)).orZero()}
	last := starts[len(starts)-1] + 6*time.Minute
	link := always(1).between(10*time.Minute, last, always(0))
	lag := always(0).between(10*time.Minute, last, ramp(10*time.Minute, 0, 1))
	x := situation{
		name: "a replica is restarted and copies all that its primary holds: nobody is told", lasts: 40 * time.Minute,
		expect: []expectation{s.quiet()},
	}
	if restarts > 1 {
		x.name, x.lasts = "a replica restarts every five minutes and never follows its primary: a ticket", 70*time.Minute
		x.expect = []expectation{s.noPage(), s.ticket(50*time.Minute, labels{"node": "redis-3"})}
	}
	x.series = pod().tells(s, collectors(map[string]curve{"node": up, "canary": up, "replication": link}), l.series(), c.series(s.ScrapeInterval), causes(nil),
		[]series{
			gauge("replication_link_up", link, "layer", l.name, "node", "redis-3"),
			gauge("replication_lag_seconds", lag, "layer", l.name, "node", "redis-3"),
		})
	return x
}

// dividedFor has two primaries for so long, as during a failover, or for good.
func (s Settings) dividedFor(long time.Duration) situation {
	l := caches(3)
	masters := always(1).between(10*time.Minute, 10*time.Minute+long, always(2))
	x := situation{
		name: "a group has two primaries for good: a page", lasts: s.late(40 * time.Minute),
		expect: []expectation{s.page(s.late(20*time.Minute), labels{"layer": usualLayer, "cause": "network"})},
	}
	if long <= time.Minute {
		x.name, x.expect = "a group has two primaries for a minute, in a failover: nobody is told", []expectation{s.quiet()}
	}
	x.series = append(s.base(l, profiles(l, 1000)), pod().tells(s, []series{gauge("layer_masters", masters, "layer", l.name, "group", "pair")})[2:]...)
	return x
}

// resharding moves slots for half an hour: whoever is asked meanwhile may be a move behind the others.
func (s Settings) resharding() situation {
	l := caches(3)
	c := profiles(l, 1000)
	from, to := 10*time.Minute, 40*time.Minute
	moving := always(0).between(from, to, inTurn(s.ScrapeInterval, 200, 0, 0))
	c.missing = map[string]curve{"redis-1": moving}
	views := always(1).between(from, to, inTurn(s.ScrapeInterval, 2, 1, 1))
	return situation{
		name: "a Redis Cluster is resharded: nobody is paged", lasts: time.Hour,
		series: append(s.base(l, c), pod().tells(s, []series{
			gauge("cluster_views", views, "layer", l.name, "group", "cluster"),
			gauge("cluster_contested_slots", always(0), "layer", l.name, "group", "cluster"),
			gauge("cluster_ok", always(1), "layer", l.name, "group", "cluster"),
			gauge("canary_suppressed_copies", moving, "class", c.name, "layer", l.name, "node", "redis-1", "reason", "resharding"),
		})[2:]...),
		expect: []expectation{s.noPage()},
	}
}
