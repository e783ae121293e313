package situations

import (
	"fmt"
	"time"
)

func exportersChapter(s Settings) chapter {
	c := chapter{name: "exporters", about: "how the exporter is scraped, and by how many", evaluate: time.Minute}
	for _, interval := range []time.Duration{15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute} {
		c.situations = append(c.situations, s.interval(interval, false), s.interval(interval, true))
	}
	c.situations = append(c.situations,
		s.twoExporters(0.6), s.twoExporters(2), s.shards(0.8), s.shards(1.4), s.blindShard("gone"), s.blindShard("down"), s.blindShard("failing"),
		s.restartLoop(), s.gone(false), s.gone(true), s.renamed(false), s.renamed(true), s.oneOfTwo(), s.labelsRenamed(), s.unreadable(1), s.unreadable(2), s.unreadableBeside())
	return c
}

// aTenth of the scrapes is lost.
func aTenth(interval time.Duration) func(time.Duration) bool {
	return func(at time.Duration) bool { return at/interval%10 == 7 }
}

// interval has scrapes so far apart, a tenth of them lost, over an estate that is well, or one in which 2% of the copies are overdue,
// a queue has stopped and a node is down.
func (s Settings) interval(interval time.Duration, ill bool) situation {
	l := caches(5) // with fewer, one that is down would be more than a fifth
	c := profiles(l, 1000)
	q := topic("invalidations", 20)
	t := pod()
	t.lost = aTenth(interval)
	name := fmt.Sprintf("scrapes %s apart, a tenth of them lost, ", short(interval))
	x := situation{
		name: name + "and all is well: nobody is told", lasts: time.Hour, scrape: interval,
		expect: []expectation{s.quiet()},
	}
	if interval > s.ScrapeInterval {
		x.name = name + "and all is well but for that: a ticket"
		x.expect = []expectation{s.noPage(), s.quiet(besides), s.ticket(50*time.Minute, labels{"family": "exporter"})}
	}
	success := map[string]curve{}
	score := always(0)
	if ill {
		from := 5 * time.Minute
		down := always(1).from(from, always(0))
		c.overdue, c.unread = bad(from, s.twice(5000), "redis-1", "redis-2"), bad(from, 1000, "redis-5")
		l = l.with(4, func(n *node) { n.up = down })
		q = stopped(q, from)
		success["node"], success["canary"] = down, down
		score = always(0).from(from, always(0.57))
		at := 25 * time.Minute
		x.name, x.lasts = name+"and copies are overdue, a queue has stopped, and a node is down: all is told, once", 50*time.Minute
		x.expect = []expectation{
			s.page(at, labels{"class": usualClass}), s.page(at, labels{"queue": q.name}), s.ticket(at, labels{"node": "redis-5"}).where(`class=""`),
			s.once().where(`class!=""`), s.once().where(`cause="queue"`), s.steady(at).where(`node="redis-5"`, `class=""`),
		}
	}
	x.series = t.tells(s, collectors(success), l.series(), c.series(interval), q.series(), causes(map[string]curve{"network": score}),
		blamed("network", l.name, score, "redis-5"))
	return x
}

// both exporters see the same; so large a part of what pages is overdue.
func (s Settings) twoExporters(part float64) situation {
	l := caches(4)
	c := profiles(l, 1000)
	share := part * s.StaleShare
	if part < 1 {
		share = s.mild(part)
	}
	c.overdue = bad(5*time.Minute, round(share*2000), "redis-1", "redis-2")
	other := pod()
	other.instance = "pod-2"
	tells := func() [][]series {
		return [][]series{collectors(nil), l.series(), c.series(s.ScrapeInterval), causes(nil), topic("invalidations", 20).series()}
	}
	x := situation{
		name: "two exporters see 2% of the copies overdue: one page", lasts: s.late(30 * time.Minute),
		series: append(pod().tells(s, tells()...), other.tells(s, tells()...)...),
		expect: []expectation{s.page(s.late(15*time.Minute), labels{"class": usualClass}), s.incidents(s.late(15*time.Minute), labels{})},
	}
	if part < 1 {
		x.name = "two exporters see the same copies overdue, 0.6% of all: they are not added up, a ticket"
		x.expect = []expectation{s.noPage(), s.ticket(s.late(25*time.Minute), labels{"class": usualClass})}
	}
	return x
}

