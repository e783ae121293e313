package situations

import (
	"fmt"
	"math"
	"time"
)

const m = time.Minute

func scratchChapters(s Settings) []chapter {
	a := chapter{name: "xa", about: "x", evaluate: m}
	b := chapter{name: "xb", about: "x", evaluate: m}
	d := chapter{name: "xd", about: "x", evaluate: m}
	a.situations = append(a.situations, s.xShares()...)
	a.situations = append(a.situations, s.xCauses()...)
	b.situations = append(b.situations, s.xExporters()...)
	b.situations = append(b.situations, s.xNodes()...)
	d.situations = append(d.situations, s.xQueues()...)
	d.situations = append(d.situations, s.xInval()...)
	return []chapter{a, b, d}
}

func in(l layer, name string, keys float64) class {
	c := profiles(l, keys)
	c.name = name
	return c
}

func sit(name string, lasts time.Duration, all []series, e ...expectation) situation {
	return situation{name: name, lasts: lasts, series: all, expect: e}
}

func (s Settings) xShares() []situation {
	var out []situation
	l5 := caches(5)
	share := func(name string, l layer, keys float64, o map[string]curve, e ...expectation) {
		c := profiles(l, keys)
		c.overdue = o
		out = append(out, sit(name, 40*m, s.base(l, c), e...))
	}
	us := labels{"class": usualClass}
	share("0.98%: ticket", l5, 1000, bad(5*m, 49, "redis-1"), s.noPage(), s.ticket(30*m, us))
	share("1.0%: page", l5, 1000, bad(5*m, 50, "redis-1"), s.page(15*m, us))
	share("1 of 150: ticket", caches(3), 50, bad(5*m, 1, "redis-1"), s.noPage(), s.ticket(30*m, us))
	share("2 of 150: page", caches(3), 50, bad(5*m, 2, "redis-1"), s.page(15*m, us))
	share("2 of 250: ticket", caches(5), 50, bad(5*m, 2, "redis-1"), s.noPage(), s.ticket(30*m, us))
	share("3 keys on 2 nodes, one bad", caches(2), 3, bad(5*m, 1, "redis-1"), s.noPage(), s.ticket(30*m, us))
	share("3 keys on 2 nodes, two bad", caches(2), 3, bad(5*m, 2, "redis-1"), s.page(15*m, us))
	share("10 keys, one on each of two nodes", caches(2), 10, bad(5*m, 1, "redis-1", "redis-2"), s.page(15*m, us))
	// two layers
	{
		l1 := layer{name: "l1", kind: "http"}
		for _, n := range numbered("web-", 4) {
			l1.nodes = append(l1.nodes, node{name: n})
		}
		c1, c2 := in(l1, usualClass, 100), in(l5, usualClass, 1000)
		c1.overdue = bad(5*m, 8, "web-1")
		out = append(out, sit("two layers, 2% of the small, 0.15% of all", 40*m, pod().tells(s, collectors(nil), l1.series(), l5.series(), c1.series(s.ScrapeInterval), c2.series(s.ScrapeInterval)[:len(c2.series(s.ScrapeInterval))-5], causes(nil)), s.noPage(), s.ticket(30*m, us)))
		c1.overdue = bad(5*m, 30, "web-1")
		c2.overdue = bad(5*m, 30, "redis-1")
		out = append(out, sit("two layers, together above", 40*m, pod().tells(s, collectors(nil), l1.series(), l5.series(), c1.series(s.ScrapeInterval), c2.series(s.ScrapeInterval)[:len(c2.series(s.ScrapeInterval))-5], causes(nil)), s.page(15*m, us)))
	}
	// many small classes
	{
		l := caches(2)
		all := [][]series{collectors(nil), l.series(), causes(nil)}
		for i := range 20 {
			c := in(l, fmt.Sprintf("c%d", i), 25)
			if i == 7 {
				c.overdue = bad(5*m, 2, "redis-1", "redis-2")
			}
			if i == 9 {
				c.overdue = bad(5*m, 1, "redis-1")
			}
			all = append(all, c.series(s.ScrapeInterval))
		}
		out = append(out, sit("20 small classes, one bad", 30*m, pod().tells(s, all...), s.page(15*m, labels{"class": "c7"}), s.ticket(25*m, labels{"class": "c7"}, labels{"class": "c9"})))
	}
	// the half overdue, half survivors
	{
		c := profiles(l5, 1000)
		c.overdue, c.survivors = bad(5*m, 35, "redis-1"), bad(5*m, 35, "redis-2")
		out = append(out, sit("0.7% overdue and 0.7% survivors elsewhere: page", 30*m, s.base(l5, c), s.page(20*m, us)))
		c.overdue, c.survivors = bad(5*m, 35, "redis-1"), bad(5*m, 35, "redis-1")
		out = append(out, sit("0.7% overdue and survivors, the same: no page", 40*m, s.base(l5, c), s.noPage()))
	}
	// moves from node to node
	{
		c := profiles(l5, 1000)
		c.overdue = map[string]curve{}
		for i, n := range l5.names() {
			v := make([]float64, 5)
			v[i] = 100
			c.overdue[n] = always(0).from(5*m, inTurn(m, v...))
		}
		out = append(out, sit("2% wander from node to node", 40*m, s.base(l5, c), s.page(15*m, us), s.page(40*m, us), s.once()))
	}
	for _, gap := range []time.Duration{2 * m, 4 * m, 290 * time.Second} {
		c := profiles(l5, 1000)
		o := always(0)
		for at := 5 * m; at < 50*m; at += 5*m + gap {
			o = o.between(at, at+5*m, always(100))
		}
		c.overdue = map[string]curve{"redis-1": o}
		out = append(out, sit("2% for five minutes, gone for "+short(gap)+": once", 60*m, s.base(l5, c), s.once(), s.page(12*m, us)))
		out = append(out, sit("2% for five minutes, gone for "+short(gap)+", net: once", 60*m, pod().tells(s, collectors(nil), l5.series(), c.series(s.ScrapeInterval), causeOn("network", 0, "redis-1")), s.once(), s.page(12*m, us)))
	}
	{
		c := profiles(l5, 1000)
		c.undecided = bad(5*m, 100, "redis-1", "redis-2")
		c.divergent = always(0).from(7*m, inTurn(4*m, 100, 0))
		out = append(out, sit("differing keys come and go each 4 min: once", 60*m, s.base(l5, c), s.once(), s.page(15*m, us)))
	}
	return out
}

