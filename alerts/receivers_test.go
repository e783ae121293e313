package alerts_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// Every family has its place in the order by which the title chooses an alert.
func TestAlertmanagerTemplateKnowsEveryFamily(t *testing.T) {
	text, err := os.ReadFile("cacheinv.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range firedRules(t) {
		if !strings.Contains(string(text), `"`+r.Labels["family"]+`"`) {
			t.Errorf("cacheinv.tmpl does not know the family %q of %s", r.Labels["family"], r.Alert)
		}
	}
}

// pagerDutyEvent is what PagerDuty's Events API v2 takes.
type pagerDutyEvent struct {
	RoutingKey  string `json:"routing_key"`
	DedupKey    string `json:"dedup_key"`
	EventAction string `json:"event_action"`
	Payload     struct {
		Summary, Source, Severity string
		Details                   map[string]string `json:"custom_details"`
	}
	Client    string
	ClientURL string `json:"client_url"`
	Links     []struct{ Href, Text string }
	body      string
}

// slackMessage is what Slack's incoming webhooks take.
type slackMessage struct {
	Channel     string
	Attachments []struct {
		Title, Text, Fallback, Color string
		TitleLink                    string `json:"title_link"`
	}
	body string
}

const routingKey = "0123456789abcdef0123456789abcdef"

// examples is alertmanager.yml with its examples for Slack and PagerDuty in use, which post to the test.
func examples(t *testing.T, r *servers.Receivers) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range map[string]string{"slack": r.URL + "/slack", "pagerduty": routingKey} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return amConfig(t, func(text string) string {
		text = quick(r)(amExample.ReplaceAllString(text, "$1"))
		text = strings.ReplaceAll(text, "/etc/prometheus/slack-webhook-url", filepath.Join(folder, "slack"))
		text = strings.ReplaceAll(text, "/etc/prometheus/pagerduty-routing-key", filepath.Join(folder, "pagerduty"))
		return regexp.MustCompile(`(?s)    email_configs:.*?html: ''\n`).ReplaceAllString(text, "") +
			"\nglobal:\n  pagerduty_url: " + r.URL + "/pagerduty\n"
	})
}

