package alerts_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// firedRule is an alerting rule, as far as Alertmanager learns of it.
type firedRule struct {
	Alert       string
	Labels      map[string]string
	Annotations map[string]string
}

// firedRules reads every alert of the rule files.
func firedRules(t *testing.T) []firedRule {
	t.Helper()
	var fired []firedRule
	for _, r := range ruleFiles(t).Rules() {
		if r.Alert != "" {
			fired = append(fired, firedRule{Alert: r.Alert, Labels: r.Labels, Annotations: r.Annotations})
		}
	}
	if len(fired) < 30 {
		t.Fatalf("only %d alerts", len(fired))
	}
	return fired
}

// named gives the rule of an alert with a severity.
func named(t *testing.T, name, severity string) firedRule {
	t.Helper()
	for _, r := range firedRules(t) {
		if r.Alert == name && r.Labels["severity"] == severity {
			return r
		}
	}
	t.Fatalf("no rule %s with severity %s", name, severity)
	return firedRule{}
}

// fire makes the alert that Prometheus posts for a rule, with further labels as name, value.
func (r firedRule) fire(labels ...string) servers.Alert {
	a := servers.Alert{Labels: maps.Clone(r.Labels), Annotations: r.Annotations, StartsAt: time.Now()}
	a.Labels["alertname"] = r.Alert
	for i := 0; i < len(labels); i += 2 {
		a.Labels[labels[i]] = labels[i+1]
	}
	return a
}

// other is an alert of another product that has every other label like ours.
func other(name, severity, family string) firedRule { return kind(name, severity, family) }

// kind of alert, of ours where the name begins so: routes and inhibition go by these labels, not by what the rules ask.
func kind(name, severity, family string) firedRule {
	return firedRule{
		Alert: name, Labels: map[string]string{"severity": severity, "family": family},
		Annotations: map[string]string{"summary": name + " fires", "runbook_url": "https://books.test/" + name + ".md"},
	}
}

var (
	stalePage, staleTicket = kind("CacheInvalHighStaleDataRate", "page", "canary"), kind("CacheInvalStaleCopies", "ticket", "canary")
	stallPage, queueTicket = kind("CacheInvalConsumerStalled", "page", "queue"), kind("CacheInvalQueueBacklog", "ticket", "queue")
	backlogPage            = kind("CacheInvalQueueBacklog", "page", "queue")
	partitionPage          = kind("CacheInvalPartitionSuspected", "page", "node")
	layerPage, nodeTicket  = kind("CacheInvalLayerUnreachable", "page", "node"), kind("CacheInvalNodeUnreachable", "ticket", "node")
	failPage, failTicket   = kind("CacheInvalFailureRatio", "page", "invalidation"), kind("CacheInvalFailureRatio", "ticket", "invalidation")
	lostPage, lostTicket   = kind("CacheInvalProbeLost", "page", "invalidation"), kind("CacheInvalProbeLost", "ticket", "invalidation")
	driftPage, driftTicket = kind("CacheInvalVersionDrift", "page", "version"), kind("CacheInvalVersionDrift", "ticket", "version")
)

// amConfig writes alertmanager.yml with its template into a folder of the test, changed by change, and gives its path.
func amConfig(t *testing.T, change func(text string) string) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"alertmanager.yml", "cacheinv.tmpl"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if name == "alertmanager.yml" && change != nil {
			text = []byte(change(string(text)))
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "alertmanager.yml")
}

var (
	amTime    = regexp.MustCompile(`(group_wait|group_interval|repeat_interval): \S+`)
	amExample = regexp.MustCompile(`(?m)^#( {2,})`)
)

