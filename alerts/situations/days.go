package situations

import (
	"fmt"
	"math"
	"time"
)

const (
	hour = time.Hour
	day  = 24 * time.Hour
)

// What lasts for days needs no sample each half a minute.
const sparse = time.Minute

// besides is all that is told but of the exporter itself: that its scrapes are far apart is so of these situations alone.
const besides = `instance=""`

func hoursChapter(s Settings) chapter {
	c := chapter{name: "hours", about: "budgets that burn for hours, and pods that come and go", evaluate: time.Minute}
	c.situations = []situation{s.burning(7), s.burning(0), s.growing(0), s.growing(s.twice(4000))}
	return c
}

func daysChapter(s Settings) chapter {
	c := chapter{name: "days", about: "what takes a day or several", evaluate: 10 * time.Minute}
	c.situations = []situation{
		s.lasting(), s.weekend(), s.growth(), s.layerMissing(8 * hour), s.layerMissing(40 * hour), s.vanished(), s.replaced(), s.lostMembers(),
		s.hitRate(1, true), s.hitRate(1000, true), s.hitRate(1000, false), s.coldKeys(),
	}
	return c
}

// burning: overdue copies are so many times what the budget allows, while the exporter is a new pod each hour.
func (s Settings) burning(times float64) situation {
	l := caches(2)
	c := profiles(l, 10000)
	c.overdue = bad(30*time.Minute, round(times*s.Budget*10000), l.names()...)
	x := situation{
		name: "seven times the budget is overdue for hours, and the exporter is a new pod each of them: a page", lasts: 5 * hour, scrape: sparse,
		expect: []expectation{s.page(4*hour+hour/2, labels{"class": usualClass}), s.once()},
	}
	if times == 0 {
		x.name, x.lasts = "the exporter is a new pod each hour, and all is well: nobody is told", 3*hour
		x.expect = []expectation{s.quiet(besides)}
	}
	for i := time.Duration(0); i*hour < x.lasts; i++ {
		t := pod()
		t.instance, t.from, t.to = fmt.Sprintf("pod-%d", i), i*hour, (i+1)*hour
		t.starts = []time.Duration{t.from}
		x.series = append(x.series, t.tells(s, collectors(nil), l.series(), c.series(sparse), causes(nil))...)
	}
	return x
}

// lasting: more than the budget is overdue for a day, less than pages.
func (s Settings) lasting() situation {
	l := caches(2)
	c := profiles(l, 10000)
	c.overdue = bad(hour, round(math.Min(4*s.Budget, s.StaleShare/2)*10000), l.names()...)
	return situation{
		name: "four times the budget is overdue for a day: a ticket", lasts: 30 * hour, scrape: sparse,
		series: pod().tells(s, collectors(nil), l.series(), c.series(sparse), causes(nil)),
		expect: []expectation{s.noPage(), s.ticket(26*hour, labels{"class": usualClass})},
	}
}

// weekend leaves all keys to expire.
func (s Settings) weekend() situation {
	l := caches(2)
	c := profiles(l, 1000)
	friday, monday := 4*hour, 64*hour
	c.missing = map[string]curve{}
	for _, name := range l.names() {
		c.missing[name] = always(0).between(friday, monday, always(1000))
	}
	q := topic("invalidations", 20)
	quiet := always(20).between(friday, monday, always(0))
	q.depth, q.enqueued, q.processed = quiet, quiet, quiet
	return situation{
		name: "a weekend without keys: no page", lasts: 68 * hour, scrape: 5 * time.Minute,
		series: pod().tells(s, collectors(nil), l.series(), c.series(5*time.Minute), causes(nil), q.series()),
		expect: []expectation{s.noPage()},
	}
}

// pool of memcached servers that grows: it leaves strays until their TTL has ended; some other copies are overdue meanwhile.
func (s Settings) pool(step time.Duration, overdue map[string]curve) []series {
	l := layer{name: "l3", kind: "memcached", group: "pool"}
	for i, name := range poolServers() {
		n := node{name: name}
		if i == 3 {
			n.known = curve(never).from(hour, always(1))
		}
		l.nodes = append(l.nodes, n)
	}
	c := profiles(l, 1000)
	c.overdue = overdue
	c.known = map[string]curve{l.names()[3]: l.nodes[3].known}
	c.stray = map[string]curve{}
	strays := always(0).between(hour, 25*hour, ramp(hour, 250, -250/day.Seconds()))
	for _, name := range l.names()[:3] {
		c.stray[name] = strays
	}
	score := always(0).between(hour, 25*hour, always(0.7))
	return pod().tells(s, collectors(nil), l.series(), c.series(step), causes(map[string]curve{"config": score}),
		blamed("config", l.name, score, l.names()[:3]...))
}

