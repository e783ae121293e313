package simulation

import (
	"strings"
	"time"
)

// plan is a shop and what goes wrong in it. Times between events are means.
type plan struct {
	// name and what happens, for the page.
	name, what string
	// nodes by layer, as in
	//
	//	l1 ttl=5m from=l2: a b c; l2: p r<p
	//
	// where r is a replica of p, and readers who find nothing in l1 read from l2. ttl is an hour where none is given.
	nodes    string
	versions bool
	// clocks: versions are times in milliseconds; clockAhead is the share of writes whose clock is 2 h ahead.
	clocks     bool
	clockAhead float64
	// origin: the exporter asks the database, or a replica of it that lags. maxLag is what it is told of that.
	origin            bool
	originLag, maxLag time.Duration

	// answers of a node take so long at most.
	answers time.Duration
	// burst of so many writes to each key whenever the exporter reads, within 45 ms.
	burst int
	// writes to each key, reads of each key on each node.
	writes, reads time.Duration
	// lag of invalidations, at most, and how far apart nodes of a layer get them; pushes: they bring the new value, instead
	// of removing the old.
	lag, spread time.Duration
	pushes      bool
	// writerKeeps: whoever writes puts the new value into one of the top layer's caches.
	writerKeeps bool
	replicaLag  time.Duration

	// Shares of writes: that delete the thing, of which no cache is told, whose old value is set once more, late, on lateOn
	// nodes, and that are rolled back after the caches have the value. versionsBeginAnew with a thing made anew.
	deletes, untold, lateWrites, rolledBack float64
	lateOn                                  int
	lateBy                                  time.Duration // at most
	versionsBeginAnew                       bool
	// lateFills is the share of fills that take many seconds.
	lateFills float64
	// misses are the shares of invalidations that miss a node.
	misses map[string]float64

	// Things that happen now and then.
	partition partition
	freezes   freeze
	// restarts of a node, which loses all; replacements of a node by one of another name; evictions of a copy; restarts of
	// the exporter, which forgets all.
	restarts, replacements, evictions, exporterRestarts time.Duration
	// lingers is how long a replaced node goes on to answer the exporter, though it is no part of the shop.
	lingers time.Duration
	// restores of the database to what it held restoredFrom ago; anew: with new caches in place of the old.
	restores, restoredFrom time.Duration
	anew                   bool

	wanted wanted
}

// partition cuts nodes off from the application, and others from the exporter.
type partition struct {
	every, lasts time.Duration
	cut, unread  string
}

// freeze of a replica.
type freeze struct {
	every, lasts time.Duration
	node         string
}

// layerPlan is a layer of plan.nodes.
type layerPlan struct {
	name, from string
	ttl        time.Duration
	// maxStaleness that the design allows.
	maxStaleness time.Duration
	// ttlOnly: no invalidations come here. readers come here, too, though upper layers are filled from it.
	ttlOnly, readers bool
	names            []string
}

// parseLayers of plan.nodes.
func parseLayers(text string) []layerPlan {
	var out []layerPlan
	for part := range strings.SplitSeq(text, ";") {
		head, nodes, _ := strings.Cut(part, ":")
		words := strings.Fields(head)
		l := layerPlan{name: words[0], ttl: time.Hour, names: strings.Fields(nodes)}
		for _, word := range words[1:] {
			setting, v, _ := strings.Cut(word, "=")
			d, _ := time.ParseDuration(v) // of the settings that are times
			switch setting {
			case "from":
				l.from = v
			case "ttl":
				l.ttl = d
			case "max_staleness":
				l.maxStaleness = d
			case "ttl_only":
				l.ttlOnly = true
			case "readers":
				l.readers = true
			default:
				panic("no setting of a layer: " + word)
			}
		}
		out = append(out, l)
	}
	return out
}

// Shops of which there are several.
const (
	three    = "l2: a b c"
	pair     = "l2: a b"
	five     = "l2: a b c d e"
	twoTiers = "l1 ttl=2m from=l2: a b c; l2 readers=1: x y"
	oneBelow = "l1 ttl=2m from=l2: a b c; l2: x"
)