func (s Settings) xCauses() []situation {
	var out []situation
	l := caches(5)
	c := profiles(l, 1000)
	c.overdue = bad(5*m, 100, "redis-1", "redis-2")
	add := func(name string, lasts time.Duration, told [][]series, e ...expectation) {
		out = append(out, sit(name, lasts, pod().tells(s, append([][]series{collectors(nil), l.series()}, told...)...), e...))
	}
	us := labels{"class": usualClass}
	on := always(0).from(5*m, always(0.9))
	cs := func(c class) []series { return c.series(s.ScrapeInterval) }
	// network explains; config, version, queue stand elsewhere, a queue has a ticket
	ill := topic("emails", 20)
	ill.depth, ill.oldest = always(10).from(5*m, always(2000)), always(1).from(5*m, always(100))
	add("all five stand, network explains", 30*m, [][]series{cs(c), causes(map[string]curve{"network": on, "queue": on, "config": on, "version": on, "logic": on}),
		blamed("network", usualLayer, on, "redis-1", "redis-2"), blamed("config", usualLayer, on, "redis-4"), blamed("version", usualLayer, on, "redis-5"), ill.series()},
		s.page(20*m, labels{"cause": ""}, labels{"cause": "network"}), s.incidents(20*m, labels{}))
	// queue stalls, network is about another node
	q := stopped(topic("invalidations", 20), 5*m)
	add("queue explains, network elsewhere", 30*m, [][]series{cs(c), causes(map[string]curve{"network": on, "queue": on}),
		blamed("network", usualLayer, on, "redis-4"), q.series()}, s.incidents(20*m, labels{"queue": q.name}))
	// two queues stall, harm joins one of them
	q2 := stopped(topic("prices", 20), 7*m)
	add("two queues stall, harm: two incidents", 30*m, [][]series{cs(c), causes(map[string]curve{"queue": on}), q.series(), q2.series()},
		s.incidents(20*m, labels{"queue": q.name}, labels{"queue": "prices"}))
	// one class by node, another by queue
	c2 := in(l, "product_price", 1000)
	c2.overdue = bad(5*m, 25, l.names()...)
	add("class by node, class by queue", 30*m, [][]series{cs(c), cs(c2), causes(map[string]curve{"queue": on, "network": on}), blamed("network", usualLayer, on, "redis-1", "redis-2"), q.series()},
		s.incidents(20*m, labels{"queue": q.name}, labels{}), s.page(20*m, labels{"class": "product_price"}).where(`queue!=""`))
	// queue recovers, harm stays for an hour
	back := stopped(topic("invalidations", 20), 5*m)
	till := 15 * m
	back.depth, back.oldest, back.stalled = back.depth.from(till, always(20)), back.oldest.from(till, always(1)), back.stalled.from(till, always(0))
	back.processed = back.processed.from(till, always(220)).from(till+m, always(20))
	qs := always(0).between(5*m, 16*m, always(0.9))
	surv := c
	add("queue recovers, copies stay: one incident", 75*m, [][]series{cs(surv), causes(map[string]curve{"queue": qs}), back.series()},
		s.incidents(12*m, labels{"queue": back.name}), s.incidents(60*m, labels{"queue": back.name}))
	lg := always(0).from(20*m, always(0.9))
	add("queue recovers, copies stay, logic stands then: one incident", 75*m, [][]series{cs(surv), causes(map[string]curve{"queue": qs, "logic": lg}), back.series()},
		s.incidents(12*m, labels{"queue": back.name}), s.incidents(60*m, labels{"queue": back.name}))
	// harm, nobody explains; 25 min later an unrelated queue stalls
	late := stopped(topic("emails", 20), 30*m)
	ql := always(0).from(31*m, always(0.9))
	add("harm for long, then an unrelated queue: two incidents", 50*m, [][]series{cs(c), causes(map[string]curve{"queue": ql}), late.series()},
		s.incidents(20*m, labels{}), s.incidents(45*m, labels{}, labels{"queue": "emails"}))
	// logic with version elsewhere
	add("logic, with version and network elsewhere", 30*m, [][]series{cs(c), causes(map[string]curve{"logic": on, "version": on, "network": on}), blamed("version", usualLayer, on, "redis-5"), blamed("network", usualLayer, on, "redis-4")},
		s.page(20*m, labels{"cause": ""}, labels{"cause": "logic"}))
	// a third of wrong copies on a blamed node
	c3 := profiles(l, 1000)
	c3.overdue = bad(5*m, 40, "redis-1", "redis-2", "redis-3")
	add("a third on the node that is blamed: names none", 30*m, [][]series{cs(c3), causes(map[string]curve{"network": on}), blamed("network", usualLayer, on, "redis-1")},
		s.page(20*m, labels{"cause": ""}))
	// settings on purpose + canary deployment + 1 bad of 5000 + node down elsewhere
	c4 := profiles(l, 1000)
	c4.overdue = bad(5*m, 1, "redis-1")
	add("everything differs and one copy", 60*m, [][]series{cs(c4), causes(map[string]curve{"network": on, "config": on, "version": on, "queue": on, "logic": on}), blamed("network", usualLayer, on, "redis-1"), blamed("config", usualLayer, on, "redis-1"), blamed("version", usualLayer, on, "redis-1")},
		s.noPage(), s.ticket(40*m, us))
	// two clusters: cause in us, harm in eu, same names
	usp := pod()
	usp.cluster, usp.instance = "us", "pod-2"
	clean := profiles(l, 1000)
	out = append(out, sit("cause in us, harm in eu", 30*m, append(
		pod().tells(s, collectors(nil), l.series(), cs(c), causes(nil), topic("invalidations", 20).series()),
		usp.tells(s, collectors(nil), l.series(), cs(clean), causes(map[string]curve{"network": on, "queue": on}), blamed("network", usualLayer, on, "redis-1", "redis-2"), q.series())...),
		s.page(20*m, labels{"cause": ""}).where(`cluster="eu"`), s.incidents(20*m, labels{}, labels{"queue": q.name, s.ClusterLabel: "us"})))
	out = append(out, sit("harm in both clusters", 30*m, append(
		pod().tells(s, collectors(nil), l.series(), cs(c), causes(nil)), usp.tells(s, collectors(nil), l.series(), cs(c), causes(nil))...),
		s.incidents(20*m, labels{}, labels{s.ClusterLabel: "us"})))
	none := pod()
	none.cluster = ""
	out = append(out, sit("no cluster label, queue and harm", 30*m, none.tells(s, collectors(nil), l.series(), cs(c), causes(map[string]curve{"queue": on}), q.series()),
		s.incidents(20*m, labels{"queue": q.name, s.ClusterLabel: ""})))
	out = append(out, sit("no cluster label, network", 30*m, none.tells(s, collectors(nil), l.series(), cs(c), causeOn("network", 5*m, "redis-1", "redis-2")),
		s.page(20*m, labels{"cause": ""}, labels{"cause": "network"})))
	out = append(out, sit("no cluster label, all well", 30*m, none.tells(s, collectors(nil), l.series(), cs(clean), causes(nil), topic("invalidations", 20).series()), s.quiet()))
	out = append(out, sit("one without the label beside one with", 30*m, append(pod().tells(s, collectors(nil), l.series(), cs(clean), causes(nil)),
		none.tells(s, collectors(nil), l.series(), cs(c), causes(nil))...), s.incidents(20*m, labels{s.ClusterLabel: ""})))
	return out
}

