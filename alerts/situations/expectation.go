package situations

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// An expectation is a query of the alerts that fire at a time, and what it gives.
type expectation struct {
	at       time.Duration // 0: at the end
	severity string        // or several, as in a|b
	matchers []string      // which alerts are looked at
	want     []labels      // subjects, by the labels that any of them names; a label that is "" is not there
	count    int           // how many there are, instead
	ever     bool          // over all the time none fires
	once     bool          // over all the time they begin to fire once at most
	most     int           // at no time there are more
	steady   bool          // from then on to the end they fire without a gap
}

// quiet: nobody is told anything, at any time.
func (s Settings) quiet(matchers ...string) expectation {
	return expectation{severity: s.Page + "|" + s.Ticket, matchers: matchers, ever: true}
}

// noPage: no pager rings, at any time.
func (s Settings) noPage() expectation {
	return expectation{severity: s.Page, ever: true}
}

// page: the pager has rung for these subjects, and no others of their kind.
func (s Settings) page(at time.Duration, want ...labels) expectation {
	return expectation{at: at, severity: s.Page, want: want}
}

// ticket: there are tickets for these subjects, and no others of their kind.
func (s Settings) ticket(at time.Duration, want ...labels) expectation {
	return expectation{at: at, severity: s.Ticket, want: want}
}

// either: a page or a ticket tells of these subjects, and of no others of their kind.
func (s Settings) either(at time.Duration, want ...labels) expectation {
	return expectation{at: at, severity: s.Page + "|" + s.Ticket, want: want}
}

// tickets: so many there are, whatever of.
func (s Settings) tickets(at time.Duration, n int, matchers ...string) expectation {
	return expectation{at: at, severity: s.Ticket, count: n, matchers: matchers}
}

// steady: from then on there is a ticket all the time.
func (s Settings) steady(from time.Duration) expectation {
	return expectation{at: from, severity: s.Ticket, steady: true}
}

// atMost: at no time there are more tickets than so many.
func (s Settings) atMost(n int, matchers ...string) expectation {
	return expectation{severity: s.Ticket, most: n, matchers: matchers}
}

// once: the pager rings once at most. What goes on ringing is one.
func (s Settings) once() expectation {
	return expectation{severity: s.Page, once: true}
}

// incidents: the pager has so many groups open, by the labels that Alertmanager groups pages by.
func (s Settings) incidents(at time.Duration, want ...labels) expectation {
	e := s.page(at).where(`family!="exporter"`)
	for _, w := range want {
		w = maps.Clone(w)
		if _, ok := w[s.ClusterLabel]; !ok {
			w[s.ClusterLabel] = usualCluster
		}
		if _, ok := w["queue"]; !ok {
			w["queue"] = ""
		}
		e.want = append(e.want, w)
	}
	return e
}

// where looks only at alerts that match, too.
func (e expectation) where(matchers ...string) expectation {
	e.matchers = slices.Concat(e.matchers, matchers)
	return e
}

// query is the expectation's, for a situation that lasts so long and is evaluated so often.
func (e expectation) query(lasts, evaluate time.Duration) string {
	by, named := e.by()
	all := []string{`alertstate="firing"`, fmt.Sprintf("severity=~%q", e.severity)}
	if !strings.Contains(e.severity, "|") {
		all[1] = fmt.Sprintf("severity=%q", e.severity)
	}
	firing := "ALERTS{" + strings.Join(slices.Concat(all, named, e.matchers), ", ") + "}"
	switch {
	case e.ever:
		return fmt.Sprintf("last_over_time(%s[%s])", firing, short(lasts))
	case e.once:
		return fmt.Sprintf("sum_over_time((group(%s) unless group(%s offset %s))[%s:%s]) > 1",
			firing, firing, short(evaluate), short(lasts), short(evaluate))
	case e.steady:
		return fmt.Sprintf("min_over_time((count(%s) or vector(0))[%s:%s])", firing, short(lasts-e.at), short(evaluate))
	case e.most > 0:
		return fmt.Sprintf("max_over_time(count(%s)[%s:%s]) > %d", firing, short(lasts), short(evaluate), e.most)
	case e.count > 0:
		return fmt.Sprintf("count(%s)", firing)
	}
	return fmt.Sprintf("group by (%s) (%s)", strings.Join(by, ", "), firing)
}

// by are the labels that the subjects are told by, and matchers for those that every subject has: alerts without are of another kind.
func (e expectation) by() (names, matchers []string) {
	in := map[string]int{}
	for _, w := range e.want {
		for name, value := range w {
			if in[name] += 0; value != "" {
				in[name]++
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		names = append(names, name)
		if in[name] == len(e.want) {
			matchers = append(matchers, name+`!=""`)
		}
	}
	return names, matchers
}

// samples are what the query gives.
func (e expectation) samples() []sample {
	if e.steady {
		return []sample{{Labels: "{}", Value: 1}}
	}
	if e.count > 0 {
		return []sample{{Labels: "{}", Value: float64(e.count)}}
	}
	var all []sample
	for _, w := range e.want {
		w = maps.Clone(w)
		maps.DeleteFunc(w, func(_, value string) bool { return value == "" })
		all = append(all, sample{Labels: w.String(), Value: 1})
	}
	return all
}

// short is a duration as PromQL writes it.
func short(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}
