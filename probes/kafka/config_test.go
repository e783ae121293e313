package kafka

import (
	"fmt"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/configfiles"
)

// sameConfig compares expressions by their text.
var sameConfig = cmp.Comparer(func(a, b *regexp.Regexp) bool { return fmt.Sprint(a) == fmt.Sprint(b) })

func TestQueuesAreRead(t *testing.T) {
	dir := configfiles.Fixtures(t)
	const list = `
- brokers: ["kafka-1:9092", "kafka-2:9092"]
  topics: [cache-invalidation, "/^inv\\./"]
  groups: ["/^inv-.*/"]
  sasl: {mechanism: SCRAM-SHA-512, username: exporter, password_file: kafka.password}
  tls: {ca_file: ca.pem}
- {brokers: ["b-1.msk.example:9098"], topics: [inv], groups: [workers], sasl: {mechanism: AWS_MSK_IAM, region: us-east-1}, tls: {}}
- {brokers: ["kafka:9093"], topics: [inv], groups: [workers], sasl: {mechanism: OAUTHBEARER, token_file: kafka.token}, tls: {}}
- {brokers: ["kafka:9092"], topics: [inv], sasl: {mechanism: PLAIN, username: u, password: x}}
`
	got := configfiles.Blocks(t, dir, list, readQueue)
	want := []*queueConfig{
		{
			Brokers: []string{"kafka-1:9092", "kafka-2:9092"}, Topics: []form.NameMatch{{Exact: "cache-invalidation"}, {Regexp: regexp.MustCompile(`^inv\.`)}},
			Groups: []form.NameMatch{{Regexp: regexp.MustCompile("^inv-.*")}}, TLS: &form.TLS{CAFile: filepath.Join(dir, "ca.pem")},
			SASL: &saslConfig{Mechanism: "SCRAM-SHA-512", Credentials: form.Credentials{Username: "exporter", PasswordFile: filepath.Join(dir, "kafka.password")}},
		},
		{
			Brokers: []string{"b-1.msk.example:9098"}, Topics: []form.NameMatch{{Exact: "inv"}}, Groups: []form.NameMatch{{Exact: "workers"}}, TLS: &form.TLS{},
			SASL: &saslConfig{Mechanism: "AWS_MSK_IAM", Region: "us-east-1"},
		},
		{
			Brokers: []string{"kafka:9093"}, Topics: []form.NameMatch{{Exact: "inv"}}, Groups: []form.NameMatch{{Exact: "workers"}}, TLS: &form.TLS{},
			SASL: &saslConfig{Mechanism: "OAUTHBEARER", TokenFile: filepath.Join(dir, "kafka.token")},
		},
		{
			Brokers: []string{"kafka:9092"}, Topics: []form.NameMatch{{Exact: "inv"}},
			SASL: &saslConfig{Mechanism: "PLAIN", Credentials: form.Credentials{Username: "u", Password: "x"}},
		},
	}
	if d := cmp.Diff(want, got, sameConfig); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

func TestPublishersAreRead(t *testing.T) {
	dir := configfiles.Fixtures(t)
	const list = `
- brokers: ["kafka-1:9092"]
  topic: cache-invalidation
  sasl: {mechanism: SCRAM-SHA-512, username: exporter, password_file: kafka.password}
  tls: {ca_file: ca.pem}
- {brokers: ["kafka:9093"], topic: inv, sasl: {mechanism: OAUTHBEARER, token_file: kafka.token}, tls: {}}
- {brokers: ["b-1.msk.example:9098"], topic: inv, sasl: {mechanism: AWS_MSK_IAM, region: us-east-1}}
- {brokers: ["kafka:9092"], topic: inv, sasl: {mechanism: PLAIN, username: u, password: x}}
`
	got := configfiles.Blocks(t, dir, list, readPublisher)
	want := []*publishConfig{
		{
			Brokers: []string{"kafka-1:9092"}, Topic: "cache-invalidation", TLS: &form.TLS{CAFile: filepath.Join(dir, "ca.pem")},
			SASL: &saslConfig{Mechanism: "SCRAM-SHA-512", Credentials: form.Credentials{Username: "exporter", PasswordFile: filepath.Join(dir, "kafka.password")}},
		},
		{
			Brokers: []string{"kafka:9093"}, Topic: "inv", TLS: &form.TLS{},
			SASL: &saslConfig{Mechanism: "OAUTHBEARER", TokenFile: filepath.Join(dir, "kafka.token")},
		},
		{Brokers: []string{"b-1.msk.example:9098"}, Topic: "inv", SASL: &saslConfig{Mechanism: "AWS_MSK_IAM", Region: "us-east-1"}},
		{
			Brokers: []string{"kafka:9092"}, Topic: "inv",
			SASL: &saslConfig{Mechanism: "PLAIN", Credentials: form.Credentials{Username: "u", Password: "x"}},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

func TestAdvice(t *testing.T) {
	const want = "without groups its lag and depth stay unknown; name the groups that process it"
	if got := (&queueConfig{}).Advice(); got != want {
		t.Errorf("without groups: %q, want %q", got, want)
	}
	if got := (&queueConfig{Groups: []form.NameMatch{{Exact: "g"}}}).Advice(); got != "" {
		t.Errorf("with a group: %q", got)
	}
}