func (s Settings) xExporters() []situation {
	var out []situation
	l := caches(5)
	c := profiles(l, 1000)
	c.overdue = bad(5*m, 100, "redis-1", "redis-2")
	clean := profiles(l, 1000)
	cs := func(c class) []series { return c.series(s.ScrapeInterval) }
	us := labels{"class": usualClass}
	other := pod()
	other.instance = "pod-2"
	tells := func(c class) [][]series {
		return [][]series{collectors(nil), l.series(), cs(c), causes(nil), topic("invalidations", 20).series()}
	}
	two := func(a, b target, x, y class) []series { return append(a.tells(s, tells(x)...), b.tells(s, tells(y)...)...) }
	out = append(out, sit("two exporters disagree: page", 30*m, two(pod(), other, c, clean), s.page(20*m, us), s.incidents(20*m, labels{})))
	dead := other
	dead.lost = func(at time.Duration) bool { return at >= 15*m }
	out = append(out, sit("one of two dies in mid-incident", 50*m, two(pod(), dead, c, c), s.page(40*m, us), s.once(), s.tickets(40*m, 1, `family="exporter"`), s.page(40*m, us)))
	alt := func(odd bool) func(time.Duration) bool {
		return func(at time.Duration) bool { return at/s.ScrapeInterval%2 == 0 == odd }
	}
	p1, p2 := pod(), other
	p1.lost, p2.lost = alt(true), alt(false)
	out = append(out, sit("two exporters, every second scrape lost each: page, steady", 40*m, two(p1, p2, c, c), s.page(20*m, us), s.once(), s.page(20*m).where(`family="exporter"`)))
	out = append(out, sit("two exporters, every second scrape lost each: well", 40*m, two(p1, p2, clean, clean), s.noPage(), s.quiet(besides)))
	// shard dies
	var sh []series
	for i := range 2 {
		t := pod()
		t.instance, t.shard = fmt.Sprintf("pod-%d", i), fmt.Sprint(i)
		cc := profiles(l, 500)
		if i == 0 {
			cc.overdue = bad(5*m, 30, "redis-1", "redis-2")
		} else {
			t.lost = dead.lost
		}
		sh = append(sh, t.tells(s, collectors(nil), l.series(), cs(cc), causes(nil))...)
	}
	out = append(out, sit("a shard of two dies in mid-incident: page goes on, told", 40*m, sh, s.page(12*m, us), s.page(38*m, us), s.once(), s.tickets(38*m, 1, `family="exporter"`)))
	// restart mid-incident, forgets for 3.5 min
	r := pod()
	r.starts = []time.Duration{20 * m}
	r.lost = func(at time.Duration) bool { return at >= 19*m && at < 20*m }
	cr := profiles(l, 1000)
	cr.overdue = map[string]curve{"redis-1": always(0).between(5*m, 19*m, always(100)).from(23*m+30*time.Second, always(100))}
	out = append(out, sit("exporter restarts in mid-incident: one page", 45*m, r.tells(s, tells(cr)...), s.once(), s.page(40*m, us)))
	// deployment of exporter: new pod, name changes, 90 s
	a, b := pod(), other
	a.to, b.from = 20*m, 21*m+30*time.Second
	b.starts = []time.Duration{b.from}
	out = append(out, sit("exporter is replaced by a new pod in mid-incident: one page", 45*m, two(a, b, c, c), s.once(), s.page(40*m, us)))
	out = append(out, sit("exporter is replaced by a new pod, well: quiet", 45*m, two(a, b, clean, clean), s.quiet()))
	slowr := pod()
	slowr.lost = func(at time.Duration) bool { return at >= 19*m && at < 20*m+30*time.Second }
	slowr.starts = []time.Duration{20*m + 30*time.Second}
	out = append(out, sit("exporter away for 90 s: quiet", 35*m, slowr.tells(s, tells(clean)...), s.quiet()))
	// crash loop with harm
	up, starts := loop(10*m, 60*m, 4*m, m)
	k := pod()
	k.starts = starts
	k.lost = func(at time.Duration) bool { v, _ := up(at); return v == 0 }
	out = append(out, sit("exporter crash loop with harm: once", 60*m, k.tells(s, tells(c)...), s.once(), s.page(50*m, us)))
	// canary collector fails mid-incident for 8 min
	gone := always(1).between(20*m, 28*m, never)
	told := cs(c)
	for i := range told {
		told[i].value = both(gone, told[i].value)
	}
	out = append(out, sit("copies are not told for 8 min in mid-incident: once", 50*m, pod().tells(s, collectors(map[string]curve{"canary": always(1).between(20*m, 28*m, always(0))}), l.series(), told, causes(nil)), s.once(), s.page(45*m, us)))
	gone = always(1).from(20*m, never)
	told = cs(c)
	for i := range told {
		told[i].value = both(gone, told[i].value)
	}
	out = append(out, sit("copies are not told any more: page of blindness", 60*m, pod().tells(s, collectors(map[string]curve{"canary": always(1).from(20*m, always(0))}), l.series(), told, causes(nil)), s.page(50*m, labels{"family": "exporter"})))
	// 4 scrapes lost each 10 minutes
	g := pod()
	g.lost = func(at time.Duration) bool { return at%(10*m) < 2*m && at > m }
	out = append(out, sit("two minutes of each ten are lost, harm: once", 60*m, g.tells(s, tells(c)...), s.once().where(`family!="exporter"`), s.page(50*m, us)))
	// prometheus was away for an hour, harm before and after; well
	pa := pod()
	hole := always(1).between(20*m, 80*m, never)
	w := pa.tells(s, tells(clean)...)
	for i := range w {
		w[i].value = both(hole, w[i].value)
	}
	out = append(out, sit("an hour of history is missing, well", 120*m, w, s.quiet(besides).where(`family!="exporter"`)))
	// one exporter does not reach one node (asymmetric)
	lx := l.with(0, func(n *node) { n.up = always(0) })
	cx := profiles(l, 1000)
	cx.unread = bad(0, 1000, "redis-1")
	out = append(out, sit("one of two exporters does not reach a node: no page", 40*m, append(pod().tells(s, tells(clean)...),
		other.tells(s, collectors(map[string]curve{"node": always(0), "canary": always(0)}), lx.series(), cs(cx), causes(nil))...), s.noPage()))
	return out
}

