package collector

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// played is what a collector makes of one result.
type played struct {
	metrics []prometheus.Metric
}

// known is a sampling whose result is known.
func known(r *consistency.Result) *Sampling {
	return &Sampling{read: func() *consistency.Result { return r }}
}

func play(t *testing.T, c Collector, result *consistency.Result, wantErr bool) *played {
	t.Helper()
	ch := make(chan prometheus.Metric, 10000)
	if err := c.Update(t.Context(), known(result), ch); (err != nil) != wantErr {
		t.Errorf("error %v", err)
	}
	close(ch)
	p := &played{}
	for m := range ch {
		p.metrics = append(p.metrics, m)
	}
	return p
}

func (p *played) Describe(chan<- *prometheus.Desc) {}

func (p *played) Collect(ch chan<- prometheus.Metric) {
	for _, m := range p.metrics {
		ch <- m
	}
}

// compare with the exposition text in testdata.
func (p *played) compare(t *testing.T, file string) {
	t.Helper()
	want, err := os.Open("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = want.Close() }()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(p)
	if *update {
		text, err := testutil.CollectAndFormat(p, expfmt.TypeTextPlain, allNames()...)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("testdata/"+file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := testutil.GatherAndCompare(registry, want); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Error(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
}

func aClass() consistency.ClassResult {
	return consistency.ClassResult{
		Class:       "user_profile",
		Keys:        [verdict.NumReferences]int{verdict.ByOrigin: 2, verdict.ByVersion: 5},
		SampledKeys: 4,
		Nodes: []consistency.ClassNode{
			{
				Layer: "l2", Node: "redis-1", Read: true,
				Copies:    [verdict.NumStates]int{verdict.Fresh: 3, verdict.Stale: 2, verdict.Missing: 1, verdict.Undecided: 1},
				Reads:     [verdict.NumStates]uint64{verdict.Fresh: 300, verdict.Stale: 20, verdict.Missing: 10, verdict.Undecided: 1},
				Convicted: [verdict.NumReferences]int{verdict.ByVersion: 1, verdict.ByAge: 1},
				Overdue:   1, OverdueReads: 7, StaleWindows: [4]int{2, 1, 1, 0}, OldestStale: 400 * time.Second, VersionLag: 3, Unversioned: 4,
				Suppressed: [consistency.NumReasons]int{consistency.Restart: 1},
				Survivors:  2, Strays: 3, StraysRead: true, Immortal: 4, OverLimit: 5, TTLsRead: true,
			},
			{
				Layer: "l3", Node: "mc-1",
				Copies: [verdict.NumStates]int{verdict.Error: 7},
				Reads:  [verdict.NumStates]uint64{verdict.Fresh: 300, verdict.Error: 70},
			},
		},
		Layers: []consistency.ClassLayer{
			{Layer: "l2", TTLSkew: 1.5, TTLKnown: true, EndedEpisodes: []float64{3, 70}},
			{Layer: "l3"},
		},
		Divergent:        [4]int{2, 1, 0, 0},
		VersionConflicts: 1, VersionRegressions: 2, OriginBehind: 1, HasVersion: true, HasOrigin: true, VersionKind: "integer",
		OriginRequests: map[string]uint64{"ok": 10, "error": 1},
		KeyConsistent:  map[string]bool{"user:1:profile": true, "user:2:profile": false},
		Err:            errors.New("node mc-1: no answer"),
	}
}

func TestCanary(t *testing.T) {
	c := canaryCollector{episodes: newTimeToConsistency()}
	p := play(t, c, &consistency.Result{Classes: []consistency.ClassResult{aClass()}}, true)
	p.compare(t, "canary.prom")
}

// A class without versions and origin, with a time as version, with dotted ones, and one of which nothing was read.
func TestCanaryWithoutVersions(t *testing.T) {
	for name, tt := range map[string]struct {
		change  func(*consistency.ClassResult)
		present []string
		absent  []string
	}{
		"none": {
			func(r *consistency.ClassResult) { r.HasVersion, r.HasOrigin, r.VersionKind = false, false, "" }, nil,
			[]string{"version_lag_versions", "version_lag_seconds", "version_conflict_keys", "version_regressions_total", "origin_behind_keys", "cacheinv_origin_requests_total"},
		},
		"time":   {func(r *consistency.ClassResult) { r.VersionKind = "rfc3339" }, []string{"version_lag_seconds"}, []string{"version_lag_versions"}},
		"dotted": {func(r *consistency.ClassResult) { r.VersionKind = "dotted" }, []string{"version_conflict_keys"}, []string{"version_lag_versions", "version_lag_seconds"}},
		"a node that tells no TTLs": {
			func(r *consistency.ClassResult) { r.Nodes[0].TTLsRead = false },
			[]string{"survivor_copies", "stray_copies"},
			[]string{"immortal_copies", "ttl_over_limit_copies"},
		},
		"a node that holds but strays": {
			func(r *consistency.ClassResult) { r.Nodes[0].Read, r.Nodes[0].TTLsRead = false, false },
			[]string{"stray_copies"},
			[]string{"survivor_copies", "stale_copies", "immortal_copies"},
		},
		"nothing read": {
			func(r *consistency.ClassResult) { r.Nodes = r.Nodes[1:]; r.Layers = r.Layers[1:] },
			[]string{"canary_copies", "version_regressions_total", "time_to_consistency"},
			[]string{
				"stale_copies", "overdue_copies", "overdue_reads", "oldest_stale", "divergent_keys", "ttl_skew", "version_lag_versions",
				"version_conflict_keys", "convicted_copies", "survivor_copies", "stray_copies", "immortal_copies", "ttl_over_limit_copies",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := aClass()
			r.Err = nil
			tt.change(&r)
			p := play(t, canaryCollector{episodes: newTimeToConsistency()}, &consistency.Result{Classes: []consistency.ClassResult{r}}, false)
			text, err := testutil.CollectAndFormat(p, expfmt.TypeTextPlain, allNames()...)
			if err != nil {
				t.Fatal(err)
			}
			for _, family := range tt.present {
				if !strings.Contains(string(text), family) {
					t.Errorf("%s is absent", family)
				}
			}
			for _, family := range tt.absent {
				if strings.Contains(string(text), family) {
					t.Errorf("%s is there", family)
				}
			}
		})
	}
}

// Ended episodes are counted once, over samplings and reloads.
func TestTimeToConsistencyAccumulates(t *testing.T) {
	episodes := newTimeToConsistency()
	for range 2 {
		play(t, canaryCollector{episodes: episodes}, &consistency.Result{Classes: []consistency.ClassResult{aClass()}}, true)
	}
	p := play(t, canaryCollector{episodes: episodes}, &consistency.Result{Classes: []consistency.ClassResult{{
		Class: "user_profile", Layers: []consistency.ClassLayer{{Layer: "l2"}},
	}}}, false)
	text, err := testutil.CollectAndFormat(p, expfmt.TypeTextPlain, "cacheinv_canary_time_to_consistency_seconds")
	if err != nil {
		t.Fatal(err)
	}
	if want := `cacheinv_canary_time_to_consistency_seconds_count{class="user_profile",layer="l2"} 4`; !strings.Contains(string(text), want) {
		t.Errorf("no %s in\n%s", want, text)
	}
}

func count(v float64) probes.Count { return probes.Count{Value: v, Known: true} }

// member of the group pair.
func member(name string) probes.Identity {
	id := identityOf("l2", name, "redis")
	id.Group = "pair"
	_, id.Address, _ = strings.Cut(name, "/")
	return id
}

func TestNode(t *testing.T) {
	p := play(t, nodeCollector{}, &consistency.Result{
		Nodes: []consistency.NodeResult{
			{
				Identity: member("pair/10.0.0.1:6379"), Up: true, Took: 2 * time.Millisecond,
				Survey: probes.Survey{
					Version: "7.2.4", Role: "primary", EvictionPolicy: "allkeys-lru", Hits: count(100), Misses: count(10), Evicted: count(1),
					Expired: count(2), Items: count(50), MemoryUsed: count(1024), MemoryLimit: count(4096), UptimeSeconds: count(60), OwnHits: 40, OwnMisses: 4,
				},
			},
			{Identity: identityOf("l2", "redis-2", "redis"), Err: errors.New("connection refused"), Took: time.Second},
			{Identity: identityOf("l2", "redis-3", "redis"), Err: probes.Refusal(errors.New("AUTH was refused (WRONGPASS)")), Took: time.Second},
			{
				Identity: identityOf("edge", "pop", "http"), Up: true,
				Survey: probes.Survey{Unasked: true, Fills: 3, Version: "\xff"},
			},
		},
		Groups: []probes.NodeGroup{{Layer: "l2", Name: "pair", Nodes: []string{"pair/10.0.0.1:6379"}, Expected: 2}},
	}, true)
	p.compare(t, "node.prom")
}

func TestReplication(t *testing.T) {
	followed := &replicas{by: map[string]*replicaHistory{"forgotten": {}}}
	c := &replicationCollector{known: followed}
	follows := func(up bool) probes.Survey {
		return probes.Survey{Role: "replica", Replication: &probes.Replication{LinkUp: up, ReplID: "r", Offset: 60, HasOffset: true}}
	}
	primary := consistency.NodeResult{Identity: member("pair/p:1"), Up: true, Survey: probes.Survey{
		Role: "primary", Replication: &probes.Replication{ReplID: "r", Offset: 100, HasOffset: true, Replicas: []probes.Replica{{Address: "d:1", Online: true, Offset: 30, HasOffset: true}}},
	}}
	nodes := []consistency.NodeResult{
		primary,
		{Identity: member("pair/a:1"), Up: true, Survey: follows(true)},
		{Identity: member("pair/b:1"), Up: true, Survey: follows(false)},
		{Identity: member("pair/c:1"), Up: true, Survey: follows(true)},
		{Identity: identityOf("l3", "mc", "memcached"), Err: errors.New("not ours")},
	}
	play(t, c, &consistency.Result{Began: time.Unix(100, 0), Nodes: nodes}, false)
	if followed.by["forgotten"] != nil {
		t.Error("a node that is gone is remembered")
	}
	// c stops answering; d, which never did, is one that the primary lists.
	nodes[3] = consistency.NodeResult{Identity: member("pair/c:1"), Err: errors.New("timeout")}
	nodes = append(nodes, consistency.NodeResult{Identity: member("pair/d:1"), Err: errors.New("timeout")})
	began := time.Unix(100, 0)
	groups := []probes.NodeGroup{
		{Layer: "l2", Name: "pair", Replication: true},
		{Layer: "l2", Name: "well", Cluster: &probes.Cluster{Answered: 6, OK: true, Views: 1, Primaries: 1}},
		{Layer: "l2", Name: "cut", Cluster: &probes.Cluster{Answered: 6, Views: 2, Primaries: 2, ContestedSlots: 5461}},
		{Layer: "l2", Name: "dead", Cluster: &probes.Cluster{}},
		{Layer: "l2", Name: "closed", Cluster: &probes.Cluster{Refused: true}},
	}
	play(t, c, &consistency.Result{Began: began, Nodes: nodes, Groups: groups}, true)
	play(t, c, &consistency.Result{Began: began.Add(30 * time.Second), Nodes: nodes, Groups: groups}, true).compare(t, "replication.prom")
	var e diagnosis.Evidence
	c.AddEvidence(&e)
	if len(e.Replicas) != 4 || e.Replicas[0] != (diagnosis.Replica{
		Layer: "l2", Node: "pair/a:1", LinkUp: true, LagBytes: count(40), LagSeconds: count(30),
	}) {
		t.Errorf("evidence %+v", e.Replicas)
	}
}
