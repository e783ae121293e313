package situations

import "time"

// classesChapter is about classes and what is deployed, where no node is at fault.
func classesChapter(s Settings) chapter {
	c := chapter{name: "classes", about: "small classes, keys that differ, deployments", evaluate: time.Minute}
	c.situations = []situation{
		s.smallClass(1), s.smallClass(2), s.onPurpose(),
		s.divergent(1), s.divergent(s.twice(1000)), s.survivors(1), s.survivors(s.twice(5000)), s.explainedSurvivors(),
		s.deployment(0, false), s.deployment(1, false), s.deployment(s.twice(4000), false), s.deployment(s.twice(4000), true),
		s.fresh(1), s.fresh(s.twice(5000)),
	}
	// A look stands until the next one: where they are further apart than a minute, nobody can tell one minute from two.
	if s.ScrapeInterval <= time.Minute {
		c.situations = append(c.situations, s.passing())
	}
	return c
}

// base are the exporter's own series, the layer's and the class's, with no cause.
func (s Settings) base(l layer, c class) []series {
	return pod().tells(s, collectors(nil), l.series(), c.series(s.ScrapeInterval), causes(nil))
}

// smallClass has five keys on three nodes, of which some are overdue on one or two.
func (s Settings) smallClass(nodes int) situation {
	l := caches(3)
	c := profiles(l, 5)
	c.overdue = bad(5*time.Minute, 2, l.names()[:nodes]...)
	x := situation{
		name: "a class of five keys on three nodes has two bad ones on two nodes: a page", lasts: s.late(time.Hour),
		expect: []expectation{s.page(s.late(20*time.Minute), labels{"class": usualClass})},
	}
	if nodes == 1 {
		c.overdue = bad(5*time.Minute, 1, "redis-1")
		x.name, x.lasts = "a class of five keys on three nodes has one bad copy for two hours: a ticket, however large its share", 2*time.Hour
		x.expect = []expectation{s.noPage(), s.ticket(s.late(30*time.Minute), labels{"class": usualClass})}
	}
	x.series = s.base(l, c)
	return x
}

func (s Settings) passing() situation {
	l := caches(5)
	c := profiles(l, 1000)
	c.overdue = map[string]curve{"redis-1": always(0).
		between(10*time.Minute, 11*time.Minute, always(s.twice(5000))).
		between(40*time.Minute, 41*time.Minute, always(s.twice(5000)))}
	return situation{
		name: "1% of the copies are overdue for a minute, twice an hour: nobody is told", lasts: time.Hour,
		series: s.base(l, c), expect: []expectation{s.quiet()},
	}
}

func (s Settings) onPurpose() situation {
	l := caches(5)
	c := profiles(l, 1000)
	c.overdue = bad(10*time.Minute, 1, "redis-2")
	score := always(0.75)
	return situation{
		name: "settings differ on purpose for ever, and one copy is overdue: no page", lasts: s.late(time.Hour),
		series: pod().tells(s, collectors(nil), l.series(), c.series(s.ScrapeInterval), causes(map[string]curve{"config": score}),
			blamed("config", usualLayer, score, l.names()...),
			[]series{gauge("layer_distinct_configs", always(2), "layer", usualLayer, "setting", "memory_limit")}),
		expect: []expectation{s.noPage(), s.ticket(s.late(40*time.Minute), labels{"class": usualClass})},
	}
}

func (s Settings) divergent(keys float64) situation {
	l := caches(2)
	c := profiles(l, 1000)
	c.undecided = bad(5*time.Minute, keys, l.names()...)
	c.divergent = always(0).from(7*time.Minute, always(keys))
	x := situation{
		name: "2% of the keys differ, and nothing says which copy is right: a page", lasts: s.late(time.Hour),
		series: s.base(l, c), expect: []expectation{s.page(s.late(20*time.Minute), labels{"class": usualClass})},
	}
	if keys == 1 {
		x.name = "one key differs, and nothing says which copy is right: a ticket"
		x.expect = []expectation{s.noPage(), s.ticket(s.late(40*time.Minute), labels{"class": usualClass})}
	}
	return x
}

func (s Settings) survivors(copies float64) situation {
	l := caches(5)
	c := profiles(l, 1000)
	c.survivors = bad(5*time.Minute, copies, "redis-1", "redis-2")
	score := always(0).from(5*time.Minute, always(0.7))
	x := situation{
		name: "2% of the copies outlived a delete, with all else well: a page that names the code", lasts: s.late(time.Hour),
		expect: []expectation{s.page(s.late(20*time.Minute), labels{"class": usualClass, "cause": "logic"})},
	}
	if copies == 1 {
		c.survivors = bad(5*time.Minute, 1, "redis-1")
		x.name = "one copy of 5,000 outlived a delete: a ticket"
		x.expect = []expectation{s.noPage(), s.ticket(s.late(40*time.Minute), labels{"class": usualClass})}
	}
	x.series = pod().tells(s, collectors(nil), l.series(), c.series(s.ScrapeInterval), causes(map[string]curve{"logic": score}))
	return x
}

