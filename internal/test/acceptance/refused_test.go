package acceptance

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// evidence of all steps, one text.
func (d *diagnosed) evidence() string {
	var out []string
	for _, s := range d.Steps {
		out = append(out, s.Evidence...)
	}
	return strings.Join(out, "\n")
}

// wantUnknown: nothing points to a cause, and diagnose ends with 2 and says why.
func wantUnknown(t *testing.T, cfg string, says ...string) {
	t.Helper()
	code, d := diagnose(t, cfg)
	for _, want := range says {
		if !strings.Contains(d.evidence(), want) {
			t.Errorf("%q is not in\n%s", want, d.evidence())
		}
	}
	if code != 2 || *d.Verdict != "unknown" {
		t.Errorf("code %d, %s:\n%s", code, *d.Verdict, d.evidence())
	}
}

// TestKafkaRefuses: what a real Kafka refuses is told, and is no network's fault: a login, a mechanism, a topic and a group. One
// that is not there is.
func TestKafkaRefuses(t *testing.T) {
	servers.NoLeaks(t)
	k := servers.Kafka(t, servers.KafkaLogins("pw")...)
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Addr), kgo.SASL(plain.Auth{User: "admin", Pass: "admin"}.AsMechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for _, topic := range []string{"inv", "hidden"} {
		if r, err := admin.CreateTopic(t.Context(), 1, 1, nil, topic); err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
	}
	acl := kadm.NewACLs().Allow("User:exporter").AllowHosts("*").Topics("inv").Groups("open").Operations(kadm.OpDescribe).ResourcePatternType(kadm.ACLPatternLiteral)
	if _, err := admin.CreateACLs(t.Context(), acl); err != nil {
		t.Fatal(err)
	}
	estate := fmt.Sprintf("layers: [{name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: %q}}]}]\n", servers.Redis(t).Addr)
	queue := func(addr, topics, groups, sasl string) string {
		return estate + fmt.Sprintf("queues: [{name: inv, kafka: {brokers: [%q], topics: [%s], groups: [%s], sasl: {%s}}}]\n", addr, topics, groups, sasl)
	}
	login := "mechanism: PLAIN, username: exporter, password: "
	for name, c := range map[string]struct{ topics, groups, sasl, want string }{
		"the password":  {"inv", "g", login + "wrong", "SASL_AUTHENTICATION_FAILED"},
		"the mechanism": {"inv", "g", "mechanism: SCRAM-SHA-256, username: exporter, password: pw", "UNSUPPORTED_SASL_MECHANISM"},
		"a topic":       {"hidden", "open", login + "pw", "topic hidden: may not be described (TOPIC_AUTHORIZATION_FAILED)"},
		"a group":       {"inv", "g", login + "pw", "GROUP_AUTHORIZATION_FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			wantUnknown(t, queue(k.Addr, c.topics, c.groups, c.sasl), "not learned: queue inv", c.want)
		})
	}
	e := start(t, queue(k.Addr, "inv", "g", login+"wrong"))
	p := e.inTime()
	p.want(0, "queue_up", "queue", "inv")
	p.want(1, "queue_brokers", "queue", "inv", "state", "up")
	p.want(0, "queue_brokers", "queue", "inv", "state", "down")
	p = e.inTime()
	p.want(0, "cause_score", "cause", "network")
	if code, d := diagnose(t, queue(servers.FreeAddr(t), "inv", "g", login+"pw")); code != 1 || *d.Verdict != "network" {
		t.Errorf("a broker that is not there: code %d, %s:\n%s", code, *d.Verdict, d.evidence())
	}
}

// TestHTTPRefuses: a web server or DynamoDB that refuses what it is asked is told, and is no network's fault. One that fails is.
func TestHTTPRefuses(t *testing.T) {
	servers.NoLeaks(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, err := strconv.Atoi(strings.Split(r.URL.Path, "/")[1])
		if err != nil {
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"__type":"com.amazonaws.dynamodb.v20120810#AccessDeniedException","message":"no"}`)
			return
		}
		w.WriteHeader(status)
	}))
	defer web.Close()
	redis := servers.Redis(t)
	redis.Must(t, "set", "user:1:profile", `{"version":1}`, "ex", 3600)
	estate := func(node, rest string) string {
		return fmt.Sprintf("layers:\n  - {name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: %q}}]}\n%s\n%s\n", redis.Addr, node, rest)
	}
	for name, rest := range map[string]string{
		"queue":   "queues: [{name: app-1, http: {url: %q, depth: $.depth}}]",
		"version": "versions: [{app: web, nodes: {app-1: %q}}]",
		"history": "history: [{name: processor, http: {url: %q, succeeded: $.ok, failed: $.bad}}]",
	} {
		wantUnknown(t, estate("", fmt.Sprintf(rest, web.URL+"/401")), "give it a username and password_file")
		code, d := diagnose(t, estate("", fmt.Sprintf(rest, web.URL+"/503")))
		if want := map[bool]string{true: "unknown", false: "network"}[name == "history"]; *d.Verdict != want {
			t.Errorf("%s fails: code %d, %s:\n%s", name, code, *d.Verdict, d.evidence())
		}
	}
	wantUnknown(t, estate("", attemptsOf("invalidations", web.URL)), "allow dynamodb:Query")
	canary := "canaries: [{class: user_profile, keys: [\"user:1:profile\"], layers: [l2, l1]}]"
	node := "  - {name: l1, ttl: 1h, nodes: [{name: app, http: {url: \"" + web.URL + "/%d/{key}\"}}]}"
	wantUnknown(t, estate(fmt.Sprintf(node, 401), canary), "none of its copies could be read: status 401")
	if code, d := diagnose(t, estate(fmt.Sprintf(node, 503), canary)); code != 1 || *d.Verdict != "network" {
		t.Errorf("a node fails: code %d, %s:\n%s", code, *d.Verdict, d.evidence())
	}
}
