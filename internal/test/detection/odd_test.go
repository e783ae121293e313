package detection

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// oddReplies is the cluster of TestOddReplies.
const oddReplies = "odd-replies"

// oddFor is how long odd servers are watched: half an hour at the usual speed.
func oddFor() time.Duration { return 30 * time.Minute / factor }

// oddity is one kind of odd things that real servers say. None of them is an incident.
type oddity struct {
	number int
	what   string
	// met: each of these queries gives something, or the odd thing was not there or was not understood. [all] is the half hour,
	// [before] what came before it; mostly is the median, for a busy machine may miss a node now and then.
	met []string
	// tells: alerts that are right about it; nothing else may page.
	tells []right
}

// right is an alert that an oddity should bring about, with a label that tells of what. It may page.
type right struct {
	alert, label, value, why string
}

var oddities = []oddity{
	{
		number: 1, what: "a dead replica of a Redis Cluster that some of its nodes have forgotten, and one that some know by gossip alone, without its primary",
		met: []string{
			`max_over_time(cacheinv_cluster_views{group="forgotten"}[all]) == 1`, `max_over_time(cacheinv_cluster_views{group="by-gossip"}[all]) == 1`,
			`mostly(cacheinv_cluster_ok{group="forgotten"}[all]) == 1`, `mostly(cacheinv_cluster_ok{group="by-gossip"}[all]) == 1`,
			`cacheinv_group_unreached_addresses{group="forgotten"} == 1`, `cacheinv_group_unreached_addresses{group="by-gossip"} == 1`,
			`cacheinv_group_nodes{group="forgotten"} == 5`, `cacheinv_group_nodes{group="by-gossip"} == 3`,
		},
	},
	{
		number: 2, what: "CLUSTER SHARDS and CLUSTER NODES with ? or a port alone where a node's address should be",
		met: []string{
			`cacheinv_group_nodes{group="unknown"} == 3`, `mostly(cacheinv_cluster_ok{group="unknown"}[all]) == 1`,
			`cacheinv_group_nodes{group="garbled"} == 3`, `mostly(cacheinv_cluster_ok{group="garbled"}[all]) == 1`,
			`max_over_time(cacheinv_cluster_views{group="garbled"}[all]) == 1`,
		},
	},
	{
		number: 3, what: "a server without run_id (Dragonfly) under two addresses",
		met: []string{`cacheinv_group_nodes{group="dragonfly"} == 1`, `max_over_time(cacheinv_layer_masters{group="dragonfly"}[all]) == 1`},
	},
	{
		number: 4, what: "addresses that are announced and that nobody reaches: s_down,slave,disconnected of Sentinel, a container's own network, Valkey's rdb-channel",
		met: []string{
			`cacheinv_group_unreached_addresses{group="watched"} == 1`, `cacheinv_group_nodes{group="watched"} == 2`,
			`cacheinv_group_unreached_addresses{group="docker"} == 1`, `cacheinv_group_nodes{group="docker"} == 2`,
			`cacheinv_group_unreached_addresses{group="valkey"} == 1`, `cacheinv_group_nodes{group="valkey"} == 1`,
		},
	},
	{
		number: 5, what: "a line in CLUSTER NODES that nobody can read",
		met: []string{`mostly(cacheinv_cluster_ok{group="scribbled"}[all]) == 1`, `max_over_time(cacheinv_cluster_views{group="scribbled"}[all]) == 1`},
	},
	{
		number: 6, what: "the roles active-replica and replica, and a replica of several primaries (KeyDB, old servers)",
		met: []string{
			`count(cacheinv_node_info{group="keydb",role="replica"}) == 3`, `count(cacheinv_node_info{group="old",role="replica"}) == 1`,
			`max_over_time(cacheinv_layer_masters{group="old"}[all]) == 1`, `sum(mostly(cacheinv_replication_link_up{layer=~"roles|old-roles"}[all])) == 4`,
		},
	},
	{
		number: 7, what: "a replica that stands still, and that its primary calls online",
		met: []string{
			`cacheinv_replication_lag_seconds{node="frozen-replica"} > 30`, `cacheinv_replication_lag_seconds{node="stands"} > 30`,
			`cacheinv_node_up{node="frozen-replica"} == 0`, `mostly(cacheinv_node_up{node="stands"}[all]) == 1`,
		},
		tells: []right{
			{"CacheInvalReplicationFrozen", "node", "stands", "whoever reads from it is given old data"},
			{"CacheInvalNodeUnreachable", "node", "frozen-replica", "it answers nobody"},
		},
	},
	{
		number: 8, what: "a TTL of 19 digits, INFO of more than 1 MiB, a key's name of more than 1 MiB in SCAN",
		met: []string{
			`cacheinv_canary_ttl_over_limit_copies{node="eternal"} == 1`, `cacheinv_canary_ttl_over_limit_copies{node="talkative"} == 7`,
			`cacheinv_node_hits_total{node="talkative"} == 7`, `cacheinv_canary_sampled_keys{class="long"} > 0`,
		},
	},
	{
		number: 9, what: "a queue's connection that is refused its login or its database, or hears a last word",
		met: []string{
			`max_over_time(cacheinv_queue_depth{queue="refused-login"}[before]) == 3`, `max_over_time(cacheinv_queue_depth{queue="refused-database"}[before]) == 3`,
			`count(cacheinv_queue_up{queue=~"refused-.+"} == 0) == 3`, `absent(cacheinv_queue_depth{queue=~"refused-.+"})`,
			`sum(cacheinv_node_refused{layer="refused"}) == 3`,
		},
		tells: []right{
			{"CacheInvalQueueDown", "queue", "refused-login", "nobody knows what waits in it"},
			{"CacheInvalQueueDown", "queue", "refused-database", "nobody knows what waits in it"},
			{"CacheInvalQueueDown", "queue", "refused-full", "nobody knows what waits in it"},
		},
	},
	{
		number: 10, what: "a server that refuses INFO",
		met: []string{
			`mostly(cacheinv_node_up{node="no-account"}[all]) == 1`, `mostly(cacheinv_canary_copies{node="no-account",state="fresh"}[all]) == 6`,
			`absent(cacheinv_node_items{node="no-account"})`,
		},
	},
	{
		number: 11, what: "nothing that could be learned: what may not be listed, read or asked, and a protocol that we do not speak",
		met: []string{
			`cacheinv_canary_copies{node="no-listing",state="fresh"} == 6`, `cacheinv_canary_copies{node="no-copies",state="error"} == 6`,
			`cacheinv_canary_copies{node="no-rights",state="error"} == 6`, `cacheinv_canary_copies{node="binary",state="error"} == 6`,
			`sum(cacheinv_node_refused{layer="unlearned"}) == 3`, `cacheinv_node_up{node=~"no-view/.+"} == 1`, `cacheinv_node_refused{node=~"locked/.+"} == 1`,
			`absent(cacheinv_cluster_ok{group="no-view"})`, `absent(cacheinv_cluster_ok{group="locked"})`,
			`cacheinv_collector_success{collector="canary"} == 0`,
		},
	},
	{
		number: 12, what: "what a server counts and nobody can process: a transaction's marker, a trimmed stream, pending entries that are deleted",
		met: []string{
			`sum(cacheinv_consumer_group_lag{queue="marker"}) == 1`, `max_over_time(cacheinv_queue_depth{queue="marker"}[all]) == 0`,
			`sum(cacheinv_consumer_group_lag{queue="trimmed"}) == 10000`, `max_over_time(cacheinv_queue_depth{queue="trimmed"}[all]) == 0`,
			`cacheinv_consumer_group_pending_messages{queue="deleted"} == 10`, `max_over_time(cacheinv_queue_depth{queue="deleted"}[all]) == 0`,
		},
	},
	{
		number: 13, what: "a stream's group that never read, of which the server does not know what it has read, and one of which it does not know the lag",
		met: []string{
			`max_over_time(cacheinv_queue_depth{queue="never-read"}[all]) == 0`, `mostly(cacheinv_queue_up{queue="never-read"}[all]) == 1`,
			`min_over_time(cacheinv_queue_depth{queue="acknowledged"}[all]) > 0`, `max_over_time(cacheinv_queue_depth{queue="acknowledged"}[all]) < 100`,
			`max_over_time(cacheinv_consumer_group_stalled{queue="acknowledged"}[all]) == 0`, `absent(cacheinv_consumer_group_processed_total{queue="acknowledged"})`,
		},
	},
	{
		number: 14, what: "a group of Kafka that has committed nothing, with messages in the log and without",
		met: []string{
			`cacheinv_consumer_group_uncommitted_partitions{queue="uncommitted"} == 2`, `cacheinv_consumer_group_uncommitted_partitions{queue="empty"} == 2`,
			`mostly(cacheinv_queue_up{queue=~"uncommitted|empty"}[all]) == 1`, `absent(cacheinv_queue_depth{queue=~"uncommitted|empty"})`,
			`cacheinv_cause_score{cause="queue"} > 0`,
		},
	},
	{
		number: 15, what: "a group for each instance, of which those of former instances are left",
		met: []string{
			`cacheinv_queue_leftover_groups{queue="per-instance"} == 20`, `cacheinv_queue_leftover_groups{queue="per-pod"} == 105`,
			`sum(cacheinv_consumer_group_lag{queue="per-instance",group="pod-000"}) > 499`, `max_over_time(cacheinv_queue_depth{queue="per-instance"}[all]) < 400`,
			`increase(cacheinv_consumer_group_processed_total{queue="per-instance",group="pod-live"}[all]) > 100`,
		},
	},
	{
		number: 16, what: "times of messages in seconds, micro- and nanoseconds or as text, and paths of message that find nothing",
		met: []string{
			`max(max_over_time(cacheinv_queue_oldest_message_age_seconds{queue=~"units|seconds|microseconds|nanoseconds|text"}[all])) < 30`,
			`count(max_over_time(cacheinv_queue_oldest_message_age_seconds{queue=~"units|seconds|microseconds|nanoseconds|text"}[all]) > 0) == 5`,
			`cacheinv_queue_unreadable_messages{queue="elsewhere",part="key"} > 30`, `absent(cacheinv_queue_oldest_message_age_seconds{queue="elsewhere"})`,
		},
	},
	{
		number: 17, what: "a list that keeps up: as many messages come as are taken",
		met: []string{
			`min_over_time(cacheinv_queue_depth{queue="milliseconds"}[all]) > 20`, `max_over_time(cacheinv_queue_depth{queue="milliseconds"}[all]) < 80`,
			`max_over_time(cacheinv_queue_stalled{queue="milliseconds"}[all]) == 0`,
			`max_over_time(cacheinv_queue_oldest_message_age_seconds{queue="milliseconds"}[all]) < 30`,
		},
	},
}