func (s Settings) xNodes() []situation {
	var out []situation
	cs := func(c class) []series { return c.series(s.ScrapeInterval) }
	// every second time
	{
		l, c := twelve()
		up := always(1).from(10*m, inTurn(s.ScrapeInterval, 0, 1, 0))
		l = l.with(0, func(n *node) { n.up = up })
		c.unread = map[string]curve{"redis-1": only(inverse(up), always(417)).orZero()}
		out = append(out, sit("a node answers every second time: one ticket", 70*m, pod().tells(s, collectors(map[string]curve{"node": up, "canary": up}), l.series(), cs(c), causes(nil)), s.noPage(), s.ticket(65*m, labels{"node": "redis-1"}), s.atMost(1)))
	}
	// layer of one node
	{
		l := caches(1)
		down := always(1).from(10*m, always(0))
		l = l.with(0, func(n *node) { n.up = down })
		c := profiles(l, 1000)
		c.unread = bad(10*m, 1000, "redis-1")
		out = append(out, sit("a layer of one node dies: one page", 50*m, pod().tells(s, collectors(map[string]curve{"node": down, "canary": down}), l.series(), cs(c), causes(nil)),
			s.page(20*m, labels{"layer": usualLayer}), s.page(45*m, labels{"layer": usualLayer}).where(`layer!=""`), s.page(45*m).where(`family="exporter"`)))
		short := always(1).between(10*m, 11*m+30*time.Second, always(0))
		l = l.with(0, func(n *node) { n.up, n.starts = short, []time.Duration{11 * m} })
		c.unread = map[string]curve{"redis-1": only(inverse(short), always(1000)).orZero()}
		out = append(out, sit("a layer of one node restarts within 90 s: quiet", 40*m, pod().tells(s, collectors(map[string]curve{"node": short, "canary": short}), l.series(), cs(c), causes(nil)), s.quiet()))
	}
	// all nodes of the only layer die
	{
		l, c := twelve()
		down := always(1).from(10*m, always(0))
		for i := range 12 {
			l = l.with(i, func(n *node) { n.up = down })
		}
		c.unread = bad(10*m, 417, l.names()...)
		out = append(out, sit("all nodes die: one incident at the pager", 50*m, pod().tells(s, collectors(map[string]curve{"node": down, "canary": down}), l.series(), cs(c), causes(nil)),
			s.page(20*m, labels{"layer": usualLayer}), s.page(45*m).where(`family="exporter"`)))
	}
	// rolling upgrade in two hours, three nodes, 80 s each... 12 nodes
	{
		l, c := twelve()
		c.unread = map[string]curve{}
		ok := always(1)
		for i, n := range l.names() {
			at := 10*m + time.Duration(i)*10*m
			l = l.with(i, func(n *node) { n.up, n.starts = always(1).between(at, at+90*time.Second, always(0)), []time.Duration{at + 90*time.Second} })
			c.unread[n] = always(0).between(at, at+90*time.Second, always(417))
			ok = ok.between(at, at+90*time.Second, always(0))
		}
		out = append(out, sit("rolling upgrade over two hours: no page, one ticket at most", 140*m, pod().tells(s, collectors(map[string]curve{"node": ok, "canary": ok}), l.series(), cs(c), causes(nil),
			[]series{gauge("layer_distinct_configs", always(1).between(11*m, 120*m, always(2)), "layer", l.name, "setting", "server_version")}), s.noPage(), s.atMost(1)))
	}
	// failover: primary dies for good in a sentinel group of 5
	{
		l := layer{name: usualLayer, kind: "redis", group: "main"}
		for i := range 5 {
			l.nodes = append(l.nodes, node{name: fmt.Sprintf("main/10.0.0.%d:6379", i+1)})
		}
		down := always(1).from(10*m, always(0))
		l = l.with(0, func(n *node) { n.up, n.left = down, always(0).from(10*m+30*time.Second, always(1)) })
		l.nodes[0].known = always(1).from(21*m, never)
		c := profiles(l, 1000)
		c.known = map[string]curve{l.nodes[0].name: l.nodes[0].known}
		c.unread = map[string]curve{l.nodes[0].name: always(0).from(10*m, always(1000))}
		var rep []series
		for i, n := range l.names() {
			if i > 0 {
				rep = append(rep, gauge("replication_link_up", always(1).between(10*m, 11*m, always(0)), "layer", l.name, "node", n))
			}
		}
		rep = append(rep, gauge("layer_masters", always(1).between(10*m+30*time.Second, 11*m, always(2)), "layer", l.name, "group", "main"))
		out = append(out, sit("failover, the old primary is gone for good: one ticket at most, no page", 60*m, pod().tells(s, collectors(map[string]curve{"node": down.from(21*m, always(1)), "canary": down.from(21*m, always(1)), "replication": down.from(21*m, always(1))}), l.series(), cs(c), causes(nil), rep), s.noPage(), s.atMost(1)))
		// and it comes back as replica in 3 min
		lb := l.with(0, func(n *node) {
			n.known, n.up, n.left, n.starts = nil, always(1).between(10*m, 13*m, always(0)), always(0).between(10*m+30*time.Second, 13*m, always(1)), []time.Duration{13 * m}
		})
		cb := profiles(lb, 1000)
		cb.unread = map[string]curve{l.nodes[0].name: always(0).between(10*m, 13*m, always(1000))}
		out = append(out, sit("failover, the old primary comes back: quiet", 40*m, pod().tells(s, collectors(nil), lb.series(), cs(cb), causes(nil), rep), s.quiet()))
	}
	// app instance that is node and version source dies
	{
		l := layer{name: "l1", kind: "http"}
		for _, n := range numbered("web-", 6) {
			l.nodes = append(l.nodes, node{name: n})
		}
		down := always(1).from(10*m, always(0))
		l = l.with(0, func(n *node) { n.up = down })
		c := profiles(l, 1000)
		c.unread = bad(10*m, 1000, "web-1")
		var apps []series
		for i, n := range l.names() {
			v := always(1)
			if i == 0 {
				v = down
			}
			apps = append(apps, gauge("app_up", v, "app", "web", "node", n))
		}
		apps = append(apps, gauge("collector_success", down, "collector", "app_version"))
		pr := probe(10*time.Second, always(0), 20*time.Millisecond)
		out = append(out, sit("an instance dies that is node and application: one ticket", 60*m, pod().tells(s, collectors(map[string]curve{"node": down, "canary": down}), l.series(), cs(c), causes(nil), apps, pr), s.noPage(), s.tickets(55*m, 1)))
	}
	// one of 12 dies and everything misses it: probes, replication, invalidation collector
	{
		l, c := twelve()
		down := always(1).from(10*m, always(0))
		l = l.with(0, func(n *node) { n.up = down })
		c.unread = bad(10*m, 417, "redis-1")
		var all []series
		for i, n := range l.names() {
			who := []string{"probe", "end_to_end", "layer", usualLayer, "node", n}
			sent, setup, lost := single(10*time.Second), always(0), always(0)
			if i == 0 {
				sent = sent.from(10*m+15*time.Second, always(0))
				lost = lost.between(10*m, 10*m+15*time.Second, single(10*time.Second))
				setup = always(0).from(10*m, single(10*time.Second))
			}
			all = append(all, counter("invalidation_probes_total", sent, who...), counter("invalidation_probe_failures_total", lost, append(who[:6:6], "reason", "lost")...),
				counter("invalidation_probe_failures_total", setup, append(who[:6:6], "reason", "setup")...))
		}
		all = append(all, gauge("collector_success", down, "collector", "invalidation_probe"), gauge("replication_link_up", down, "layer", l.name, "node", "redis-1"), gauge("replication_lag_seconds", ramp(10*m, 0, 1), "layer", l.name, "node", "redis-1"))
		on := always(0).from(10*m, always(0.57))
		out = append(out, sit("one of twelve dies and everything misses it: one ticket", 60*m, pod().tells(s, collectors(map[string]curve{"node": down, "canary": down, "replication": down}), l.series(), cs(c), all, causes(map[string]curve{"network": on}), blamed("network", l.name, on, "redis-1")), s.noPage(), s.atMost(1), s.ticket(55*m, labels{"node": "redis-1"})))
	}
	// primary dies with two replicas
	{
		l := caches(6)
		down := always(1).from(10*m, always(0))
		l = l.with(0, func(n *node) { n.up = down })
		c := profiles(l, 1000)
		c.unread = bad(10*m, 1000, "redis-1")
		var rep []series
		for _, n := range []string{"redis-2", "redis-3"} {
			rep = append(rep, gauge("replication_link_up", down, "layer", l.name, "node", n), gauge("replication_lag_seconds", always(0), "layer", l.name, "node", n))
		}
		rep = append(rep, gauge("node_info", both(only(down, down), always(1)), "layer", l.name, "node", "redis-1", "role", "primary"))
		out = append(out, sit("a primary dies and its replicas have no link: one ticket", 60*m, pod().tells(s, collectors(map[string]curve{"node": down, "canary": down, "replication": down}), l.series(), cs(c), causes(nil), rep), s.noPage(), s.atMost(1)))
	}
	// blue/green
	{
		l := layer{name: "l1", kind: "http", group: "app"}
		c := class{name: usualClass, layer: "l1", keys: 500, known: map[string]curve{}, unread: map[string]curve{}}
		var apps []series
		for i := range 8 {
			n := node{name: fmt.Sprintf("app/10.0.0.%d:8080", i+1)}
			if i < 4 {
				n.known, n.up, n.left = always(1).from(27*m, never), always(1).from(17*m, always(0)), always(0).from(16*m, always(1))
				c.unread[n.name] = always(0).from(17*m, always(500))
			} else {
				n.known = curve(never).from(12*m, always(1))
			}
			c.known[n.name] = orOne(n.known)
			l.nodes, c.nodes = append(l.nodes, n), append(c.nodes, n.name)
			apps = append(apps, gauge("app_up", both(orOne(n.known), orOne(n.up)), "app", "web", "node", n.name))
		}
		apps = append(apps, gauge("app_distinct_versions", always(1).between(12*m, 17*m, always(2)), "app", "web"))
		ok := always(1).between(17*m, 27*m, always(0))
		out = append(out, sit("blue/green deployment: quiet", 50*m, pod().tells(s, collectors(map[string]curve{"node": ok, "canary": ok}), l.series(), cs(c), causes(nil), apps, []series{gauge("collector_success", ok, "collector", "app_version")}), s.quiet()))
	}
	// configured nodes are scaled 12 -> 9, and 9 -> 12 with new ones booting 4 min
	{
		l, c := twelve()
		c.known = map[string]curve{}
		for i := range 3 {
			l = l.with(i, func(n *node) { n.known = always(1).from(15*m, never) })
			c.known[l.nodes[i].name] = l.nodes[i].known
		}
		out = append(out, sit("three of twelve configured nodes are taken away: quiet", 50*m, pod().tells(s, collectors(nil), l.series(), cs(c), causes(nil)), s.quiet()))
		l, c = twelve()
		c.known = map[string]curve{}
		for i := range 4 {
			l = l.with(i, func(n *node) { n.known, n.up = curve(never).from(15*m, always(1)), always(0).from(19*m, always(1)) })
			c.known[l.nodes[i].name] = l.nodes[i].known
		}
		out = append(out, sit("four nodes are added that boot for four minutes: quiet", 50*m, pod().tells(s, collectors(nil), l.series(), cs(c), causes(nil)), s.quiet()))
	}
	// two layers each lose one of 4 nodes
	{
		a, b := caches(4), layer{name: "l3", kind: "memcached"}
		for _, n := range numbered("mc-", 5) {
			b.nodes = append(b.nodes, node{name: n})
		}
		down := always(1).from(10*m, always(0))
		a = a.with(0, func(n *node) { n.up = down })
		b = b.with(0, func(n *node) { n.up = down })
		out = append(out, sit("one of four and one of five die: a page for the quarter, a ticket for the fifth", 40*m, pod().tells(s, collectors(map[string]curve{"node": down}), a.series(), b.series(), cs(profiles(a, 100)), causes(nil)),
			s.page(20*m, labels{"layer": usualLayer}), s.ticket(35*m, labels{"node": "mc-1"}, labels{"node": "redis-1"})))
	}
	return out
}