// explainedSurvivors are on nodes that are cut off: users are given what was deleted, whatever the cause.
func (s Settings) explainedSurvivors() situation {
	l := caches(5)
	c := profiles(l, 1000)
	c.survivors = bad(5*time.Minute, s.twice(5000), "redis-1", "redis-2")
	at := s.late(20 * time.Minute)
	return situation{
		name: "2% of the copies outlived a delete, on nodes that are cut off: a page that names the network", lasts: s.late(time.Hour),
		series: pod().tells(s, collectors(nil), l.series(), c.series(s.ScrapeInterval), causeOn("network", 5*time.Minute, "redis-1", "redis-2")),
		expect: []expectation{s.page(at, labels{"cause": ""}, labels{"cause": "network"}), s.incidents(at, labels{})},
	}
}

// deployment runs two versions of an application with a local cache for two hours; so many copies are overdue in instances of the
// new one, or elsewhere.
func (s Settings) deployment(overdue float64, elsewhere bool) situation {
	app := layer{name: "l1", kind: "http"}
	for _, name := range numbered("web-", 4) {
		app.nodes = append(app.nodes, node{name: name})
	}
	l2 := caches(2)
	local := class{name: usualClass, layer: "l1", nodes: app.names(), keys: 1000}
	shared := class{name: "product_price", layer: usualLayer, nodes: l2.names(), keys: 2000}
	from, to := 10*time.Minute, 130*time.Minute
	two := always(1).between(from, to, always(2))
	score := always(0).between(from, to, always(0.8))
	tells := []series{gauge("app_distinct_versions", two, "app", "web")}
	for i, name := range app.names() {
		old, next := always(1), curve(never)
		if i < 2 {
			old, next = always(1).between(from, to, never), curve(never).between(from, to, always(1))
		}
		tells = append(tells, gauge("app_up", always(1), "app", "web", "node", name),
			gauge("app_version_info", old, "app", "web", "node", name, "version", "1.4.0"),
			gauge("app_version_info", next, "app", "web", "node", name, "version", "1.5.0"))
	}
	x := situation{lasts: 150 * time.Minute}
	if overdue > 1 {
		x.lasts = s.late(70 * time.Minute)
	}
	late := min(s.late(60*time.Minute), to)
	drift := s.ticket(100*time.Minute, labels{"app": "web"})
	switch {
	case elsewhere:
		shared.overdue = bad(30*time.Minute, overdue, l2.names()...)
		x.name = "a canary deployment of two hours, while 2% of the copies of another layer are overdue: a page that names no version"
		x.expect = []expectation{s.page(late, labels{"class": "product_price", "cause": ""}), s.page(late, labels{"cause": ""})}
	case overdue > 1:
		local.overdue = bad(30*time.Minute, overdue, "web-1", "web-2")
		x.name = "a canary deployment of two hours, and 2% of the copies are overdue in its instances: a page that names the version"
		x.expect = []expectation{s.page(late, labels{"cause": ""}, labels{"cause": "version"}), s.incidents(late, labels{})}
	case overdue == 1:
		shared.overdue = bad(30*time.Minute, 1, "redis-1")
		x.name = "a canary deployment of two hours beside one overdue copy: tickets"
		x.expect = []expectation{s.noPage(), drift, s.ticket(100*time.Minute, labels{"class": "product_price"})}
	default:
		x.name = "a canary deployment of two hours: one ticket"
		x.expect = []expectation{s.noPage(), drift, s.atMost(1)}
	}
	x.series = pod().tells(s, collectors(nil), app.series(), l2.series(), local.series(s.ScrapeInterval), shared.series(s.ScrapeInterval), tells,
		causes(map[string]curve{"version": score}), blamed("version", "l1", score, "web-1", "web-2"))
	return x
}

// fresh is a Prometheus that has just been started, over copies that have been overdue for long.
func (s Settings) fresh(copies float64) situation {
	l := caches(5)
	c := profiles(l, 1000)
	c.overdue = bad(0, copies, "redis-1", "redis-2")
	x := situation{
		name: "a Prometheus without history finds 2% of the copies overdue: a page", lasts: s.late(30 * time.Minute),
		expect: []expectation{s.page(s.late(5*time.Minute), labels{"class": usualClass})},
	}
	if copies == 1 {
		c.overdue = nil
		x.name = "a Prometheus without history over an estate that is well: nobody is told"
		x.lasts, x.expect = 90*time.Minute, []expectation{s.quiet()}
	}
	x.series = pod().tells(s, collectors(nil), l.series(), c.series(s.ScrapeInterval), causes(nil), topic("invalidations", 20).series())
	return x
}
