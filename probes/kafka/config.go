package kafka

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/shell"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// queueConfig is a set of topics and of the consumer groups that read them: the block queues[].kafka.
type queueConfig struct {
	// Brokers are the host:port of those that are asked first; the metadata names the others.
	Brokers []string
	Topics  []form.NameMatch
	// Groups selects consumer groups; empty: none, and then only what is enqueued is known.
	Groups []form.NameMatch
	// SASL authenticates the connections; nil: they are not authenticated.
	SASL *saslConfig
	// TLS of the connections; nil: they are plain.
	TLS *form.TLS
}

// saslConfig says how connections are authenticated.
type saslConfig struct {
	// Mechanism is one of the constants.
	Mechanism string
	// Credentials of mechanisms with a user.
	Credentials form.Credentials
	// TokenFile of OAUTHBEARER is a path.
	TokenFile string
	// Region of AWS_MSK_IAM.
	Region string
}

// publishConfig is the topic to which a message is produced: the block invalidation_probes[].publish.kafka.
type publishConfig struct {
	Brokers []string
	Topic   string
	SASL    *saslConfig
	TLS     *form.TLS
}

// The mechanisms of SASL.
const (
	saslPlain   = "PLAIN"
	scramSHA256 = "SCRAM-SHA-256"
	scramSHA512 = "SCRAM-SHA-512"
	oauthBearer = "OAUTHBEARER"
	awsMSKIAM   = "AWS_MSK_IAM"
)

// defaultPort of a broker.
const defaultPort = "9092"

// topicName is what Kafka takes for a topic's name.
var topicName = regexp.MustCompile(`^[\w.-]{1,249}$`)

// readQueue reads which topics and groups of a cluster are one queue.
func readQueue(v form.Value) *queueConfig {
	b := v.Block()
	q := &queueConfig{}
	brokers, topics := b.Get("brokers"), b.Get("topics")
	b.Require(brokers, "a list of host:port")
	brokers.Addresses("brokers", defaultPort, func(_ form.Value, address string) { q.Brokers = append(q.Brokers, address) })
	b.Require(topics, "a list of names or /regexps/")
	q.Topics = topics.NameMatches("topics", func(item form.Value, name string) bool {
		if topicName.MatchString(name) {
			return true
		}
		item.Fault("%s is no name of a topic; write up to 249 letters, digits, . _ and -, or /regexp/", item.Quoted())
		return false
	})
	q.Groups = b.Get("groups").Groups()
	if sasl := b.Get("sasl"); sasl.Given() {
		q.SASL = readSASL(sasl)
	}
	q.TLS = b.TLS()
	b.Done()
	return q
}

// readSASL reads a mechanism and the fields that go with it; those of another mechanism are faults.
func readSASL(v form.Value) *saslConfig {
	b := v.Block()
	out := &saslConfig{}
	mechanism, token, region := b.Get("mechanism"), b.Get("token_file"), b.Get("region")
	login := b.Credentials()
	if b.Require(mechanism, "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM") {
		out.Mechanism = mechanism.OneOf("", saslPlain, scramSHA256, scramSHA512, oauthBearer, awsMSKIAM)
	}
	out.TokenFile = token.FilePath("the path of a file with the token")
	out.Region = region.Word("the region, such as us-east-1")
	switch out.Mechanism {
	case "":
		out.Credentials = login.Credentials
	case oauthBearer:
		b.Require(token, "the path of a file with the token")
	case awsMSKIAM:
		b.Require(region, "the region, such as us-east-1")
	default:
		b.Require(login.Username, "the user")
		if login.Username.Given() && !login.HasUser() {
			login.Username.Fault("is empty; write the user")
		}
		out.Credentials = login.UserNeedsPassword()
	}
	withUser := []string{saslPlain, scramSHA256, scramSHA512}
	for _, f := range []struct {
		value      form.Value
		mechanisms []string
	}{
		{token, []string{oauthBearer}},
		{region, []string{awsMSKIAM}},
		{login.Username, withUser},
		{login.Password, withUser},
		{login.PasswordFile, withUser},
	} {
		if f.value.Given() && out.Mechanism != "" && !slices.Contains(f.mechanisms, out.Mechanism) {
			f.value.Fault("goes with %s; leave it out", strings.Join(f.mechanisms, ", "))
		}
	}
	b.Done()
	return out
}

// readPublisher reads the topic to which a message is produced.
func readPublisher(v form.Value) *publishConfig {
	b := v.Block()
	out := &publishConfig{}
	brokers, topic := b.Get("brokers"), b.Get("topic")
	b.Require(brokers, "a list of host:port")
	brokers.Addresses("brokers", defaultPort, func(_ form.Value, address string) { out.Brokers = append(out.Brokers, address) })
	if b.Require(topic, "the topic's name") {
		out.Topic = topic.Word("the topic's name")
		if out.Topic != "" && !topicName.MatchString(out.Topic) {
			topic.Fault("%s is no name of a topic; write up to 249 letters, digits, . _ and -", topic.Quoted())
		}
	}
	if sasl := b.Get("sasl"); sasl.Given() {
		out.SASL = readSASL(sasl)
	}
	out.TLS = b.TLS()
	b.Done()
	return out
}

// Kind implements probes.QueueSource.
func (*queueConfig) Kind() string { return backendName }

// Traits implements probes.QueueSource.
func (*queueConfig) Traits() probes.QueueTraits {
	return probes.QueueTraits{Brokers: true, Positions: true, Messages: true, Events: true}
}

// On implements probes.QueueSource.
func (*queueConfig) On() string { return "" }

// Watched implements probes.QueueSource.
func (c *queueConfig) Watched() []form.NameMatch { return c.Groups }

// Advice implements probes.QueueSource.
func (c *queueConfig) Advice() string {
	if len(c.Groups) == 0 {
		return "without groups its lag and depth stay unknown; name the groups that process it"
	}
	return ""
}

// Command implements probes.QueueSource.
func (c *queueConfig) Command(look probes.QueueLook) string {
	which := "--all-groups"
	if look.Group != "" {
		which = "--group " + shell.Quote(look.Group)
	}
	return fmt.Sprintf("kafka-consumer-groups --bootstrap-server %s --describe %s", shell.Quote(strings.Join(c.Brokers, ",")), which)
}

// Open implements probes.QueueSource.
func (c *queueConfig) Open(name string, m *probes.Message, _ *probes.Fleet, env *probes.Env) (probes.Queue, error) {
	return newQueue(*c, m, env, env.Log.With("queue", name))
}