func grow(from, to time.Duration, per float64, drained time.Duration) curve {
	top := per * (to - from).Seconds()
	return func(at time.Duration) (float64, bool) {
		switch {
		case at < from:
			return 20, true
		case at < to:
			return math.Max(20, per*(at-from).Seconds()), true
		case at < drained:
			return math.Max(20, top*(drained-at).Seconds()/(drained-to).Seconds()), true
		}
		return 20, true
	}
}

func (s Settings) xQueues() []situation {
	var out []situation
	q := topic("invalidations", 20)
	of := labels{"queue": "invalidations"}
	add := func(name string, lasts time.Duration, e []expectation, told ...[]series) {
		out = append(out, sit(name, lasts, pod().tells(s, append([][]series{collectors(nil), causes(nil)}, told...)...), e...))
	}
	e := func(x ...expectation) []expectation { return x }
	// batches of sizes, processed at 1750, that arrive over 6 min at 4000/s
	mk := func(arriveFor time.Duration, rate, proc float64) queue {
		x := topic("invalidations", 20)
		from := 10 * m
		total := rate * arriveFor.Seconds()
		drained := from + time.Duration(total/proc)*time.Second
		x.enqueued = always(20).between(from, from+arriveFor, always(rate))
		x.processed = always(20).between(from, drained, always(proc))
		x.depth = grow(from, from+arriveFor, rate-proc, drained)
		x.oldest = func(at time.Duration) (float64, bool) {
			if at < from || at > drained {
				return 1, true
			}
			return (at - from).Seconds() * (1 - proc/rate), true
		}
		return x
	}
	for _, z := range []struct {
		n          string
		over       time.Duration
		rate, proc float64
	}{{"6 min at 4000/s, 1750/s done", 6 * m, 4000, 1750}, {"15 min at 1000, 900 done", 15 * m, 1000, 900}, {"30 s at 200, 100 done", 30 * time.Second, 200, 100}, {"10 min at 100, 60 done", 10 * m, 100, 60}, {"1 min at 8000, 1000 done", m, 8000, 1000}, {"5M", 2 * m, 40000, 9000}} {
		b := mk(z.over, z.rate, z.proc)
		add("batch "+z.n+": no page", 40*m, e(s.noPage()), b.series())
		idle := []series{counter("consumer_group_processed_total", always(0), "queue", b.name, "group", "idle"), gauge("consumer_group_stalled", always(0), "queue", b.name, "group", "idle"),
			gauge("consumer_group_lag", always(0), "queue", b.name, "group", "idle", "topic", "other", "partition", "0"), gauge("consumer_group_members", always(2), "queue", b.name, "group", "idle")}
		add("batch "+z.n+", beside an idle group: no page", 40*m, e(s.noPage()), b.series(), idle)
	}
	// slower than promised
	{
		x := topic("invalidations", 20)
		x.enqueued = always(20).between(10*m, 11*m, always(5000))
		x.processed = always(20).between(10*m, 13*m, always(1000)).from(13*m, always(60))
		x.depth = func(at time.Duration) (float64, bool) {
			switch {
			case at < 10*m:
				return 20, true
			case at < 11*m:
				return 4000 * (at - 10*m).Seconds(), true
			case at < 13*m:
				return 240000 - 1000*(at-11*m).Seconds(), true
			}
			return 120000 - 40*(at-13*m).Seconds(), true
		}
		x.oldest = always(1).from(10*m, ramp(10*m, 0, 0.9))
		add("a queue drains, then slower than promised: a page", 40*m, e(s.page(22*m, labels{"queue": x.name, "cause": "queue"}), s.once()), x.series())
	}
	// never empty by limits
	lim := func(name string, kind string, depth, oldest float64, limits map[string]float64, e ...expectation) {
		x := topic("invalidations", 20)
		x.kind = kind
		if kind == "redis_list" {
			x = list("invalidations")
		}
		x.depth, x.oldest, x.limits = always(10).from(10*m, always(depth)), always(1).from(10*m, always(oldest)), limits
		add(name, 40*m, e, x.series())
	}
	lim("stream: oldest 600, limit 900: no page", "redis_stream", 100, 600, map[string]float64{"oldest": 900}, s.noPage(), s.ticket(35*m, of))
	lim("stream: oldest 1000, limit 900: page", "redis_stream", 100, 1000, map[string]float64{"oldest": 900}, s.page(30*m, labels{"queue": "invalidations", "cause": "queue"}))
	lim("kafka: depth 60 and limit 50", "kafka", 60, 10, map[string]float64{"depth": 50, "depth_ticket": 20}, s.page(30*m, of))
	lim("kafka: depth 30 and ticket 20", "kafka", 30, 10, map[string]float64{"depth": 50, "depth_ticket": 20}, s.noPage(), s.ticket(30*m, of))
	lim("list: depth 60 and limit 50", "redis_list", 60, 10, map[string]float64{"depth": 50, "depth_ticket": 20}, s.page(30*m, of))
	lim("kafka: depth 8000 and limit depth 10000 alone", "kafka", 8000, 10, map[string]float64{"depth": 10000}, s.noPage(), s.ticket(30*m, of))
	{
		b := mk(m, 8000, 400) // 20 min
		b.limits = map[string]float64{"drain": 1800}
		add("batch of 20 min, drain 30m: no page", 40*m, e(s.noPage()), b.series())
		b.limits = map[string]float64{"drain": 900}
		add("batch of 20 min, drain 15m: page", 40*m, e(s.page(16*m, of)), b.series())
	}
	// limits seen by two exporters, the other queue without
	{
		x, y := topic("invalidations", 20), topic("emails", 20)
		x.depth, y.depth = always(8000), always(8000)
		x.oldest, y.oldest = always(20), always(20)
		x.limits = map[string]float64{"depth": 20000, "depth_ticket": 10000}
		add("limits of one queue are not the other's", 40*m, e(s.page(30*m, labels{"queue": "emails"}), s.ticket(30*m, labels{"queue": "emails"})), x.series(), y.series())
	}
	// groups come and go
	{
		x := topic("invalidations", 20)
		var g []series
		for i := range 6 {
			from := time.Duration(5+8*i) * m
			there := curve(never).from(from, always(1).from(from+8*m, never))
			n := fmt.Sprintf("inv-pod-%d", i)
			of := []string{"queue", x.name, "group", n}
			lag := func(at time.Duration) (float64, bool) { return math.Max(0, 300-3*(at-from).Seconds()), true }
			g = append(g, gauge("consumer_group_lag", both(there, lag), append(of[:4:4], "topic", "t", "partition", "0")...), gauge("consumer_group_members", both(there, always(1)), of...),
				series{name: "cacheinv_consumer_group_processed_total", labels: paired(of), value: both(there, counted(always(0).from(from, always(20)))), counter: true},
				gauge("consumer_group_stalled", both(there.from(from, curve(never).from(from+90*time.Second, there)), always(0)), of...),
				gauge("consumer_group_uncommitted_partitions", both(there, always(12).from(from+m, always(0))), of...))
		}
		add("groups come and go with pods: quiet", 60*m, e(s.quiet()), x.series(), g)
	}
	// loop at 5/s
	{
		x := topic("invalidations", 5)
		add("a loop of few messages, 5 a second: told within the hour", 70*m, e(s.either(65*m, of)), x.series(), []series{gauge("queue_sampled_messages", always(1000), "queue", x.name, "kind", "kafka"),
			gauge("queue_sampled_repeats", always(0).from(10*m, ramp(10*m, 0, 1)).from(20*m, always(600)), "queue", x.name, "kind", "kafka")})
		z := topic("invalidations", 0.01)
		add("a few repeats remain in a quiet log: quiet", 70*m, e(s.quiet()), z.series(), []series{gauge("queue_sampled_messages", always(1000), "queue", x.name, "kind", "kafka"),
			gauge("queue_sampled_repeats", always(600), "queue", x.name, "kind", "kafka")})
	}
	// deploy of consumers: stalled 60 s
	{
		x := topic("invalidations", 20)
		x.processed = always(20).between(10*m, 12*m, always(0)).between(12*m, 13*m, always(60))
		x.depth = func(at time.Duration) (float64, bool) {
			switch {
			case at < 10*m:
				return 20, true
			case at < 12*m:
				return 20 * (at - 10*m).Seconds(), true
			case at < 13*m:
				return math.Max(20, 2400-40*(at-12*m).Seconds()), true
			}
			return 20, true
		}
		x.oldest = always(1).between(10*m, 12*m, ramp(10*m, 0, 1)).between(12*m, 13*m, always(60))
		x.stalled = always(0).between(11*m+30*time.Second, 12*m, always(1))
		add("consumers are deployed, two minutes without: quiet", 40*m, e(s.quiet()), x.series())
	}
	// list, consumer slower than arrivals: 1/min in, 1 per 2 min out
	{
		x := list("invalidations")
		x.depth = func(at time.Duration) (float64, bool) { return math.Max(0, math.Floor((at-10*m).Minutes()/2)), true }
		x.enqueued = single(2 * m)
		x.oldest = ramp(10*m, 0, 0.5)
		add("a list whose consumer takes every second message, of one a minute: told", 70*m, e(s.either(65*m, of)), x.series())
	}
	// list without timestamps, dead
	{
		x := list("invalidations")
		x.depth = func(at time.Duration) (float64, bool) { return math.Max(0, math.Floor((at-10*m).Minutes()/5)), true }
		x.enqueued = single(5 * m)
		x.oldest = never
		x.stalled = always(0).from(18*m, always(1))
		add("a list without timestamps at one message in 5 min, dead: told", 70*m, e(s.either(65*m, of)), x.series())
	}
	// queue down and its node
	{
		x := topic("invalidations", 20)
		x.up = always(1).from(10*m, inTurn(s.ScrapeInterval, 0, 1, 1))
		add("a queue answers every second time: told", 70*m, e(s.either(65*m, of), s.once()), x.series())
	}
	// lost messages of 3 of few: 3 of 40 in the hour
	{
		x := topic("invalidations", 0.01)
		x.lost = always(0).from(20*m, always(0.4)).from(20*m+10*time.Second, always(0))
		add("four of few messages are lost: a page", 40*m, e(s.page(25*m, of)), x.series())
	}
	// http queue grows without stall info
	{
		x := queue{name: "invalidations", kind: "http", depth: ramp(5*m, 1, 0.02), enqueued: always(0), oldest: never, stalled: never}
		add("an application's queue grows, depth alone: told within two hours", 90*m, e(s.either(85*m, of)), x.series())
	}
	// DynamoDB etc
	_ = q
	return out
}