// around is what must hold of all that is not odd, and of what is.
var around = []string{
	`count(mostly(cacheinv_node_up{node=~"(no-run-id|odd-line|frozen|long|refused|no-info|unlearned)-[0-9]"}[all]) == 1) == 15`,
	`max(max_over_time(cacheinv_canary_overdue_copies{}[all])) == 0`,
	`sum(max_over_time(cacheinv_canary_copies{state=~"stale|undecided"}[all])) == 0`,
	`sum(max_over_time(cacheinv_canary_survivor_copies{}[all])) == 0`,
	`max(max_over_time(cacheinv_consumer_group_stalled{}[all])) == 0`,
	`max(max_over_time(cacheinv_queue_stalled{}[all])) == 0`,
	`sum(cacheinv_queue_lost_messages_total{}) == 0`,
}

// openOddities opens the servers.
func openOddities(t *testing.T) *oddEstate {
	t.Helper()
	e := &oddEstate{}
	for _, open := range []func(*testing.T, *oddEstate){
		deadReplica, endpoints, withoutRunID, announced, oddLine, oddRoles, frozen, longReplies, refusedQueues, infoRefused, nothingLearned,
	} {
		open(t, e)
	}
	r, k := queuesNode(t, e), servers.Kafka(t, "transaction.state.log.num.partitions=1")
	nothingWaits(t, e, k, r)
	groupsOfFewWords(t, e, r)
	withoutCommits(t, e, k)
	onePerInstance(t, e, k, r)
	oddTimes(t, e, k, r)
	return e
}