// shards share a class's keys unevenly, and so are its overdue copies: so large a part of what pages, over all.
func (s Settings) shards(part float64) situation {
	l := caches(2)
	large, small := profiles(l, 2250), profiles(l, 250)
	x := situation{lasts: s.late(30 * time.Minute)}
	if part > 1 { // less in the larger shard than pages by itself
		copies := part * s.StaleShare * 5000
		large.overdue, small.overdue = bad(5*time.Minute, round(copies/4), l.names()...), bad(5*time.Minute, round(copies/4), l.names()...)
		x.name = "two shards of a class have 1.4% of its copies overdue between them: a page"
		x.expect = []expectation{s.page(s.late(15*time.Minute), labels{"class": usualClass})}
	} else { // all in the smaller one, of which it is many
		small.overdue = bad(5*time.Minute, round(s.mild(part)*2500), l.names()...)
		x.name = "one of two shards has all overdue copies of a class, 0.8% of both: a ticket"
		x.expect = []expectation{s.noPage(), s.ticket(s.late(25*time.Minute), labels{"class": usualClass})}
	}
	for i, c := range []class{large, small} {
		t := pod()
		t.instance, t.shard = fmt.Sprintf("pod-%d", i+1), fmt.Sprint(i)
		x.series = append(x.series, t.tells(s, collectors(nil), l.series(), c.series(s.ScrapeInterval), causes(nil))...)
	}
	return x
}

// blindShard is one of two that is no longer scraped, or cannot be, or whose canary collector fails.
func (s Settings) blindShard(how string) situation {
	const from = 20 * time.Minute
	l := caches(3)
	a, b := pod(), pod()
	a.shard, b.shard, b.instance = "a", "b", "pod-2"
	keys, fails := profiles(l, 1000).series(s.ScrapeInterval), map[string]curve{}
	x := situation{lasts: s.late(60 * time.Minute), expect: []expectation{s.page(s.late(50*time.Minute), labels{"shard": "b", "family": "exporter"})}}
	switch how {
	case "gone":
		x.name, b.to = "of two shards one is no longer scraped: a page", from
	case "down":
		x.name, b.lost = "of two shards one is down: a page", func(at time.Duration) bool { return at >= from }
	case "failing":
		x.name, fails["canary"] = "of two shards one no longer compares a copy: a page", always(1).from(from, always(0))
		for i := range keys {
			keys[i].value = keys[i].value.from(from, never)
		}
	}
	x.series = append(a.tells(s, collectors(nil), l.series(), profiles(l, 1000).series(s.ScrapeInterval), causes(nil)),
		b.tells(s, collectors(fails), l.series(), keys, causes(nil))...)
	return x
}

// restartLoop is an exporter that dies every four minutes.
func (s Settings) restartLoop() situation {
	l := caches(2)
	up, starts := loop(10*time.Minute, s.late(70*time.Minute), 4*time.Minute, time.Minute)
	t := pod()
	t.starts = starts
	t.lost = func(at time.Duration) bool { v, _ := up(at); return v == 0 }
	born := func(at time.Duration) (float64, bool) {
		const day = 1.7e9 // some Unix time
		begun := -3600.0
		for _, s := range starts {
			if s <= at {
				begun = s.Seconds()
			}
		}
		return day + begun, true
	}
	return situation{
		name: "an exporter restarts every four minutes for an hour: a ticket", lasts: s.late(70 * time.Minute),
		series: t.tells(s, collectors(nil), l.series(), profiles(l, 1000).series(s.ScrapeInterval), causes(nil), []series{
			{name: "process_start_time_seconds", value: born},
			gauge("config_last_reload_success_timestamp_seconds", born),
		}),
		expect: []expectation{s.noPage(), s.ticket(s.late(60*time.Minute), labels{"family": "exporter"})},
	}
}

// gone is the only exporter, which is down or no longer known to Prometheus.
func (s Settings) gone(absent bool) situation {
	l := caches(2)
	t := pod()
	x := situation{
		name: "the exporter is down: a page", lasts: s.late(30 * time.Minute),
		expect: []expectation{s.page(s.late(25*time.Minute), labels{"family": "exporter"})},
	}
	t.lost = func(at time.Duration) bool { return at >= 10*time.Minute }
	if absent {
		t.lost, t.to = nil, 10*time.Minute
		x.name = "Prometheus no longer knows the exporter: a page"
	}
	x.series = t.tells(s, collectors(nil), l.series(), profiles(l, 1000).series(s.ScrapeInterval), causes(nil))
	return x
}

