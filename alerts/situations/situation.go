package situations

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A situation is what happens, as series, and who must hear of it.
type situation struct {
	name   string
	lasts  time.Duration
	scrape time.Duration // 0: as in the settings
	series []series
	expect []expectation
}

// A chapter is a file of situations that are evaluated at one interval.
type chapter struct {
	name       string // of the file, after situations_
	about      string
	evaluate   time.Duration
	situations []situation
}

type labels map[string]string

// String is as PromQL writes it.
func (l labels) String() string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(l)) {
		pairs = append(pairs, fmt.Sprintf("%s=%q", name, l[name]))
	}
	return "{" + strings.Join(pairs, ", ") + "}"
}

// A series has a name, labels and a curve; a counter begins anew with its exporter.
type series struct {
	name    string
	labels  labels
	value   curve
	counter bool
}

// A target is one exporter as Prometheus scrapes it.
type target struct {
	cluster, instance string
	shard             string
	from, to          time.Duration               // scraped from, and until; to 0: to the end
	lost              func(at time.Duration) bool // scrapes in vain
	starts            []time.Duration             // when its process began
	extra             labels
}

// tells are the target's series, with those that Prometheus adds.
func (t target) tells(s Settings, all ...[]series) []series {
	own := labels{s.ClusterLabel: t.cluster, "job": s.Job, "instance": t.instance}
	if t.shard != "" {
		own["shard"] = t.shard
	}
	known := func(c curve) curve {
		if t.to > 0 {
			c = c.from(t.to, never)
		}
		return curve(never).from(t.from, c)
	}
	lost := func(at time.Duration) bool { return t.lost != nil && t.lost(at) }
	up := func(at time.Duration) (float64, bool) {
		if lost(at) {
			return 0, true
		}
		return 1, true
	}
	told := []series{
		{name: "up", labels: own, value: known(up)},
		{name: "scrape_duration_seconds", labels: own, value: known(always(0.2))},
	}
	for _, one := range slices.Concat(all...) {
		value := one.value
		if one.counter {
			value = value.since(t.starts)
		}
		one.value = known(func(at time.Duration) (float64, bool) {
			if lost(at) {
				return 0, false
			}
			return value(at)
		})
		with := maps.Clone(own)
		maps.Copy(with, one.labels)
		maps.Copy(with, t.extra)
		one.labels = with
		told = append(told, one)
	}
	return told
}