func at(times ...time.Duration) curve {
	return func(t time.Duration) (float64, bool) {
		for _, x := range times {
			if t >= x && t < x+tick {
				return 1 / tick.Seconds(), true
			}
		}
		return 0, true
	}
}

func (s Settings) xInval() []situation {
	var out []situation
	hist := func(name string, lasts time.Duration, total, failed curve, e ...expectation) {
		out = append(out, sit(name, lasts, pod().tells(s, collectors(nil), causes(nil), attempts(total, failed)), e...))
	}
	of := labels{"history": "processor"}
	ten := single(6 * m)
	hist("ten an hour, four fail: a ticket", 100*m, ten, at(12*m, 30*m, 48*m, 66*m, 84*m), s.noPage(), s.ticket(90*m, of))
	hist("ten an hour, two fail each hour: a ticket in hours", 300*m, ten, at(12*m, 42*m, 72*m, 102*m, 132*m, 162*m, 192*m, 222*m, 252*m, 282*m), s.noPage(), s.ticket(290*m, of))
	hist("ten an hour, three fail at once and never again: no page", 100*m, ten, at(30*m, 31*m, 32*m), s.noPage())
	hist("a cache restarts: 90 s of failures of 100/s", 40*m, always(100), always(0).between(10*m, 11*m+30*time.Second, always(60)), s.quiet())
	hist("100/s: 4% fail: ticket", 50*m, always(100), always(0).from(10*m, always(4)), s.noPage(), s.ticket(40*m, of))
	hist("100/s: 6%, gone 4 min, and again: once", 70*m, always(100), always(0).from(10*m, inTurn(4*m, 10, 0)), s.once(), s.page(30*m, of))
	pr := func(name string, lasts time.Duration, interval time.Duration, lost curve, e ...expectation) {
		out = append(out, sit(name, lasts, pod().tells(s, collectors(nil), causes(nil), probe(interval, lost, 20*time.Millisecond)), e...))
	}
	pof := labels{"probe": "end_to_end"}
	pr("5 min probes, one lost an hour: quiet", 150*m, 5*m, at(30*m, 90*m), s.quiet())
	pr("5 min probes, every third lost: ticket", 100*m, 5*m, single(15*m), s.noPage(), s.ticket(90*m, pof))
	pr("1 min probes, all lost: told soon", 40*m, m, always(0).from(10*m, single(m)), s.either(30*m, pof))
	pr("10 s probes, lost for a minute as consumers restart", 40*m, 10*time.Second, always(0).between(10*m, 11*m, single(10*time.Second)), s.noPage())
	return out
}