func poolServers() []string {
	var all []string
	for i := range 4 {
		all = append(all, fmt.Sprintf("pool/10.0.0.%d:11211", i+1))
	}
	return all
}

func (s Settings) growth() situation {
	return situation{
		name: "a pool grows, and strays remain for the TTL of 24 h: tickets", lasts: 27 * hour, scrape: 5 * time.Minute,
		series: s.pool(5*time.Minute, nil),
		expect: []expectation{s.noPage(), s.ticket(10*hour, labels{"cause": "config"})},
	}
}

// growing is the beginning of it, as often evaluated as others.
func (s Settings) growing(overdue float64) situation {
	x := situation{
		name: "a pool has grown, and copies that were moved are strays: no page", lasts: 2 * hour, scrape: sparse,
		series: s.pool(sparse, nil), expect: []expectation{s.noPage(), s.ticket(2*hour, labels{"cause": "config"})},
	}
	if overdue > 0 {
		x.name = "a pool has grown, and beside the strays 2% of the copies are overdue: a page"
		x.series = s.pool(sparse, bad(90*time.Minute, overdue, poolServers()[:2]...))
		x.expect = []expectation{s.page(2*hour, labels{"class": usualClass})}
	}
	return x
}

// layerMissing: all copies of a layer are missing for so long, while another's compare.
func (s Settings) layerMissing(long time.Duration) situation {
	l2, l3 := caches(2), layer{name: "l3", kind: "memcached", nodes: []node{{name: "mc-1"}, {name: "mc-2"}}}
	c, empty := profiles(l2, 1000), profiles(l3, 1000)
	empty.missing = map[string]curve{}
	for _, name := range l3.names() {
		empty.missing[name] = always(0).between(2*hour, 2*hour+long, always(1000))
	}
	x := situation{
		name: "all copies of a layer are missing for a night: nobody is told", lasts: 12 * hour, scrape: 5 * time.Minute,
		expect: []expectation{s.quiet(besides)},
	}
	if long > day {
		x.name, x.lasts = "all copies of a layer are missing for more than a day, while another's compare: a ticket", 36*hour
		x.expect = []expectation{s.noPage(), s.ticket(34*hour, labels{"class": usualClass})}
	}
	x.series = pod().tells(s, collectors(nil), l2.series(), l3.series(), c.series(5*time.Minute), empty.series(5*time.Minute), causes(nil))
	return x
}

// vanished is a class that is no longer in the configuration.
func (s Settings) vanished() situation {
	l := caches(2)
	gone := class{name: "product_price", layer: l.name, nodes: l.names(), keys: 1000, known: map[string]curve{}}
	there := always(1).from(4*hour, never)
	for _, name := range l.names() {
		gone.known[name] = there
	}
	told := gone.series(5 * time.Minute)
	for i := range told {
		told[i].value = both(there, told[i].value)
	}
	return situation{
		name: "a class vanishes from the configuration: a ticket", lasts: 9 * hour, scrape: 5 * time.Minute,
		series: pod().tells(s, collectors(nil), l.series(), profiles(l, 1000).series(5*time.Minute), told, causes(nil)),
		expect: []expectation{s.noPage(), s.ticket(8*hour, labels{"class": "product_price"})},
	}
}

// replaced: each hour one of four pods is replaced by one of another address, and forgotten after ten minutes.
func (s Settings) replaced() situation {
	const hours = 10
	l := layer{name: "l1", kind: "http", group: "app"}
	c := class{name: usualClass, layer: l.name, keys: 1000, known: map[string]curve{}, unread: map[string]curve{}}
	failing := always(1)
	for i := range 4 + hours {
		born := time.Duration(max(0, i-3)) * hour
		died := time.Duration(i+1) * hour // the oldest goes first
		n := node{
			name: fmt.Sprintf("app/10.0.0.%d:8080", i+1), up: always(1).from(died, always(0)),
			known: curve(never).from(born, always(1).from(died+10*time.Minute, never)), left: always(0).from(died, always(1)),
		}
		l.nodes, c.nodes = append(l.nodes, n), append(c.nodes, n.name)
		c.known[n.name], c.unread[n.name] = n.known, always(0).from(died, always(1000))
		failing = failing.between(died, died+10*time.Minute, always(0))
	}
	return situation{
		name: "one of four pods is replaced each hour: nobody is told", lasts: hours * hour, scrape: 2 * time.Minute,
		series: pod().tells(s, collectors(map[string]curve{"node": failing, "canary": failing}), l.series(), c.series(2*time.Minute), causes(nil)),
		expect: []expectation{s.quiet(besides)},
	}
}

