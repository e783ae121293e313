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
	if len(fired) < 40 {
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
func other(name, severity, family string) firedRule {
	return firedRule{Alert: name, Labels: map[string]string{"severity": severity, "family": family}}
}

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
		{"alertname=CacheInvalQueueDepthHigh severity=ticket family=queue", "cacheinv-tickets"},
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

// mutes tells what the contract says of an alert that fires and another one of the same cluster.
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
	page, ticket := named(t, "CacheInvalQueueDepthCritical", "page"), named(t, "CacheInvalQueueDepthHigh", "ticket")
	am.Post(t, page.fire("cluster", "last"), ticket.fire("cluster", "last"))
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

// What mutes does so within its own cluster alone, whatever else Prometheus adds to its alerts.
func TestAlertmanagerMutesWithinACluster(t *testing.T) {
	servers.NoLeaks(t)
	down, absent := named(t, "CacheInvalExporterDown", "page"), named(t, "CacheInvalExporterAbsent", "page")
	canary, queue := named(t, "CacheInvalHighStaleDataRate", "page"), named(t, "CacheInvalQueueDepthCritical", "page")
	ticket, nothing := named(t, "CacheInvalQueueDepthHigh", "ticket"), named(t, "CacheInvalNothingChecked", "page")
	for name, tt := range map[string]struct {
		source, target servers.Alert
		muted          bool
	}{
		"down, same cluster":            {down.fire("cluster", "a"), canary.fire("cluster", "a"), true},
		"down, another cluster":         {down.fire("cluster", "a"), canary.fire("cluster", "b"), false},
		"down without a cluster":        {down.fire(), canary.fire("cluster", "a"), false},
		"down, canary without":          {down.fire("cluster", "a"), canary.fire(), false},
		"neither has a cluster":         {absent.fire(), canary.fire(), true},
		"neither has one, queue":        {absent.fire(), queue.fire(), false},
		"nothing checked":               {nothing.fire("cluster", "a"), queue.fire("cluster", "a"), false},
		"page and ticket":               {queue.fire("cluster", "a"), ticket.fire("cluster", "a"), true},
		"page and ticket, other queue":  {queue.fire("cluster", "a", "queue", "x"), ticket.fire("cluster", "a", "queue", "y"), true},
		"page and ticket of another":    {queue.fire("cluster", "a"), ticket.fire("cluster", "b"), false},
		"no clusters, page and ticket":  {queue.fire(), ticket.fire(), true},
		"told by two Prometheus":        {queue.fire("cluster", "a", "replica", "1"), ticket.fire("cluster", "a", "replica", "2"), true},
		"down, told by two":             {down.fire("cluster", "a", "replica", "1"), canary.fire("cluster", "a", "replica", "2"), true},
		"one page on two nodes":         {queue.fire("cluster", "a", "node", "1"), queue.fire("cluster", "a", "node", "2"), false},
		"page and ticket, no families":  {queue.fire("family", ""), ticket.fire("family", ""), false},
		"a ticket mutes no other":       {ticket.fire("queue", "1"), ticket.fire("queue", "2"), false},
		"down does not mute its own":    {down.fire("job", "x"), down.fire("job", "y"), false},
		"both tiers of one alert":       {canary.fire("class", "u"), named(t, "CacheInvalHighStaleDataRate", "ticket").fire("class", "u"), true},
		"down leaves canary tickets":    {down.fire("cluster", "a"), named(t, "CacheInvalSurvivors", "ticket").fire("cluster", "a"), false},
		"down leaves the watchdog":      {down.fire("cluster", "a"), named(t, "CacheInvalWatchdog", "none").fire("cluster", "a"), false},
		"down leaves others' canaries":  {down.fire("cluster", "a"), other("Canary", "page", "canary").fire("cluster", "a"), false},
		"absent, another's same labels": {absent.fire("cluster", "a"), other("Canary", "ticket", "exporter").fire("cluster", "a"), false},
	} {
		t.Run(name, func(t *testing.T) {
			am := servers.Alertmanager(t, amConfig(t, never))
			tt.source.Labels["of"], tt.target.Labels["of"] = "source", "target"
			am.Post(t, tt.source, tt.target)
			am.Post(t, queue.fire("cluster", "last"), ticket.fire("cluster", "last"))
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

// An incident that shows in one family after the other is one group at the pager, another cluster's is another; tickets
// of a family that pages are not sent, the others' are, each family in a group of its own.
func TestAlertmanagerOneIncidentIsOnePage(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.AlertReceivers(t)
	am := servers.Alertmanager(t, amConfig(t, quick(r)))
	shop := func(name, severity string, labels ...string) servers.Alert {
		return named(t, name, severity).fire(append(labels, "cluster", "shop")...)
	}
	am.Post(t, shop("CacheInvalHighStaleDataRate", "page", "class", "user"))
	first := sent(t, r, "cacheinv-pager", "CacheInvalHighStaleDataRate")
	// Pages first: tickets wait for a minute before they are sent, which is cut short here.
	am.Post(t, shop("CacheInvalPartitionSuspected", "page"), shop("CacheInvalReplicationFrozen", "page", "node", "redis-2"))
	joined := sent(t, r, "cacheinv-pager", "CacheInvalReplicationFrozen")
	am.Post(t, shop("CacheInvalImmortalCopies", "ticket"), shop("CacheInvalNodeUnreachable", "ticket"), shop("CacheInvalStorm", "ticket"),
		shop("CacheInvalBrokerDown", "ticket"), shop("CacheInvalConfigDrift", "ticket"),
		other("RedisDown", "page", "canary").fire("cluster", "shop"))
	sent(t, r, "cacheinv-tickets", "CacheInvalStorm")
	sent(t, r, "cacheinv-tickets", "CacheInvalConfigDrift")
	sent(t, r, "default", "RedisDown")
	// Last, so that what is muted would have come before.
	am.Post(t, shop("CacheInvalLoop", "page"), named(t, "CacheInvalLoop", "page").fire("cluster", "stock"),
		shop("CacheInvalVersionDriftLasting", "ticket"))
	sent(t, r, "cacheinv-tickets", "CacheInvalVersionDriftLasting")
	var last servers.Notification
	groups := map[string]bool{}
	servers.Eventually(t, "the loops page, in both clusters", func() bool {
		groups = map[string]bool{}
		for _, n := range r.Received("cacheinv-pager") {
			groups[n.GroupKey] = true
			if n.Firing("CacheInvalLoop") && n.GroupKey == first.GroupKey {
				last = n
			}
		}
		return len(groups) > 1 && last.GroupKey != ""
	})
	if joined.GroupKey != first.GroupKey || len(groups) != 2 {
		t.Errorf("one cluster's pages are in groups %v", groups)
	}
	if len(last.Alerts) != 4 {
		t.Errorf("the page has %d alerts, want the 4 that page: %v", len(last.Alerts), last.Alerts)
	}
	for _, n := range r.Received("") {
		for _, a := range n.Alerts {
			if want := receiverOf(firedRule{Alert: a.Labels["alertname"], Labels: a.Labels}); n.Receiver != want {
				t.Errorf("%s was sent to %s, want %s", a.Labels["alertname"], n.Receiver, want)
			}
			if a.Labels["severity"] == "ticket" && (a.Labels["family"] == "canary" || a.Labels["family"] == "node") {
				t.Errorf("the ticket %s was sent beside a page of its family", a.Labels["alertname"])
			}
		}
	}
	tickets := map[string]string{}
	for _, n := range r.Received("cacheinv-tickets") {
		for _, a := range n.Alerts {
			if family, ok := tickets[n.GroupKey]; ok && family != a.Labels["family"] {
				t.Errorf("one ticket is of the families %s and %s", family, a.Labels["family"])
			}
			tickets[n.GroupKey] = a.Labels["family"]
		}
	}
	if len(tickets) != 3 {
		t.Errorf("%d groups of tickets, want one of each family: %v", len(tickets), tickets)
	}
}

// While the exporter is down: its own page, no canary's, and everything else. Two Prometheus tell it twice.
func TestAlertmanagerWhileTheExporterIsDown(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.AlertReceivers(t)
	am := servers.Alertmanager(t, amConfig(t, quick(r)))
	for _, replica := range []string{"1", "2"} {
		at := func(name, severity, cluster string) servers.Alert {
			return named(t, name, severity).fire("cluster", cluster, "replica", replica)
		}
		am.Post(t, at("CacheInvalExporterDown", "page", "shop"), at("CacheInvalWatchdog", "none", "shop"))
		sent(t, r, "cacheinv-pager", "CacheInvalExporterDown")
		am.Post(t, at("CacheInvalDivergentKeys", "page", "shop"), at("CacheInvalHighStaleDataRate", "page", "stock"))
		am.Post(t, at("CacheInvalQueueDepthCritical", "page", "shop"))
		sent(t, r, "cacheinv-pager", "CacheInvalQueueDepthCritical")
		sent(t, r, "cacheinv-pager", "CacheInvalHighStaleDataRate")
	}
	servers.Eventually(t, "a page has what both Prometheus tell, and the watchdog goes on", func() bool {
		pages, signs := r.Received("cacheinv-pager"), r.Received("cacheinv-watchdog")
		return slices.ContainsFunc(pages, func(n servers.Notification) bool { return len(n.Alerts) == 4 }) && len(signs) > 2
	})
	groups := map[string]bool{}
	for _, n := range r.Received("cacheinv-pager") {
		groups[n.GroupKey] = true
		if n.Firing("CacheInvalDivergentKeys") {
			t.Errorf("a canary's page while nobody sees copies: %v", n.Alerts)
		}
	}
	if len(groups) != 2 {
		t.Errorf("%d groups at the pager, want one for each cluster: %v", len(groups), groups)
	}
	// Once it is back, what the canaries then say is told, in the same group.
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

// Every family has its words in the title.
func TestAlertmanagerTemplateKnowsEveryFamily(t *testing.T) {
	text, err := os.ReadFile("cacheinv.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range firedRules(t) {
		if !strings.Contains(string(text), `"`+r.Labels["family"]+`"`) {
			t.Errorf("cacheinv.tmpl has no words for the family %q of %s", r.Labels["family"], r.Alert)
		}
	}
}

// What people read at the pager: the cause that comes first, the symptoms, each alert with its links; by the examples of
// the file itself, for Slack and PagerDuty.
func TestAlertmanagerPageText(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.AlertReceivers(t)
	folder := t.TempDir()
	for name, text := range map[string]string{"slack": r.URL + "/slack", "pagerduty": "0123456789abcdef0123456789abcdef"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	am := servers.Alertmanager(t, amConfig(t, func(text string) string {
		text = quick(r)(amExample.ReplaceAllString(text, "$1"))
		text = strings.ReplaceAll(text, "/etc/prometheus/slack-webhook-url", filepath.Join(folder, "slack"))
		text = strings.ReplaceAll(text, "/etc/prometheus/pagerduty-routing-key", filepath.Join(folder, "pagerduty"))
		return regexp.MustCompile(`(?s)    email_configs:.*?html: ''\n`).ReplaceAllString(text, "") +
			"\nglobal:\n  pagerduty_url: " + r.URL + "/pagerduty\n"
	}))
	drift, loop, rate := named(t, "CacheInvalVersionDrift", "page"), named(t, "CacheInvalLoop", "page"), named(t, "CacheInvalHighStaleDataRate", "page")
	split := named(t, "CacheInvalSplitBrain", "page")
	fire := func(r firedRule) servers.Alert {
		a := r.fire("cluster", "shop")
		a.Annotations = map[string]string{
			"summary": r.Alert + " is the \"summary\"", "description": "More of " + r.Alert, "runbook_url": "https://books.test/" + r.Alert + ".md",
			"dashboard_url": "https://boards.test/d/" + r.Labels["family"] + "?a=1&b=2",
		}
		return a
	}
	contains := func(receiver string, wants ...string) {
		t.Helper()
		var last string
		defer func() {
			if t.Failed() {
				t.Logf("%s was told last: %s", receiver, last)
			}
		}()
		servers.Eventually(t, fmt.Sprintf("%s has %q", receiver, wants), func() bool {
			for _, n := range r.Received(receiver) {
				last = n.Body
				if !slices.ContainsFunc(wants, func(want string) bool { return !strings.Contains(n.Body, want) }) {
					return true
				}
			}
			return false
		})
	}
	am.Post(t, fire(rate))
	contains("slack", `"title":"[shop] PAGE: cause unknown - stale data"`, `"title_link":"https://books.test/CacheInvalHighStaleDataRate.md"`,
		`CacheInvalHighStaleDataRate is the \"summary\"`)
	contains("pagerduty", `"summary":"[shop] PAGE: cause unknown - stale data"`)
	am.Post(t, fire(drift), fire(loop))
	contains("slack", `"title":"[shop] PAGE: version - stale data, invalidation queue, application versions"`,
		`"title_link":"https://books.test/CacheInvalVersionDrift.md"`)
	am.Post(t, fire(split))
	contains("slack", `"title":"[shop] PAGE: network - stale data, invalidation queue, cache nodes, application versions"`,
		`"title_link":"https://books.test/CacheInvalSplitBrain.md"`, `Cause: network`, `CacheInvalLoop (logic), since `, `CacheInvalHighStaleDataRate, since `,
		`More of CacheInvalVersionDrift`, `Runbook: https://books.test/CacheInvalLoop.md`, `Dashboard: https://boards.test/d/queue?a=1\u0026b=2`)
	contains("pagerduty", `"summary":"[shop] PAGE: network - stale data, invalidation queue, cache nodes, application versions"`,
		`"client_url":"https://boards.test/d/node?a=1\u0026b=2"`, `"href":"https://books.test/CacheInvalSplitBrain.md"`, `"severity":"critical"`)
	over := fire(split)
	over.StartsAt, over.EndsAt = time.Now().Add(-time.Hour), time.Now()
	am.Post(t, over)
	contains("slack", `"title":"[shop] PAGE: version - `, `Over: CacheInvalSplitBrain: CacheInvalSplitBrain is`)
	var ends []servers.Alert
	for _, rule := range []firedRule{rate, drift, loop} {
		end := fire(rule)
		end.StartsAt, end.EndsAt = over.StartsAt, time.Now()
		ends = append(ends, end)
	}
	am.Post(t, ends...)
	contains("slack", `"title":"[shop] RESOLVED PAGE: version - stale data, invalidation queue, application versions"`)
	contains("pagerduty", `"event_action":"resolve"`)
	// Without clusters there are no brackets.
	alone := fire(split)
	delete(alone.Labels, "cluster")
	am.Post(t, alone)
	contains("slack", `"title":"PAGE: network - cache nodes"`)
}