// pagerDuty waits for an event.
func pagerDuty(t *testing.T, r *servers.Receivers, what string, is func(pagerDutyEvent) bool) pagerDutyEvent {
	t.Helper()
	var found pagerDutyEvent
	servers.Eventually(t, "PagerDuty is told "+what, func() bool {
		for _, n := range r.Received("pagerduty") {
			e := pagerDutyEvent{body: n.Body}
			if err := json.Unmarshal([]byte(n.Body), &e); err != nil {
				t.Fatalf("%v: %s", err, n.Body)
			}
			if is(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// slack waits for a message.
func slack(t *testing.T, r *servers.Receivers, what string, is func(slackMessage) bool) slackMessage {
	t.Helper()
	var found slackMessage
	var last string
	defer func() {
		if t.Failed() {
			t.Logf("Slack was told last: %s", last)
		}
	}()
	servers.Eventually(t, "Slack is told "+what, func() bool {
		for _, n := range r.Received("slack") {
			m := slackMessage{body: n.Body}
			last = n.Body
			if err := json.Unmarshal([]byte(n.Body), &m); err != nil || len(m.Attachments) != 1 {
				t.Fatalf("%v: %s", err, n.Body)
			}
			if is(m) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// since is when the alerts of these tests began.
var since = time.Now().Add(-time.Hour).UTC().Truncate(time.Second)

// page is an alert with texts of its own.
func page(name, family, cause, summary string, labels ...string) servers.Alert {
	f := kind(name, "page", family)
	f.Annotations = map[string]string{
		"summary": summary, "description": "First do " + name + ".", "runbook_url": "https://books.test/" + name + ".md",
		"dashboard_url": "https://boards.test/d/" + family + "?a=1&b=2",
	}
	a := f.fire(append(labels, "cluster", "shop")...)
	if cause != "" {
		a.Labels["cause"] = cause
	}
	a.StartsAt = since
	return a
}

// title says what leads, how many others there are, the cause and since when.
func title(rest string) string { return rest + " since " + since.Format("15:04 UTC") }

// What people read at night, in the forms in which PagerDuty and Slack get it: one incident has one key, its title says what, how much,
// where and since when, and tells the cause once an alert knows it.
func TestAlertmanagerPageText(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.AlertReceivers(t)
	am := servers.Alertmanager(t, examples(t, r))
	stale := page("CacheInvalHighStaleDataRate", "canary", "", `4% of "user" is overdue, most on redis-2`, "class", "user")
	drift := page("CacheInvalVersionDrift", "version", "version", "web runs 2 versions", "app", "web")
	split := page("CacheInvalSplitBrain", "node", "network", "l2 has two primaries", "layer", "l2")
	am.Post(t, stale)
	want := title(`[shop] PAGE: 4% of "user" is overdue, most on redis-2 (cause unknown)`)
	alone := func(m slackMessage) bool { return m.Attachments[0].Title == want }
	if m := slack(t, r, want, alone); m.Attachments[0].TitleLink != "https://books.test/CacheInvalHighStaleDataRate.md" || m.Channel != "#on-call" {
		t.Errorf("%s", m.body)
	}
	first := pagerDuty(t, r, want, func(e pagerDutyEvent) bool { return e.Payload.Summary == want })
	if first.RoutingKey != routingKey || first.DedupKey == "" || first.EventAction != "trigger" || first.Payload.Severity != "critical" {
		t.Errorf("%s", first.body)
	}

	am.Post(t, drift, split)
	want = title(`[shop] PAGE: 4% of "user" is overdue, most on redis-2 (+2, cause network)`)
	m := slack(t, r, want, alone)
	for _, text := range []string{
		"Cause: network\n", "web runs 2 versions\nFirst do CacheInvalVersionDrift.\nRunbook: https://books.test/CacheInvalVersionDrift.md\nDashboard: https://boards.test/d/version?a=1&b=2\n",
		"CacheInvalSplitBrain (network), since " + since.Format("2006-01-02 15:04:05 UTC"),
	} {
		if !strings.Contains(m.Attachments[0].Text, text) {
			t.Errorf("%q is not in %s", text, m.Attachments[0].Text)
		}
	}
	if m.Attachments[0].TitleLink != "https://books.test/CacheInvalSplitBrain.md" {
		t.Errorf("the title leads to %s", m.Attachments[0].TitleLink)
	}
	joined := pagerDuty(t, r, want, func(e pagerDutyEvent) bool { return e.Payload.Summary == want })
	if joined.DedupKey != first.DedupKey || joined.EventAction != "trigger" || joined.ClientURL != "https://boards.test/d/node?a=1&b=2" ||
		len(joined.Links) != 1 || joined.Links[0].Href != "https://books.test/CacheInvalSplitBrain.md" || joined.Payload.Details["firing"] != "3" ||
		!strings.Contains(joined.Payload.Details["page"], "First do CacheInvalSplitBrain.") {
		t.Errorf("%s", joined.body)
	}

	// A queue that has nothing to do with it is another incident.
	stall := page("CacheInvalConsumerStalled", "queue", "queue", "cache-invalidator stands still", "queue", "invalidations")
	am.Post(t, stall)
	if e := pagerDuty(t, r, "of the queue", func(e pagerDutyEvent) bool { return strings.Contains(e.Payload.Summary, "stands still") }); e.DedupKey == first.DedupKey {
		t.Errorf("the queue has the same key: %s", e.body)
	}

	over := []servers.Alert{stale, drift, split}
	for i := range over {
		over[i].EndsAt = time.Now()
	}
	am.Post(t, over...)
	want = title(`[shop] RESOLVED PAGE: 4% of "user" is overdue, most on redis-2 (+2, cause network)`)
	if m := slack(t, r, want, alone); !strings.Contains(m.Attachments[0].Text, "Over: CacheInvalSplitBrain: l2 has two primaries") {
		t.Errorf("%s", m.body)
	}
	if e := pagerDuty(t, r, "the end", func(e pagerDutyEvent) bool { return e.EventAction == "resolve" }); e.DedupKey != first.DedupKey {
		t.Errorf("another incident ends: %s", e.body)
	}
	// Without clusters there are no brackets.
	nowhere := split
	delete(nowhere.Labels, "cluster")
	nowhere.EndsAt = time.Time{}
	am.Post(t, nowhere)
	want = title("PAGE: l2 has two primaries (cause network)")
	slack(t, r, want, alone)
}

// Hundreds of alerts with long texts stay below what the services take, and what a phone shows.
func TestAlertmanagerLimits(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.AlertReceivers(t)
	am := servers.Alertmanager(t, examples(t, r))
	var alerts []servers.Alert
	for i := range 300 {
		alerts = append(alerts, page("CacheInvalHighStaleDataRate", "canary", "", strings.Repeat("überfällig ", 100), "class", fmt.Sprintf("class-%03d", i)))
		alerts[i].Annotations["description"] = strings.Repeat("and a lot more to say ", 500)
	}
	am.Post(t, alerts...)
	// PagerDuty cuts a summary off at 1,024 characters and refuses an event of 512 KiB; a phone shows about 150.
	e := pagerDuty(t, r, "of all", func(e pagerDutyEvent) bool { return strings.Contains(e.Payload.Summary, "(+299,") })
	if n := utf8.RuneCountInString(e.Payload.Summary); n > 150 || !strings.Contains(e.Payload.Summary, "…") || !utf8.ValidString(e.Payload.Summary) {
		t.Errorf("the title has %d characters: %s", n, e.Payload.Summary)
	}
	if len(e.body) > 64<<10 {
		t.Errorf("PagerDuty's event has %d bytes", len(e.body))
	}
	if !strings.Contains(e.Payload.Details["page"], "290 more fire") {
		t.Errorf("the text does not say how many more there are: %s", e.Payload.Details["page"])
	}
	// Slack cuts a message off at 40,000 characters.
	m := slack(t, r, "of all", func(m slackMessage) bool { return strings.Contains(m.Attachments[0].Title, "(+299,") })
	if len(m.body) > 40_000 {
		t.Errorf("Slack's message has %d bytes", len(m.body))
	}
}