// wanted bounds what comes of a plan, in ordinary runs and in soaks. Where nothing is said, nothing is allowed.
type wanted struct {
	// told is the share of incidents that are told at least; silent and convicted are the shares of incidents that may go
	// unnoticed, and of compared copies that may be convicted although they are right.
	told, silent, convicted float64
	// healthy: no copy may be stale, and no key divergent.
	healthy bool
}

// calm: no incident is expected.
func (w wanted) calm() bool { return w.told == 0 && w.silent == 0 }

// twoWrites between two samplings are seen at once, so that nobody can tell which is the later one, and the majority decides.
const twoWrites = 0.005

var healthy = wanted{healthy: true}

var plans = []plan{
	// Nothing goes wrong.
	{name: "healthy", what: "Three caches that readers fill, and invalidations.", nodes: three, wanted: healthy},
	{name: "healthy-versions", what: "The same, with versions.", nodes: three, versions: true, wanted: healthy},
	{name: "healthy-pushes", what: "Writers set the new value in three caches.", nodes: three, pushes: true, wanted: healthy},
	{name: "healthy-pushes-versions", what: "The same, with versions.", nodes: three, pushes: true, versions: true, wanted: healthy},
	{name: "healthy-tiers", what: "Three L1s are filled from two L2s.", nodes: twoTiers, wanted: healthy},
	{name: "healthy-tiers-versions", what: "The same, with versions; who writes keeps the value in its L1.", nodes: twoTiers, versions: true, writerKeeps: true, wanted: healthy},
	{name: "hot-keys", what: "A write each 2 s and a hundred reads a second of each key.", nodes: three, writes: 2 * time.Second, reads: 30 * time.Millisecond, lag: 6 * time.Millisecond, wanted: healthy},
	{name: "hot-keys-pushed", what: "The same, with versions that writers set.", nodes: three, writes: 2 * time.Second, pushes: true, versions: true, lag: 6 * time.Millisecond, wanted: healthy},
	{name: "replicas", what: "A primary and two replicas, 30 ms behind.", nodes: "l2: p r<p s<p", replicaLag: 30 * time.Millisecond, wanted: healthy},
	{name: "replicas-versions", what: "The same, with versions, pushed.", nodes: "l2: p r<p s<p", replicaLag: 30 * time.Millisecond, versions: true, pushes: true, wanted: healthy},
	{name: "replicas-beside", what: "A primary with a replica 30 ms behind, and two other nodes.", nodes: "l2: p r<p a b", replicaLag: 30 * time.Millisecond, wanted: healthy},
	{name: "evictions", what: "Caches of a minute that evict.", nodes: "l2 ttl=1m: a b c", evictions: 5 * time.Second, wanted: healthy},
	{name: "restarts", what: "Nodes restart and keep nothing.", nodes: three, versions: true, restarts: 3 * time.Minute, wanted: healthy},
	{name: "deployments", what: "Nodes are replaced by new ones.", nodes: twoTiers, versions: true, replacements: 2 * time.Minute, wanted: healthy},
	{name: "exporter-restarts", what: "The exporter restarts.", nodes: three, versions: true, exporterRestarts: 2 * time.Minute, wanted: healthy},
	{name: "scaled-down", what: "Nodes are replaced, and the old ones answer for 5 min more.", nodes: three, replacements: 4 * time.Minute, lingers: 5 * time.Minute, wanted: wanted{}},
	{name: "scaled-down-versions", what: "The same, with versions.", nodes: three, versions: true, replacements: 4 * time.Minute, lingers: 5 * time.Minute, wanted: wanted{}},
	{name: "fast-writes", what: "Two writes a second to each key, set in three caches.", nodes: three, writes: 500 * time.Millisecond, pushes: true, wanted: wanted{}},
	{name: "fast-writes-versions", what: "The same, with versions.", nodes: three, versions: true, writes: 500 * time.Millisecond, pushes: true, wanted: wanted{}},
	{name: "clocks", what: "Versions are times.", nodes: three, clocks: true, wanted: healthy},
	{name: "bursts", what: "Whenever the exporter reads, five writes come within 45 ms, and are everywhere a millisecond later.", nodes: three, pushes: true, burst: 5, answers: 10 * time.Millisecond, lag: 500 * time.Microsecond, spread: 500 * time.Microsecond, wanted: wanted{}},
	{name: "bursts-replicas", what: "The same to a primary with a replica.", nodes: "l2: p r<p", pushes: true, burst: 5, answers: 10 * time.Millisecond, lag: 200 * time.Microsecond, spread: 100 * time.Microsecond, replicaLag: 200 * time.Microsecond, wanted: wanted{}},
	{name: "made-anew", what: "Things are deleted and made anew, with versions from 1.", nodes: three, versions: true, deletes: 0.3, versionsBeginAnew: true, wanted: healthy},
	{name: "origin", what: "The database is asked.", nodes: three, origin: true, wanted: healthy},
	{name: "origin-versions", what: "A replica of the database is asked, 2 s behind; with versions.", nodes: three, versions: true, origin: true, originLag: 2 * time.Second, maxLag: 10 * time.Second, wanted: healthy},
	{name: "origin-lags", what: "The same, without versions.", nodes: three, origin: true, originLag: 2 * time.Second, maxLag: 10 * time.Second, wanted: healthy},

	{name: "origin-lags-deletes", what: "The same, and things are deleted and made anew.", nodes: three, origin: true, deletes: 0.3, originLag: 2 * time.Second, maxLag: 10 * time.Second, wanted: healthy},

	// Invalidations miss nodes.
	{name: "missed", what: "One node of three misses 3% of invalidations.", nodes: three, misses: map[string]float64{"c": 0.03}, wanted: wanted{told: 1}},
	{name: "missed-slow", what: "The same, and invalidations take 6 s at most.", nodes: three, lag: time.Second, spread: 5 * time.Second, misses: map[string]float64{"c": 0.03}, wanted: wanted{told: 1, convicted: twoWrites}},
	{name: "missed-slow-versions", what: "The same, with versions.", nodes: three, versions: true, lag: time.Second, spread: 5 * time.Second, misses: map[string]float64{"c": 0.03}, wanted: wanted{told: 1}},
	{name: "missed-everywhere", what: "Each of five nodes misses 2%.", nodes: five, lag: time.Second, spread: 5 * time.Second, misses: map[string]float64{"a": 0.02, "b": 0.02, "c": 0.02, "d": 0.02, "e": 0.02}, wanted: wanted{told: 1, convicted: twoWrites}},
	{name: "missed-by-one-of-two", what: "One node of two misses 5%.", nodes: pair, misses: map[string]float64{"b": 0.05}, wanted: wanted{told: 1}},
	{name: "missed-by-one-of-two-versions", what: "The same, with versions.", nodes: pair, versions: true, misses: map[string]float64{"b": 0.05}, wanted: wanted{told: 1}},
	{name: "missed-delete", what: "Things are deleted and made anew, with versions from 1; one node misses 5%.", nodes: three, versions: true, deletes: 0.3, versionsBeginAnew: true, misses: map[string]float64{"c": 0.05}, wanted: wanted{told: 0.7, silent: 0.3}},
	{name: "missed-delete-origin", what: "Things are deleted; one node misses 10%; a database is asked that may lag for 10 min, and lags 2 s; with versions.", nodes: three, versions: true, deletes: 0.5, origin: true, originLag: 2 * time.Second, maxLag: 10 * time.Minute, misses: map[string]float64{"c": 0.1}, wanted: wanted{told: 0.7, silent: 0.3}},
	{name: "untold", what: "A path of the application tells no cache of 3% of writes; the database is asked.", nodes: three, origin: true, untold: 0.03, wanted: wanted{told: 1}},
	{name: "untold-versions", what: "The same, with versions.", nodes: three, versions: true, origin: true, untold: 0.03, wanted: wanted{told: 1}},
	{name: "untold-unasked", what: "The same, and nobody asks the database: beyond any comparison.", nodes: three, versions: true, untold: 0.03, wanted: wanted{silent: 1}},
	{name: "l2-missed", what: "L1s are filled from two L2s, of which one misses 5%; with versions.", nodes: twoTiers, versions: true, misses: map[string]float64{"x": 0.05}, wanted: wanted{told: 0.95}},
	{name: "l2-missed-unversioned", what: "The same, without versions.", nodes: twoTiers, misses: map[string]float64{"x": 0.05}, wanted: wanted{told: 0.9, convicted: twoWrites}},
	{name: "l2-missed-cold", what: "The same, with versions, short TTLs and few readers.", nodes: "l1 ttl=1m from=l2: a b c; l2 ttl=4m readers=1: x y", versions: true, reads: time.Minute, writes: 5 * time.Minute, misses: map[string]float64{"x": 0.1}, wanted: wanted{told: 0.9, silent: 0.1}},
	{name: "l2-missed-by-all", what: "L1s are filled from one L2 that misses 5%; who writes keeps the value in its L1; with versions.", nodes: oneBelow, versions: true, writerKeeps: true, misses: map[string]float64{"x": 0.05}, wanted: wanted{told: 0.95}},
	{name: "l2-missed-by-all-unversioned", what: "The same, without versions.", nodes: oneBelow, writerKeeps: true, misses: map[string]float64{"x": 0.05}, wanted: wanted{told: 0.2, silent: 0.5, convicted: twoWrites}},
	{name: "l2-missed-pushed", what: "Writers set the new value in L1s and in one L2, which misses 10%, and of which the L1s are filled later; with versions.", nodes: oneBelow, versions: true, pushes: true, writes: 10 * time.Minute, misses: map[string]float64{"x": 0.1}, wanted: wanted{told: 0.95}},
	{name: "ttl-only", what: "L1s know TTLs of a minute alone, as max_staleness says; the L2 misses nothing.", nodes: "l1 ttl=1m max_staleness=1m ttl_only=1 from=l2: a b c; l2: x y", wanted: wanted{}},
	{name: "queue-lag", what: "Invalidations take up to 25 s, to one node longer than to another, as max_staleness says.", nodes: "l2 max_staleness=30s: a b c", lag: 5 * time.Second, spread: 20 * time.Second, wanted: wanted{convicted: twoWrites}},
	{name: "queue-lag-versions", what: "The same, with versions.", nodes: "l2 max_staleness=30s: a b c", lag: 5 * time.Second, spread: 20 * time.Second, versions: true, wanted: wanted{}},
	{name: "lax", what: "Two layers of edges know TTLs of 5 min alone, as max_staleness says; the L2 misses nothing.", nodes: "edge ttl=5m max_staleness=5m ttl_only=1 from=l2: e f; l1 ttl=5m max_staleness=5m ttl_only=1 from=l2: a b; l2 readers=1: x", wanted: wanted{}},

	{name: "clocks-missed", what: "Versions are times, of which 20% are 2 h ahead; one node misses 5%.", nodes: three, clocks: true, clockAhead: 0.2, misses: map[string]float64{"c": 0.05}, wanted: wanted{told: 0.9}},
	{name: "restarts-missed", what: "Nodes restart and keep nothing, and one misses 5%; with versions.", nodes: three, versions: true, restarts: 3 * time.Minute, misses: map[string]float64{"c": 0.05}, wanted: wanted{told: 0.9}},
	{name: "deployments-missed", what: "Nodes are replaced, and one misses 5%; with versions.", nodes: three, versions: true, replacements: 3 * time.Minute, misses: map[string]float64{"c": 0.05}, wanted: wanted{told: 0.9}},
	{name: "replicas-missed", what: "Two primaries with a replica each; one of them misses 5%.", nodes: "l2: p r<p q s<q", replicaLag: 5 * time.Millisecond, misses: map[string]float64{"q": 0.05}, wanted: wanted{told: 1}},

	{name: "lax-missed", what: "Two layers of edges that may be stale for 2 min are so for 15 min; the exporter restarts.", exporterRestarts: 10 * time.Minute, nodes: "edge ttl=15m max_staleness=2m ttl_only=1 from=l2: e f; l1 ttl=15m max_staleness=2m ttl_only=1 from=l2: a b; l2 readers=1: x", wanted: wanted{told: 0.9}},

	// The network.
	{name: "partition", what: "Two nodes of five are cut off for 10 min, with the exporter on their side; it still reaches one of the others.", nodes: five, partition: partition{30 * time.Minute, 10 * time.Minute, "a b", "d e"}, wanted: wanted{told: 1}},
	{name: "partition-versions", what: "The same, with versions.", nodes: five, versions: true, partition: partition{30 * time.Minute, 10 * time.Minute, "a b", "d e"}, wanted: wanted{told: 1}},
	{name: "partition-seen", what: "Two nodes of five are cut off for 10 min, and the exporter reaches all.", nodes: five, partition: partition{30 * time.Minute, 10 * time.Minute, "a b", ""}, wanted: wanted{told: 1}},
	{name: "partition-right-side", what: "Two nodes of five are cut off for 10 min from the application and from the exporter.", nodes: five, partition: partition{30 * time.Minute, 10 * time.Minute, "a b", "a b"}, wanted: wanted{told: 1}},
	{name: "frozen-replica", what: "Nothing from its primary reaches a replica for 10 min.", nodes: "l2: p r<p a", replicaLag: 5 * time.Millisecond, freezes: freeze{30 * time.Minute, 10 * time.Minute, "r"}, wanted: wanted{told: 1}},

	// Old values are set once more.
	{name: "late-write", what: "The old value of 5% of writes is set again on one node; with versions.", nodes: three, versions: true, lateWrites: 0.05, lateOn: 1, wanted: wanted{told: 1}},
	{name: "late-writes", what: "The old value of 5% of writes is set again on two nodes; with versions.", nodes: three, versions: true, lateWrites: 0.05, lateOn: 2, wanted: wanted{told: 0.85, convicted: twoWrites}},
	{name: "late-writes-unversioned", what: "The same, without versions.", nodes: three, lateWrites: 0.05, lateOn: 2, wanted: wanted{told: 0.9, convicted: twoWrites}},
	{name: "late-writes-pair", what: "The old value of 5% of writes is set again on one node of two; with versions.", nodes: pair, versions: true, lateWrites: 0.05, lateOn: 1, wanted: wanted{told: 1}},
	{name: "written-back", what: "Within 10 min the old value of a third of writes is set again on one node of three, with few readers: mostly there is one copy, or none; with versions.", nodes: "l2 ttl=3m: a b c", versions: true, reads: 3 * time.Minute, writes: 10 * time.Minute, lateWrites: 0.33, lateOn: 1, lateBy: 10 * time.Minute, wanted: wanted{told: 0.5, silent: 0.5}},
	{name: "late-fills", what: "A tenth of fills take seconds.", nodes: three, lateFills: 0.1, wanted: wanted{told: 0.9, convicted: twoWrites}},
	{name: "late-fills-versions", what: "The same, with versions.", nodes: three, versions: true, lateFills: 0.1, wanted: wanted{told: 0.9}},

	// The database goes back.
	{name: "restore", what: "The database is restored from 10 min ago; it is asked; with versions.", nodes: three, versions: true, origin: true, restores: 30 * time.Minute, restoredFrom: 10 * time.Minute, wanted: wanted{told: 1}},
	{name: "restore-unversioned", what: "The same, without versions.", nodes: three, origin: true, restores: 30 * time.Minute, restoredFrom: 10 * time.Minute, wanted: wanted{told: 1}},
	{name: "restore-unasked", what: "The same, with versions, and nobody asks it.", nodes: three, versions: true, restores: 30 * time.Minute, restoredFrom: 10 * time.Minute, wanted: wanted{silent: 1, convicted: 0.01}},
	{name: "restore-anew", what: "The database is restored from 10 min ago, and all caches are new ones; with versions.", nodes: three, versions: true, restores: 30 * time.Minute, restoredFrom: 10 * time.Minute, anew: true, wanted: wanted{convicted: 0.005}},
	{name: "rolled-back", what: "5% of writes are rolled back after caches were filled; the database is asked; with versions.", nodes: three, versions: true, origin: true, rolledBack: 0.05, wanted: wanted{told: 1}},
}

// withDefaults is the plan with what most shops have.
func (p plan) withDefaults() *plan {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&p.writes, 3*time.Minute)
	set(&p.reads, 5*time.Second)
	set(&p.lag, 15*time.Millisecond)
	set(&p.answers, 2*time.Millisecond)
	set(&p.spread, 3*time.Millisecond)
	set(&p.lateBy, 20*time.Second)
	return &p
}
