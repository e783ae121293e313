package situations

import (
	"fmt"
	"time"
)

// What situations happen to, unless they say otherwise.
const (
	usualCluster = "eu"
	usualLayer   = "l2"
	usualClass   = "user_profile"
)

// pod is the exporter.
func pod() target { return target{cluster: usualCluster, instance: "pod-1"} }

func gauge(name string, value curve, pairs ...string) series {
	return series{name: "cacheinv_" + name, labels: paired(pairs), value: value}
}

// counter counts what comes at so many a second.
func counter(name string, rate curve, pairs ...string) series {
	return series{name: "cacheinv_" + name, labels: paired(pairs), value: counted(rate), counter: true}
}

func paired(pairs []string) labels {
	l := labels{}
	for i := 0; i < len(pairs); i += 2 {
		l[pairs[i]] = pairs[i+1]
	}
	return l
}

// numbered are names of nodes.
func numbered(prefix string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%s%d", prefix, i+1))
	}
	return all
}

// A node is a cache server as the exporter sees it.
type node struct {
	name   string
	up     curve           // nil: always
	known  curve           // nil: always; where it has no value, the node has no series
	left   curve           // nil: none
	refuse curve           // nil: none; it answers and refuses what it is asked
	starts []time.Duration // when its process began
}

// A layer of cache nodes.
type layer struct {
	name, kind, group string // group "": each node is configured
	nodes             []node
	expected          float64 // min_nodes
}

// caches are Redis nodes of the usual layer, each configured.
func caches(n int) layer {
	l := layer{name: usualLayer, kind: "redis"}
	for _, name := range numbered("redis-", n) {
		l.nodes = append(l.nodes, node{name: name})
	}
	return l
}

// with changes the node at a place.
func (l layer) with(at int, change func(*node)) layer {
	l.nodes = append([]node(nil), l.nodes...)
	change(&l.nodes[at])
	return l
}

// names of the nodes.
func (l layer) names() []string {
	var all []string
	for _, n := range l.nodes {
		all = append(all, n.name)
	}
	return all
}

// series of the layer's nodes; copies are told by a class.
func (l layer) series() []series {
	all := []series{
		gauge("layer_max_staleness_seconds", always(0), "layer", l.name),
		gauge("layer_ttl_seconds", always(3600), "layer", l.name),
	}
	var members []curve
	for _, n := range l.nodes {
		known, up := orOne(n.known), orOne(n.up)
		members = append(members, known)
		who := []string{"layer", l.name, "node", n.name, "kind", l.kind}
		all = append(all, gauge("node_up", both(known, up), who...), gauge("node_refused", both(known, orNone(n.refuse)), who...))
		if l.group != "" {
			all = append(all, gauge("node_left", both(known, orNone(n.left)), who...))
		}
		age := ramp(0, 864000, 1).since(n.starts)
		all = append(all, gauge("node_uptime_seconds", both(known, only(up, age)), who[:4]...))
	}
	if l.group != "" {
		all = append(all, gauge("group_nodes", sum(members...), "layer", l.name, "group", l.group))
	}
	if l.expected > 0 {
		all = append(all, gauge("group_expected_nodes", always(l.expected), "layer", l.name, "group", l.group))
	}
	return all
}

// both is the second where the first has a value.
func both(known, c curve) curve {
	return func(at time.Duration) (float64, bool) {
		if _, ok := known(at); !ok {
			return 0, false
		}
		return c(at)
	}
}

// only is the second where the first is not 0.
func only(up, c curve) curve {
	return func(at time.Duration) (float64, bool) {
		if v, ok := up(at); !ok || v == 0 {
			return 0, false
		}
		return c(at)
	}
}

// sum of what has a value.
func sum(all ...curve) curve {
	return func(at time.Duration) (float64, bool) {
		total := 0.0
		for _, c := range all {
			v, _ := c(at)
			total += v
		}
		return total, true
	}
}

// A class of canaries, with so many keys on each node of a layer.
type class struct {
	name, layer string
	nodes       []string
	keys        float64
	known       map[string]curve // nodes that are not always known
	overdue     map[string]curve // copies, by node; they are stale, too
	undecided   map[string]curve
	missing     map[string]curve
	unread      map[string]curve
	stray       map[string]curve
	survivors   map[string]curve
	divergent   curve
}

// profiles are the usual class, on these nodes.
func profiles(l layer, keys float64) class {
	return class{name: usualClass, layer: l.name, nodes: l.names(), keys: keys}
}

// series of the class, for scrapes that are so far apart: each reads every copy once.
func (c class) series(step time.Duration) []series {
	var all []series
	for _, n := range c.nodes {
		all = append(all, c.on(n, step)...)
	}
	all = append(all, gauge("canary_keys", always(c.keys), "class", c.name, "reference", "version"))
	for _, window := range []string{"0s", "1m", "5m", "10m"} {
		all = append(all, gauge("canary_divergent_keys", orNone(c.divergent), "class", c.name, "window", window))
	}
	return all
}

func (c class) on(node string, step time.Duration) []series {
	known := orOne(c.known[node])
	states := map[string]curve{
		"stale": c.overdue[node], "undecided": c.undecided[node], "missing": c.missing[node], "error": c.unread[node],
	}
	states["fresh"] = func(at time.Duration) (float64, bool) {
		left := c.keys
		for state, other := range states {
			if state != "fresh" && other != nil {
				v, _ := other(at)
				left -= v
			}
		}
		return left, true
	}
	who := []string{"class", c.name, "layer", c.layer, "node", node}
	var all []series
	for _, state := range []string{"fresh", "stale", "undecided", "missing", "error"} {
		value := states[state]
		if value == nil && state == "undecided" { // most have none, and it would be told as 0
			continue
		}
		value = orNone(value)
		with := append(who[:6:6], "state", state)
		all = append(all, gauge("canary_copies", both(known, value), with...))
		if state == "fresh" || state == "stale" || state == "undecided" {
			all = append(all, counter("canary_reads_total", both(known, per(step, value)), with...))
		}
	}
	overdue := orNone(states["stale"])
	return append(all,
		gauge("canary_overdue_copies", both(known, overdue), who...),
		counter("canary_overdue_reads_total", both(known, per(step, overdue)), who...),
		gauge("canary_survivor_copies", both(known, orNone(c.survivors[node])), who...),
		gauge("canary_stray_copies", both(known, orNone(c.stray[node])), who...))
}

// per second is what comes once in each step.
func per(step time.Duration, c curve) curve {
	return func(at time.Duration) (float64, bool) {
		v, ok := c(at)
		return v / step.Seconds(), ok
	}
}

// everyCause is what a cause score may name.
var everyCause = []string{"network", "queue", "config", "version", "logic"}

// causes are the scores; those that are not named are 0.
func causes(scores map[string]curve) []series {
	var all []series
	for _, cause := range everyCause {
		all = append(all, gauge("cause_score", orNone(scores[cause]), "cause", cause))
	}
	return all
}

// blamed is the score of a cause from what is known of nodes.
func blamed(cause, layer string, score curve, nodes ...string) []series {
	var all []series
	for _, n := range nodes {
		all = append(all, gauge("cause_node_score", only(score, score), "cause", cause, "layer", layer, "node", n))
	}
	return all
}

// collectors of the exporter; the failing ones as they are.
func collectors(failing map[string]curve) []series {
	all := []series{gauge("config_last_reload_successful", always(1))}
	for _, c := range []string{"canary", "node", "queue", "replication"} {
		all = append(all, gauge("collector_success", orOne(failing[c]), "collector", c))
	}
	return all
}