// quick sends to the test's receivers, without the waiting: what joins a group is told at the next tenth of a second.
func quick(r *servers.Receivers) func(string) string {
	return func(text string) string {
		text = amTime.ReplaceAllStringFunc(text, func(s string) string {
			switch name, value, _ := strings.Cut(s, ": "); {
			case name == "group_wait":
				return "group_wait: 100ms"
			case name == "group_interval":
				return "group_interval: 100ms"
			case value == "50s": // the watchdog's alone
				return "repeat_interval: 150ms"
			default:
				return "repeat_interval: 1h"
			}
		})
		// Where the file says nothing, half a minute is waited.
		text = strings.Replace(text, "\n  group_by:", "\n  group_wait: 100ms\n  group_interval: 100ms\n  group_by:", 1)
		return strings.ReplaceAll(text, "http://localhost:5001", r.URL)
	}
}

// never waits so long that nothing is sent.
func never(text string) string {
	return amTime.ReplaceAllStringFunc(text, func(s string) string {
		name, _, _ := strings.Cut(s, ": ")
		return name + ": 1h"
	})
}

func amtool(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("amtool", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("amtool %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// The file is right as it is, and with every example in use.
func TestAlertmanagerConfigIsValid(t *testing.T) {
	amtool(t, "check-config", "alertmanager.yml")
	var used int
	path := amConfig(t, func(text string) string {
		used = len(amExample.FindAllString(text, -1))
		return amExample.ReplaceAllString(text, "$1")
	})
	amtool(t, "check-config", path)
	if text, _ := os.ReadFile(path); used < 20 || !strings.Contains(string(text), "\n    pagerduty_configs:") {
		t.Errorf("%d lines of examples, none of them pagerduty_configs:\n%s", used, text)
	}
}

// As amtool, which people ask before they change a route, tells it.
func TestAlertmanagerRoutes(t *testing.T) {
	for _, tt := range []struct{ labels, receiver string }{
		{"alertname=CacheInvalSplitBrain severity=page family=node", "cacheinv-pager"},
		{"alertname=CacheInvalExporterDown severity=page family=exporter", "cacheinv-pager"},
		{"alertname=CacheInvalQueueBacklog severity=ticket family=queue", "cacheinv-tickets"},
		{"alertname=CacheInvalWatchdog severity=none family=exporter", "cacheinv-watchdog"},
		{"alertname=CacheInvalWatchdog severity=page", "cacheinv-watchdog"},
		{"alertname=CacheInvalMine severity=info", "cacheinv-info"},
		{"alertname=CacheInvalMine severity=none", "cacheinv-info"},
		{"alertname=CacheInvalMine severity=critical", "cacheinv-tickets"},
		{"alertname=CacheInvalMine", "cacheinv-tickets"},
		{"alertname=RedisDown severity=page family=queue", "default"},
		{"alertname=Watchdog severity=none", "default"},
		{"alertname=MyCacheInvalSplitBrain severity=page", "default"},
		{"alertname=CacheInval severity=page", "default"},
		{"severity=page family=queue", "default"},
	} {
		args := append([]string{"config", "routes", "test", "--config.file=alertmanager.yml"}, strings.Fields(tt.labels)...)
		if got := strings.TrimSpace(amtool(t, args...)); !strings.HasSuffix(got, tt.receiver) {
			t.Errorf("%s goes to %s, want %s", tt.labels, got, tt.receiver)
		}
	}
}

// receiverOf a rule's alert, by the contract.
func receiverOf(r firedRule) string {
	if !strings.HasPrefix(r.Alert, "CacheInval") {
		return "default"
	}
	if r.Alert == "CacheInvalWatchdog" {
		return "cacheinv-watchdog"
	}
	return map[string]string{"page": "cacheinv-pager", "ticket": "cacheinv-tickets", "info": "cacheinv-info"}[r.Labels["severity"]]
}

// mutes tells what the contract says of an alert that fires and another one of the same cluster and subject.
func mutes(source, target firedRule) bool {
	if !strings.HasPrefix(source.Alert, "CacheInval") || !strings.HasPrefix(target.Alert, "CacheInval") {
		return false
	}
	severity, family := target.Labels["severity"], target.Labels["family"]
	if source.Labels["severity"] == "page" && severity == "ticket" && source.Labels["family"] == family {
		return true
	}
	blind := source.Alert == "CacheInvalExporterDown" || source.Alert == "CacheInvalExporterAbsent"
	return blind && severity == "page" && family == "canary"
}

// kinds leaves one rule of each family and severity, and those whose name matters.
func kinds(rules []firedRule) []firedRule {
	var left []firedRule
	seen := map[string]bool{}
	for _, r := range rules {
		kind := r.Labels["severity"] + " " + r.Labels["family"]
		if strings.Contains(r.Alert, "Exporter") || r.Alert == "CacheInvalNothingChecked" || r.Alert == "CacheInvalWatchdog" {
			kind = r.Alert
		}
		if !seen[kind] {
			seen[kind], left = true, append(left, r)
		}
	}
	return left
}

// Every kind of alert with every other one, each pair in a cluster of its own: who is muted, who is not, and who gets it.
// Other products' alerts, which have the same labels but for the name, are among them on both sides.
func TestAlertmanagerMutesAndRoutesEveryPair(t *testing.T) {
	servers.NoLeaks(t)
	all := firedRules(t)
	rules := append(kinds(all),
		other("RedisDown", "page", "canary"), other("RedisSlow", "ticket", "canary"), other("KafkaLag", "ticket", "queue"),
		other("ExporterDown", "page", "exporter"), other("CacheInvalOfOurs", "info", "canary"))
	am := servers.Alertmanager(t, amConfig(t, never))
	type pair struct{ source, target firedRule }
	pairs := map[string]pair{}
	var alerts []servers.Alert
	for i, source := range rules {
		for j, target := range rules {
			if i == j {
				continue
			}
			cluster := fmt.Sprintf("%d-%d", i, j)
			pairs[cluster] = pair{source, target}
			alerts = append(alerts, source.fire("cluster", cluster, "of", "source"), target.fire("cluster", cluster, "of", "target"))
		}
	}
	for i, r := range all {
		cluster := fmt.Sprintf("alone-%d", i)
		pairs[cluster] = pair{target: r}
		alerts = append(alerts, r.fire("cluster", cluster))
	}
	am.Post(t, alerts...)
	// What mutes is learned in the order of arrival: once this pair is seen, all before it are known.
	am.Post(t, backlogPage.fire("cluster", "last"), queueTicket.fire("cluster", "last"))
	var known []servers.KnownAlert
	servers.Eventually(t, "the last ticket is muted", func() bool {
		known = am.Alerts(t)
		return slices.ContainsFunc(known, func(a servers.KnownAlert) bool {
			return a.Labels["cluster"] == "last" && a.Labels["severity"] == "ticket" && len(a.Status.InhibitedBy) > 0
		})
	})
	seen, muted := 0, 0
	for _, a := range known {
		p, ok := pairs[a.Labels["cluster"]]
		if !ok {
			continue
		}
		seen++
		self, by := p.target, p.source
		if a.Labels["of"] == "source" {
			self, by = p.source, p.target
		}
		if got, want := len(a.Status.InhibitedBy) > 0, mutes(by, self); got != want {
			t.Errorf("%s %v while %s %v fires: muted %v, want %v", self.Alert, self.Labels, by.Alert, by.Labels, got, want)
		} else if got {
			muted++
		}
		if len(a.Receivers) != 1 || a.Receivers[0].Name != receiverOf(self) {
			t.Errorf("%s %v goes to %v, want %s", self.Alert, self.Labels, a.Receivers, receiverOf(self))
		}
	}
	if seen != len(alerts) || muted < 10 {
		t.Errorf("%d alerts were seen, %d of them muted; want %d, and some", seen, muted, len(alerts))
	}
}

// What mutes does so within its own cluster and about its own subject alone, whatever else Prometheus adds to its alerts.
func TestAlertmanagerMutesItsOwnSubject(t *testing.T) {
	servers.NoLeaks(t)
	down, absent := named(t, "CacheInvalExporterDown", "page"), named(t, "CacheInvalExporterAbsent", "page")
	nothing, watchdog := named(t, "CacheInvalNothingChecked", "page"), named(t, "CacheInvalWatchdog", "none")
	cases := []struct {
		name           string
		source, target servers.Alert
		muted          bool
	}{
		{"down, same cluster", down.fire("cluster", "a"), stalePage.fire("cluster", "a"), true},
		{"down, a class", down.fire("cluster", "a"), stalePage.fire("cluster", "a", "class", "user"), true},
		{"down, one of several shards", down.fire("cluster", "a", "shard", "b"), stalePage.fire("cluster", "a"), false},
		{"down, another cluster", down.fire("cluster", "a"), stalePage.fire("cluster", "b"), false},
		{"down without a cluster", down.fire(), stalePage.fire("cluster", "a"), false},
		{"down, canary without", down.fire("cluster", "a"), stalePage.fire(), false},
		{"neither has a cluster", absent.fire(), stalePage.fire(), true},
		{"neither has one, queue", absent.fire(), backlogPage.fire(), false},
		{"nothing checked", nothing.fire("cluster", "a"), backlogPage.fire("cluster", "a"), false},
		{"nothing checked, canary", nothing.fire("cluster", "a"), stalePage.fire("cluster", "a", "class", "user"), false},
		{"down does not mute its own", down.fire("job", "x"), down.fire("job", "y"), false},
		{"down leaves canary tickets", down.fire("cluster", "a"), staleTicket.fire("cluster", "a"), false},
		{"down leaves the watchdog", down.fire("cluster", "a"), watchdog.fire("cluster", "a"), false},
		{"down leaves others' canaries", down.fire("cluster", "a"), other("Canary", "page", "canary").fire("cluster", "a"), false},
		{"absent, another's same labels", absent.fire("cluster", "a"), other("Canary", "ticket", "exporter").fire("cluster", "a"), false},

		{"queue", backlogPage.fire("cluster", "a", "queue", "x"), queueTicket.fire("cluster", "a", "queue", "x"), true},
		{"queue, by group", stallPage.fire("cluster", "a", "queue", "x", "group", "g"), queueTicket.fire("cluster", "a", "queue", "x"), true},
		{"another queue", backlogPage.fire("cluster", "a", "queue", "x"), queueTicket.fire("cluster", "a", "queue", "y"), false},
		{"no queue", backlogPage.fire("cluster", "a", "queue", "x"), queueTicket.fire("cluster", "a"), false},
		{"any queue", backlogPage.fire("cluster", "a"), queueTicket.fire("cluster", "a", "queue", "y"), false},
		{"queue of another cluster", backlogPage.fire("cluster", "a", "queue", "x"), queueTicket.fire("cluster", "b", "queue", "x"), false},
		{"no clusters, queue", backlogPage.fire("queue", "x"), queueTicket.fire("queue", "x"), true},
		{"told by two Prometheus", backlogPage.fire("queue", "x", "replica", "1"), queueTicket.fire("queue", "x", "replica", "2"), true},
		{"down, told by two", down.fire("cluster", "a", "replica", "1"), stalePage.fire("cluster", "a", "replica", "2"), true},
		{"queue, another family", backlogPage.fire("queue", "x"), staleTicket.fire("queue", "x"), false},
		{"class", stalePage.fire("class", "user"), staleTicket.fire("class", "user"), true},
		{"class, by node", stalePage.fire("class", "user"), staleTicket.fire("class", "user", "layer", "l2", "node", "n"), true},
		{"class that a queue explains", stalePage.fire("class", "user", "queue", "x"), staleTicket.fire("class", "user"), true},
		{"another class of the queue", stalePage.fire("class", "user", "queue", "x"), staleTicket.fire("class", "shop", "queue", "x"), false},
		{"another class", stalePage.fire("class", "user"), staleTicket.fire("class", "shop"), false},
		{"no class", stalePage.fire("class", "user"), staleTicket.fire(), false},
		{"layer", layerPage.fire("layer", "l2"), nodeTicket.fire("layer", "l2", "node", "n"), true},
		{"another layer", layerPage.fire("layer", "l1"), nodeTicket.fire("layer", "l2", "node", "n"), false},
		{"node", partitionPage.fire("layer", "l2", "node", "n"), nodeTicket.fire("layer", "l2", "node", "n"), true},
		{"another node", partitionPage.fire("layer", "l2", "node", "m"), nodeTicket.fire("layer", "l2", "node", "n"), false},
		{"node of another layer", partitionPage.fire("layer", "l1", "node", "n"), nodeTicket.fire("layer", "l2", "node", "n"), false},
		{"whole cluster, one node", partitionPage.fire(), nodeTicket.fire("layer", "l2", "node", "n"), false},
		{"history", failPage.fire("history", "h"), failTicket.fire("history", "h"), true},
		{"another history", failPage.fire("history", "h"), failTicket.fire("history", "i"), false},
		{"history and probe", failPage.fire("history", "h"), lostTicket.fire("probe", "p", "layer", "l2"), false},
		{"probe", lostPage.fire("probe", "p", "layer", "l2"), lostTicket.fire("probe", "p", "layer", "l2"), true},
		{"another probe of the layer", lostPage.fire("probe", "p", "layer", "l2"), lostTicket.fire("probe", "q", "layer", "l2"), false},
		{"app", driftPage.fire("app", "web"), driftTicket.fire("app", "web"), true},
		{"another app", driftPage.fire("app", "web"), driftTicket.fire("app", "batch"), false},
		{"neither has a subject", driftPage.fire("cluster", "a"), driftTicket.fire("cluster", "a"), true},
		{"pages", backlogPage.fire("queue", "x", "node", "1"), backlogPage.fire("queue", "x", "node", "2"), false},
		{"no families", backlogPage.fire("family", ""), queueTicket.fire("family", ""), false},
		{"tickets", queueTicket.fire("queue", "x"), failTicket.fire("queue", "x", "family", "queue"), false},
		{"both tiers", failPage.fire("history", "h", "tier", "1h"), failTicket.fire("history", "h", "tier", "3d"), true},
		{"info mutes nothing", kind("CacheInvalA", "info", "queue").fire("queue", "x"), queueTicket.fire("queue", "x"), false},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			am := servers.Alertmanager(t, amConfig(t, never))
			tt.source.Labels["of"], tt.target.Labels["of"] = "source", "target"
			am.Post(t, tt.source, tt.target)
			am.Post(t, backlogPage.fire("cluster", "last"), queueTicket.fire("cluster", "last"))
			var target servers.KnownAlert
			servers.Eventually(t, "the last ticket is muted", func() bool {
				last := false
				for _, a := range am.Alerts(t) {
					last = last || a.Labels["cluster"] == "last" && len(a.Status.InhibitedBy) > 0
					if a.Labels["of"] == "target" {
						target = a
					}
				}
				return last
			})
			if got := len(target.Status.InhibitedBy) > 0; target.Labels == nil || got != tt.muted {
				t.Errorf("muted %v by %v, want %v: %v", got, tt.source.Labels, tt.muted, target)
			}
		})
	}
}

// sent waits for a notification in which the alert fires.
func sent(t *testing.T, r *servers.Receivers, receiver, alertname string) servers.Notification {
	t.Helper()
	var found servers.Notification
	servers.Eventually(t, receiver+" is told of "+alertname, func() bool {
		for _, n := range r.Received(receiver) {
			if n.Firing(alertname) {
				found = n
				return true
			}
		}
		return false
	})
	return found
}

// pagerGroups are the groups that rang, each with the alerts that its last notification has, as alertname and queue or class.
func pagerGroups(r *servers.Receivers) map[string]string {
	groups := map[string]string{}
	for _, n := range r.Received("cacheinv-pager") {
		var has []string
		for _, a := range n.Alerts {
			has = append(has, strings.TrimPrefix(a.Labels["alertname"], "CacheInval")+"/"+a.Labels["cluster"]+"/"+a.Labels["queue"]+"/"+a.Labels["class"])
		}
		slices.Sort(has)
		groups[n.GroupKey] = strings.Join(has, " ")
	}
	return groups
}

// One incident is one page, and two are two: what lasts hides no queue that stalls, nor does one queue another, nor a cluster another;
// the symptom, its cause and what else pages in a cluster ring once.
func TestAlertmanagerIncidents(t *testing.T) {
	for name, tt := range map[string]struct {
		first, then []servers.Alert
		want        []string // the groups at the end
	}{
		"a page that lasts, and a queue": {
			[]servers.Alert{stalePage.fire("cluster", "a", "class", "user")},
			[]servers.Alert{stallPage.fire("cluster", "a", "queue", "q")},
			[]string{"ConsumerStalled/a/q/", "HighStaleDataRate/a//user"},
		},
		"two queues": {
			[]servers.Alert{stallPage.fire("cluster", "a", "queue", "p")},
			[]servers.Alert{stallPage.fire("cluster", "a", "queue", "q")},
			[]string{"ConsumerStalled/a/p/", "ConsumerStalled/a/q/"},
		},
		"the same in two clusters": {
			[]servers.Alert{stallPage.fire("cluster", "a", "queue", "q")},
			[]servers.Alert{stallPage.fire("cluster", "b", "queue", "q")},
			[]string{"ConsumerStalled/a/q/", "ConsumerStalled/b/q/"},
		},
		"stale data that a queue explains": {
			[]servers.Alert{backlogPage.fire("cluster", "a", "queue", "q")},
			[]servers.Alert{stalePage.fire("cluster", "a", "queue", "q", "class", "user"), stallPage.fire("cluster", "a", "queue", "q", "group", "g")},
			[]string{"ConsumerStalled/a/q/ HighStaleDataRate/a/q/user QueueBacklog/a/q/"},
		},
		"stale data, and the nodes that explain it": {
			[]servers.Alert{stalePage.fire("cluster", "a", "class", "user")},
			[]servers.Alert{partitionPage.fire("cluster", "a"), stalePage.fire("cluster", "a", "class", "shop"), failPage.fire("cluster", "a", "history", "h")},
			[]string{"FailureRatio/a// HighStaleDataRate/a//shop HighStaleDataRate/a//user PartitionSuspected/a//"},
		},
		"nobody watches any more": {
			[]servers.Alert{stallPage.fire("cluster", "a", "queue", "q"), layerPage.fire("cluster", "a", "layer", "l2")},
			[]servers.Alert{kind("CacheInvalExporterDown", "page", "exporter").fire("cluster", "a")},
			[]string{"ConsumerStalled/a/q/", "ExporterDown/a//", "LayerUnreachable/a//"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			servers.NoLeaks(t)
			r := servers.AlertReceivers(t)
			am := servers.Alertmanager(t, amConfig(t, quick(r)))
			am.Post(t, tt.first...)
			for _, a := range tt.first {
				sent(t, r, "cacheinv-pager", a.Labels["alertname"])
			}
			am.Post(t, tt.then...)
			groups := func() []string { return slices.Sorted(maps.Values(pagerGroups(r))) }
			servers.Eventually(t, fmt.Sprintf("the pager has the groups %v", tt.want), func() bool { return slices.Equal(groups(), tt.want) })
		})
	}
}

// A page of one queue leaves the tickets of another, and what is sent of one product goes to nobody else.
func TestAlertmanagerTicketsBesideAPage(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.AlertReceivers(t)
	am := servers.Alertmanager(t, amConfig(t, quick(r)))
	am.Post(t, backlogPage.fire("cluster", "a", "queue", "p"), stalePage.fire("cluster", "a", "class", "user"))
	sent(t, r, "cacheinv-pager", "CacheInvalQueueBacklog")
	sent(t, r, "cacheinv-pager", "CacheInvalHighStaleDataRate")
	am.Post(t, queueTicket.fire("cluster", "a", "queue", "p"), staleTicket.fire("cluster", "a", "class", "user"), other("RedisDown", "page", "canary").fire("cluster", "a"))
	sent(t, r, "default", "RedisDown")
	// Last, so that what is muted would have come before.
	am.Post(t, kind("CacheInvalStorm", "ticket", "queue").fire("cluster", "a", "queue", "q"), staleTicket.fire("cluster", "a", "class", "shop"))
	sent(t, r, "cacheinv-tickets", "CacheInvalStorm")
	sent(t, r, "cacheinv-tickets", "CacheInvalStaleCopies")
	for _, n := range r.Received("") {
		for _, a := range n.Alerts {
			if want := receiverOf(firedRule{Alert: a.Labels["alertname"], Labels: a.Labels}); n.Receiver != want {
				t.Errorf("%s was sent to %s, want %s", a.Labels["alertname"], n.Receiver, want)
			}
			if a.Labels["severity"] == "ticket" && (a.Labels["queue"] == "p" || a.Labels["class"] == "user") {
				t.Errorf("the ticket %v was sent beside the page of its subject", a.Labels)
			}
		}
	}
}

// A condition that comes and goes rings once: keep_firing_for has Prometheus post the alert all the while, and what is posted again
// is no news; what joins its group and ends again closes nothing.
func TestAlertmanagerFlapping(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.AlertReceivers(t)
	am := servers.Alertmanager(t, amConfig(t, quick(r)))
	kept := stallPage.fire("cluster", "a", "queue", "q", "group", "g")
	am.Post(t, kept)
	first := sent(t, r, "cacheinv-pager", "CacheInvalConsumerStalled")
	for round := range 5 {
		// As Prometheus does: the same start, and an end that is still to come.
		kept.EndsAt = time.Now().Add(time.Hour)
		am.Post(t, kept)
		joins := backlogPage.fire("cluster", "a", "queue", "q", "round", fmt.Sprint(round))
		am.Post(t, joins)
		has := func(status string) bool {
			return slices.ContainsFunc(r.Received("cacheinv-pager"), func(n servers.Notification) bool {
				return slices.ContainsFunc(n.Alerts, func(a servers.NotifiedAlert) bool {
					return a.Status == status && a.Labels["round"] == fmt.Sprint(round)
				})
			})
		}
		servers.Eventually(t, "it joins", func() bool { return has("firing") })
		joins.EndsAt = time.Now()
		am.Post(t, joins)
		servers.Eventually(t, "it ends", func() bool { return has("resolved") })
	}
	for _, n := range r.Received("cacheinv-pager") {
		if n.GroupKey != first.GroupKey || n.Status != "firing" {
			t.Errorf("%s was sent of %s", n.Status, n.GroupKey)
		}
	}
}

// While the exporter is down: its own page, no canary's, and everything else. Two Prometheus tell it twice.
func TestAlertmanagerWhileTheExporterIsDown(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.AlertReceivers(t)
	am := servers.Alertmanager(t, amConfig(t, quick(r)))
	for _, replica := range []string{"1", "2"} {
		at := func(f firedRule, cluster string) servers.Alert { return f.fire("cluster", cluster, "replica", replica) }
		down := named(t, "CacheInvalExporterDown", "page")
		am.Post(t, at(down, "shop"), at(named(t, "CacheInvalWatchdog", "none"), "shop"))
		sent(t, r, "cacheinv-pager", "CacheInvalExporterDown")
		am.Post(t, at(kind("CacheInvalDivergentKeys", "page", "canary"), "shop"), at(stalePage, "stock"))
		am.Post(t, at(backlogPage, "shop"))
		sent(t, r, "cacheinv-pager", "CacheInvalQueueBacklog")
		sent(t, r, "cacheinv-pager", "CacheInvalHighStaleDataRate")
	}
	servers.Eventually(t, "each page has what both Prometheus tell, and the watchdog goes on", func() bool {
		for _, name := range []string{"CacheInvalExporterDown", "CacheInvalQueueBacklog"} {
			if !slices.ContainsFunc(r.Received("cacheinv-pager"), func(n servers.Notification) bool { return len(n.Alerts) == 2 && n.Firing(name) }) {
				return false
			}
		}
		return len(r.Received("cacheinv-watchdog")) > 2
	})
	groups := map[string]bool{}
	for _, n := range r.Received("cacheinv-pager") {
		groups[n.GroupKey] = true
		if n.Firing("CacheInvalDivergentKeys") {
			t.Errorf("a canary's page while nobody sees copies: %v", n.Alerts)
		}
	}
	if len(groups) != 3 {
		t.Errorf("%d groups at the pager, want the exporter's, the other's of its cluster, and the other cluster's: %v", len(groups), groups)
	}
	// Once it is back, what the canaries then say is told, with what else pages in the cluster.
	over := named(t, "CacheInvalExporterDown", "page").fire("cluster", "shop", "replica", "1")
	over.StartsAt, over.EndsAt = time.Now().Add(-time.Hour), time.Now()
	again := named(t, "CacheInvalExporterDown", "page").fire("cluster", "shop", "replica", "2")
	again.StartsAt, again.EndsAt = over.StartsAt, over.EndsAt
	am.Post(t, over, again)
	if n := sent(t, r, "cacheinv-pager", "CacheInvalDivergentKeys"); !groups[n.GroupKey] {
		t.Errorf("another group: %s", n.GroupKey)
	}
}

// The heartbeat comes again and again while nothing else happens, one for each cluster, and says nothing when it ends.
func TestAlertmanagerWatchdog(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.AlertReceivers(t)
	am := servers.Alertmanager(t, amConfig(t, quick(r)))
	watchdog := named(t, "CacheInvalWatchdog", "none")
	am.Post(t, watchdog.fire("cluster", "shop"), watchdog.fire("cluster", "stock"))
	beats := func(cluster string) (n int) {
		for _, b := range r.Received("cacheinv-watchdog") {
			if len(b.Alerts) == 1 && b.Alerts[0].Labels["cluster"] == cluster {
				n++
			}
		}
		return n
	}
	servers.Eventually(t, "three signs of life of each", func() bool { return beats("shop") >= 3 && beats("stock") >= 3 })
	over := watchdog.fire("cluster", "shop")
	over.StartsAt, over.EndsAt = time.Now().Add(-time.Hour), time.Now()
	am.Post(t, over)
	servers.Eventually(t, "it is over", func() bool {
		return !slices.ContainsFunc(am.Alerts(t), func(a servers.KnownAlert) bool { return a.Labels["cluster"] == "shop" })
	})
	before := beats("stock")
	servers.Eventually(t, "the other goes on", func() bool { return beats("stock") > before+3 })
	for _, n := range r.Received("") {
		if n.Receiver != "cacheinv-watchdog" || n.Status != "firing" {
			t.Errorf("%s was sent to %s", n.Status, n.Receiver)
		}
	}
}

// As it is shipped, the heartbeat's times let it be sent each minute: a whole interval passes between two of them.
func TestAlertmanagerWatchdogTimes(t *testing.T) {
	text, err := os.ReadFile("alertmanager.yml")
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Route struct {
			Routes []struct {
				Routes []struct {
					Receiver       string
					GroupInterval  string `yaml:"group_interval"`
					RepeatInterval string `yaml:"repeat_interval"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &parsed); err != nil {
		t.Fatal(err)
	}
	for _, route := range parsed.Route.Routes[0].Routes {
		if route.Receiver != "cacheinv-watchdog" {
			continue
		}
		interval, err1 := time.ParseDuration(route.GroupInterval)
		repeat, err2 := time.ParseDuration(route.RepeatInterval)
		if err1 != nil || err2 != nil || repeat%interval == 0 || (repeat/interval+1)*interval > time.Minute {
			t.Errorf("group_interval %s and repeat_interval %s: sent later than each minute", route.GroupInterval, route.RepeatInterval)
		}
		return
	}
	t.Fatal("no route to cacheinv-watchdog")
}