// TestOddReplies: for half an hour of the usual speed one exporter watches servers that say odd things. Nothing pages but what is
// right about one of them.
func TestOddReplies(t *testing.T) {
	t.Parallel() // most of it is waiting
	s := openStation(t)
	e := openOddities(t)
	opened := time.Now()
	exporter := s.startExporter(t, oddReplies, estate{start: func(t *testing.T) *servers.Process { return s.startWarm(t, e.config()) }})
	await(t, "scrapes", func() bool { return s.scrapes(t, oddReplies, opened, time.Now(), false) >= healthyScrapes/2 })
	began := time.Now()
	for _, happens := range e.later {
		happens()
	}
	await(t, "half an hour", func() bool { return s.scrapes(t, oddReplies, began, time.Now(), true) >= int(oddFor()/interval) })
	for _, still := range e.last {
		still(t)
	}
	w := oddWatch{s, opened, began}
	w.met(t)
	w.pages(t)
	if t.Failed() {
		t.Log(s.evidence(t, oddReplies, opened) + exporter.Output())
	}
}

// startWarm starts an exporter, and lets it ask everything once in the time that a scrape has at the usual speed.
func (s *station) startWarm(t *testing.T, config string) *servers.Process {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cacheinv.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := servers.Exporter(t, s.binary, servers.FreeAddr(t), s.flags(path)...)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status, err)
	}
	return p
}

