package situations

import "time"

func invalidationsChapter(s Settings) chapter {
	c := chapter{name: "invalidations", about: "invalidations that fail, are lost or are slow, many and few", evaluate: time.Minute}
	c.situations = []situation{
		s.failures(100, 1.5*s.FailureShare), s.failures(100, (s.FailureShare+s.FailureShareTicket)/2), s.failures(100, s.FailureShareTicket/2),
		s.few(6*time.Minute, 1), s.few(6*time.Minute, 60), s.few(150*time.Second, 1),
		s.probes(5*time.Minute, 1), s.probes(10*time.Second, 1), s.probes(10*time.Second, 100), s.unpublished(), s.slow(),
	}
	return c
}

// attempts are a history's, at so many a second, of which a share fails.
func attempts(total, failed curve) []series {
	return []series{
		gauge("history_up", always(1), "history", "processor"),
		counter("invalidations_total", total, "history", "processor"),
		counter("invalidation_failures_total", failed, "history", "processor"),
	}
}

func (s Settings) failures(rate, share float64) situation {
	x := situation{
		lasts:  s.late(time.Hour),
		series: pod().tells(s, collectors(nil), causes(nil), attempts(always(rate), always(0).from(10*time.Minute, always(rate*share)))),
	}
	at := s.late(40 * time.Minute)
	switch {
	case share > s.FailureShare:
		x.name = "many of 100 invalidations a second fail: a page"
		x.expect = []expectation{s.page(at, labels{"history": "processor"})}
	case share > s.FailureShareTicket:
		x.name = "some of 100 invalidations a second fail: a ticket"
		x.expect = []expectation{s.noPage(), s.ticket(at, labels{"history": "processor"})}
	default:
		x.name, x.expect = "as few of 100 invalidations a second fail as is usual: nobody is told", []expectation{s.quiet()}
	}
	return x
}

// single is one event at each interval, as a rate that counters are added up from.
func single(interval time.Duration) curve {
	return func(at time.Duration) (float64, bool) {
		if at%interval < tick {
			return 1 / tick.Seconds(), true
		}
		return 0, true
	}
}

// few are invalidations that come one by one, of which each so many fails.
func (s Settings) few(interval time.Duration, each int) situation {
	x := situation{
		name: "ten invalidations an hour, and all fail: a ticket within the hour", lasts: s.late(80 * time.Minute),
		series: pod().tells(s, collectors(nil), causes(nil), attempts(single(interval), single(time.Duration(each)*interval))),
		expect: []expectation{s.noPage(), s.ticket(s.late(time.Hour), labels{"history": "processor"})},
	}
	switch {
	case interval < 5*time.Minute:
		x.name = "one invalidation in 150 s, and all fail: a ticket within the hour"
	case each > 1:
		x.name, x.lasts, x.expect = "ten invalidations an hour, and one in six hours fails: nobody is told", 7*time.Hour, []expectation{s.quiet()}
	}
	return x
}

// probe is what an invalidation probe tells of the nodes: of the first, each so many is lost, and each is so slow otherwise.
func probe(interval time.Duration, lost curve, slow time.Duration) []series {
	var all []series
	for i, node := range numbered("redis-", 3) {
		who := []string{"probe", "end_to_end", "layer", usualLayer, "node", node}
		missed := lost
		if i > 0 {
			missed = always(0)
		}
		sent := single(interval)
		all = append(all, counter("invalidation_probes_total", sent, who...),
			counter("invalidation_probe_failures_total", missed, append(who[:6:6], "reason", "lost")...),
			counter("invalidation_probe_failures_total", always(0), append(who[:6:6], "reason", "publish")...),
			counter("invalidation_probe_failures_total", always(0), append(who[:6:6], "reason", "setup")...))
		arrived := sum(sent, negative(missed))
		for _, le := range []string{"0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"} {
			count := arrived
			if bound, err := time.ParseDuration(le + "s"); err == nil && bound < slow {
				count = always(0)
			} else if err != nil { // +Inf
				count = sent
			}
			all = append(all, counter("invalidation_probe_duration_seconds_bucket", count, append(who[:6:6], "le", le)...))
		}
	}
	return all
}

// negative is the curve below 0.
func negative(c curve) curve {
	return func(at time.Duration) (float64, bool) {
		v, ok := c(at)
		return -v, ok
	}
}

// probes are sent at an interval, and on one node each so many is lost.
func (s Settings) probes(interval time.Duration, each int) situation {
	lost := single(time.Duration(each) * interval)
	x := situation{name: "a probe each five minutes is always lost on one node: told within the hour", lasts: s.late(80 * time.Minute)}
	x.expect = []expectation{s.either(s.late(70*time.Minute), labels{"probe": "end_to_end"})}
	switch {
	case each > 1:
		x.name, x.expect = "one probe of a hundred is lost, as where consumers are deployed: no page", []expectation{s.noPage()}
	case interval < time.Minute:
		lost = always(0).from(10*time.Minute, lost)
		x.name = "probes each ten seconds are all lost on one node: a page"
		x.expect = []expectation{s.page(s.late(25*time.Minute), labels{"probe": "end_to_end"})}
	}
	x.series = pod().tells(s, collectors(nil), causes(nil), probe(interval, lost, 20*time.Millisecond))
	return x
}

func (s Settings) unpublished() situation {
	var all []series
	failing := always(0).from(10*time.Minute, single(10*time.Second))
	for _, node := range numbered("redis-", 3) {
		who := []string{"probe", "end_to_end", "layer", usualLayer, "node", node}
		all = append(all, counter("invalidation_probes_total", single(10*time.Second).from(10*time.Minute, always(0)), who...),
			counter("invalidation_probe_failures_total", always(0), append(who[:6:6], "reason", "lost")...),
			counter("invalidation_probe_failures_total", failing, append(who[:6:6], "reason", "publish")...))
	}
	return situation{
		name: "probes cannot be published: a ticket", lasts: s.late(time.Hour),
		series: pod().tells(s, collectors(nil), causes(nil), all),
		expect: []expectation{s.noPage(), s.ticket(s.late(50*time.Minute), labels{"probe": "end_to_end"})},
	}
}

func (s Settings) slow() situation {
	return situation{
		name: "invalidations take several times the latency that is fine: a ticket", lasts: s.late(time.Hour),
		series: pod().tells(s, collectors(nil), causes(nil), probe(10*time.Second, always(0), 8*s.Latency)),
		expect: []expectation{s.noPage(), s.ticket(s.late(45*time.Minute), labels{"probe": "end_to_end"})},
	}
}