// renamed is a cluster that has another name from some time on, of the same pod or, after a redeploy, of another.
func (s Settings) renamed(redeployed bool) situation {
	l := caches(3)
	before, after := pod(), pod()
	before.to, after.from = 20*time.Minute, 20*time.Minute
	after.cluster = "europe"
	name := "a cluster is renamed: no page"
	if redeployed {
		after.instance = "pod-2"
		name = "a cluster is renamed as its pod is replaced: no page"
	}
	tells := func() [][]series {
		return [][]series{collectors(nil), l.series(), profiles(l, 1000).series(s.ScrapeInterval), causes(nil), topic("invalidations", 20).series()}
	}
	return situation{
		name: name, lasts: 90 * time.Minute,
		series: append(before.tells(s, tells()...), after.tells(s, tells()...)...), expect: []expectation{s.noPage()},
	}
}

// oneOfTwo clusters has no exporter any more.
func (s Settings) oneOfTwo() situation {
	l := caches(2)
	us := pod()
	us.cluster, us.instance, us.to = "us", "pod-2", 10*time.Minute
	tells := func() [][]series {
		return [][]series{collectors(nil), l.series(), profiles(l, 1000).series(s.ScrapeInterval), causes(nil)}
	}
	return situation{
		name: "of two clusters one has no exporter any more: a page", lasts: s.late(50 * time.Minute),
		series: append(pod().tells(s, tells()...), us.tells(s, tells()...)...),
		expect: []expectation{s.page(s.late(40*time.Minute), labels{s.ClusterLabel: "us", "family": "exporter"})},
	}
}

// labelsRenamed has a target label node, so that Prometheus renames the exporter's own where honor_labels is not set.
func (s Settings) labelsRenamed() situation {
	l := caches(3)
	all := pod().tells(s, collectors(nil), l.series(), profiles(l, 1000).series(s.ScrapeInterval), causes(nil))
	for i := range all {
		with := labels{}
		for name, value := range all[i].labels {
			if name == "node" {
				name = "exported_node"
			}
			with[name] = value
		}
		with["node"] = "worker-7"
		all[i].labels = with
	}
	return situation{
		name: "a target label renames the exporter's own to exported_node: a ticket", lasts: s.late(90 * time.Minute),
		series: all, expect: []expectation{s.ticket(s.late(75*time.Minute), labels{"family": "exporter"})},
	}
}

// unreadable are nearly all keys of one of two classes, or of both.
func (s Settings) unreadable(classes int) situation {
	l := caches(3)
	all := [][]series{l.series(), causes(nil), collectors(map[string]curve{"canary": always(1).from(10*time.Minute, always(0))})}
	for i, name := range []string{usualClass, "product_price"} {
		c := profiles(l, 1000)
		c.name = name
		if i < classes {
			c.unread = bad(10*time.Minute, 900, l.names()...)
			c.missing = bad(10*time.Minute, 100, l.names()...)
		}
		all = append(all, c.series(s.ScrapeInterval))
	}
	x := situation{
		name: "no key can be read: a page", lasts: s.late(90 * time.Minute), series: pod().tells(s, all...),
		expect: []expectation{s.page(s.late(35*time.Minute), labels{"family": "exporter"})},
	}
	if classes == 1 {
		x.name = "no key of one of two classes can be read: a ticket"
		x.expect = []expectation{s.noPage(), s.ticket(s.late(80*time.Minute), labels{"class": usualClass})}
	}
	return x
}

// unreadableBeside is a layer none of whose copies can be read, beside one that is dead.
func (s Settings) unreadableBeside() situation {
	const from = 10 * time.Minute
	down := always(1).from(from, always(0))
	dead, answers := caches(2), layer{name: "l3", kind: "memcached", nodes: []node{{name: "mc-1"}, {name: "mc-2"}}}
	for i := range dead.nodes {
		dead = dead.with(i, func(n *node) { n.up = down })
	}
	all := [][]series{dead.series(), answers.series(), causes(nil), collectors(map[string]curve{"canary": down, "node": down})}
	for _, l := range []layer{dead, answers} {
		c := profiles(l, 1000)
		c.unread = bad(from, 1000, l.names()...)
		all = append(all, c.series(s.ScrapeInterval))
	}
	return situation{
		name: "no copy of a layer can be read, and another layer is dead: a page of each", lasts: s.late(60 * time.Minute), series: pod().tells(s, all...),
		expect: []expectation{
			s.page(s.late(35*time.Minute), labels{"family": "exporter"}, labels{"family": "node", "layer": dead.name}),
		},
	}
}