// oddWatch looks back at what Prometheus has seen.
type oddWatch struct {
	*station
	// opened and began: the exporter, and the half hour.
	opened, began time.Time
}

// met checks that each odd thing was there and understood, and that nothing else was harmed.
func (w oddWatch) met(t *testing.T) {
	t.Helper()
	for _, query := range around {
		w.holds(t, "what is not odd", query)
	}
	for _, o := range oddities {
		for _, query := range o.met {
			w.holds(t, fmt.Sprintf("%d, %s", o.number, o.what), query)
		}
	}
}

// holds checks that a query gives something, now or soon: the last scrape may have missed a server.
func (w oddWatch) holds(t *testing.T, of, query string) {
	t.Helper()
	for end := time.Now().Add(10 * interval); ; time.Sleep(interval / 2) {
		now := time.Now()
		if got := w.prom.Range(t, w.expand(query, now), now, now, time.Second); len(got) > 0 {
			return
		}
		if now.After(end) {
			t.Errorf("%s: %s is nothing", of, query)
			return
		}
	}
}

func (w oddWatch) expand(query string, now time.Time) string {
	all, before := int(now.Sub(w.began).Seconds()), int(w.began.Sub(w.opened).Seconds())
	return strings.NewReplacer("mostly(", "quantile_over_time(0.5, ", "[all]", fmt.Sprintf("[%ds]", all),
		"[before]", fmt.Sprintf("[%ds] offset %ds", before, all+1), "{}", fmt.Sprintf("{cluster=%q}", oddReplies),
		"{", fmt.Sprintf("{cluster=%q,", oddReplies)).Replace(query)
}

// pages checks that what was right about something odd fired, and that nothing else paged, of whatever cluster.
func (w oddWatch) pages(t *testing.T) {
	t.Helper()
	missing := map[right]string{}
	for _, o := range oddities {
		for _, r := range o.tells {
			missing[r] = o.what
		}
	}
	rights := slices.Collect(maps.Keys(missing))
	var tickets []model.Metric
	for _, alert := range w.fired(t) {
		i := slices.IndexFunc(rights, func(r right) bool { return r.is(alert) })
		switch {
		case i >= 0:
			delete(missing, rights[i])
		case alert["severity"] == "page":
			t.Errorf("it pages: %v", alert)
		default:
			tickets = append(tickets, alert)
		}
	}
	for r, what := range missing {
		t.Errorf("%s: no %s of %s, though %s", what, r.alert, r.value, r.why)
	}
	t.Logf("tickets: %v", tickets)
}

func (r right) is(alert model.Metric) bool {
	return string(alert["alertname"]) == r.alert && string(alert[model.LabelName(r.label)]) == r.value
}

// fired gives the alerts that have fired since the exporter was opened.
func (w oddWatch) fired(t *testing.T) (alerts []model.Metric) {
	t.Helper()
	for _, series := range w.prom.Samples(t, fmt.Sprintf(`ALERTS{alertstate="firing",severity!="none"}[%ds]`, int(time.Since(w.opened).Seconds())+1)) {
		for _, l := range []model.LabelName{"__name__", "alertstate", "job", "instance", "family"} {
			delete(series.Metric, l)
		}
		alerts = append(alerts, series.Metric)
	}
	return alerts
}

// TestOddRepliesPage: docs/detection.md has the table.
func TestOddRepliesPage(t *testing.T) {
	var b strings.Builder
	b.WriteString("| | what servers say | what rightly pages, or is a ticket |\n|---|---|---|\n")
	for _, o := range oddities {
		var told []string
		for _, r := range o.tells {
			told = append(told, fmt.Sprintf("%s of `%s`: %s", names([]string{r.alert}), r.value, r.why))
		}
		if told == nil {
			told = []string{"nothing"}
		}
		fmt.Fprintf(&b, "| %d | %s | %s |\n", o.number, o.what, strings.Join(told, "; "))
	}
	writeDetection(t, "odd replies", b.String())
	page, err := os.ReadFile(detection)
	if err != nil {
		t.Fatal(err)
	}
	if from, to := marks("odd replies"); !strings.Contains(string(page), from+b.String()+to) {
		t.Errorf("%s does not say what the test does; run go test ./internal/test/detection -run TestOddRepliesPage -update", detection)
	}
}