// lostMembers: three of twelve members leave, and nothing comes for them.
func (s Settings) lostMembers() situation {
	l := members(12)
	c := profiles(l, 400)
	c.known = map[string]curve{}
	c.unread = map[string]curve{}
	died := 26 * hour
	for i := range 3 {
		l = l.with(i, func(n *node) {
			n.known, n.up, n.left = always(1).from(died+10*time.Minute, never), always(1).from(died, always(0)), always(0).from(died, always(1))
		})
		c.known[l.nodes[i].name], c.unread[l.nodes[i].name] = l.nodes[i].known, always(0).from(died, always(400))
	}
	success := always(1).between(died, died+10*time.Minute, always(0))
	return situation{
		name: "three of twelve members leave, and nothing comes for them: a ticket within hours", lasts: 34 * hour, scrape: 5 * time.Minute,
		series: pod().tells(s, collectors(map[string]curve{"node": success, "canary": success}), l.series(), c.series(5*time.Minute), causes(nil)),
		expect: []expectation{s.noPage(), s.ticket(33*hour, labels{"group": "pool"})},
	}
}

// traffic are nodes' lookups, of which a share hits; of the first another.
func traffic(l layer, first, others curve) []series {
	const lookups = 1000
	var all []series
	for i, n := range l.names() {
		who := []string{"layer", l.name, "node", n}
		rate := func(at time.Duration) (float64, bool) {
			share, _ := others(at)
			if i == 0 {
				share, _ = first(at)
			}
			return share * lookups, true
		}
		all = append(all,
			counter("node_hits_total", rate, who...), counter("node_misses_total", sum(always(lookups), negative(rate)), who...),
			counter("node_own_reads_total", always(2), append(who[:4:4], "result", "hit")...),
			counter("node_own_reads_total", always(0), append(who[:4:4], "result", "miss")...))
	}
	return all
}

// hitRate falls for good, a day after the beginning, beside a node that was restarted so often since.
func (s Settings) hitRate(restarts int, falls bool) situation {
	l := caches(4)
	from := 26 * hour
	lasts := 30 * hour
	turn := 10 * time.Minute
	_, starts := loop(from, min(lasts, from+time.Duration(restarts)*turn), turn, time.Minute)
	l = l.with(0, func(n *node) { n.starts = starts })
	first, others := always(0.9).from(from, always(0.2)), always(0.9).from(from, always(0.4))
	x := situation{lasts: lasts, scrape: sparse}
	switch {
	case !falls:
		others = always(0.9)
		x.name, x.expect = "a node is in a crash loop, and holds little; the others' hit rate is as ever: no page", []expectation{s.noPage()}
	case restarts == 1:
		first, others = always(0.9).between(from, from+hour/2, always(0)), always(0.9)
		x.name, x.expect = "a node is restarted, and begins with nothing: nobody is told", []expectation{s.quiet(besides)}
	default:
		x.name = "the hit rate falls for good beside a node in a crash loop: a ticket"
		x.expect = []expectation{s.noPage(), s.ticket(29*hour, labels{"layer": l.name}).where(`node=""`)}
	}
	x.series = pod().tells(s, collectors(nil), l.series(), traffic(l, first, others), causes(nil))
	return x
}

// coldKeys are read by a report for an hour.
func (s Settings) coldKeys() situation {
	l := caches(2)
	hits := always(0.9).between(26*hour, 27*hour, always(0.3))
	return situation{
		name: "a report reads cold keys for an hour: no page", lasts: 29 * hour, scrape: sparse,
		series: pod().tells(s, collectors(nil), l.series(), traffic(l, hits, hits), causes(nil)),
		expect: []expectation{s.noPage()},
	}
}
