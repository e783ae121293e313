package kafka

import (
	"regexp"
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

// queueConfig is a set of topics and of the consumer groups that read them.
type queueConfig struct {
	Brokers []string
	Topics  []form.NameMatch
	// Groups selects consumer groups; empty: none, and what is enqueued is all that is told.
	Groups []form.NameMatch
	SASL   *saslConfig
	TLS    *form.TLS
}

// saslConfig of a Kafka connection. Mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER (TokenFile), AWS_MSK_IAM (Region).
type saslConfig struct {
	Mechanism   string
	Credentials form.Credentials
	TokenFile   string
	Region      string
}

// publishConfig produces the message to a topic.
type publishConfig struct {
	Brokers []string
	Topic   string
	SASL    *saslConfig
	TLS     *form.TLS
}

var topicName = regexp.MustCompile(`^[\w.-]{1,249}$`)

// readQueue reads which topics and groups of which cluster are one queue.
func readQueue(v form.Value) *queueConfig {
	b := v.Block()
	q := &queueConfig{}
	brokers, topics := b.Get("brokers"), b.Get("topics")
	b.Require(brokers, "a list of host:port")
	brokers.Addresses("brokers", "9092", func(_ form.Value, broker string) { q.Brokers = append(q.Brokers, broker) })
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

// The mechanisms of SASL without a user and password.
const (
	oauthBearer = "OAUTHBEARER"
	awsMSKIAM   = "AWS_MSK_IAM"
)

// readSASL reads a mechanism and the fields that go with it; another's are faults.
func readSASL(v form.Value) *saslConfig {
	b := v.Block()
	out := &saslConfig{}
	mechanism, token, region := b.Get("mechanism"), b.Get("token_file"), b.Get("region")
	login := b.Credentials()
	if b.Require(mechanism, "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM") {
		out.Mechanism = mechanism.OneOf("", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", oauthBearer, awsMSKIAM)
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
	withUser := []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}
	for _, f := range []struct {
		at         form.Value
		mechanisms []string
	}{
		{token, []string{oauthBearer}},
		{region, []string{awsMSKIAM}},
		{login.Username, withUser},
		{login.Password, withUser},
		{login.PasswordFile, withUser},
	} {
		if f.at.Given() && out.Mechanism != "" && !slices.Contains(f.mechanisms, out.Mechanism) {
			f.at.Fault("goes with %s; leave it out", strings.Join(f.mechanisms, ", "))
		}
	}
	b.Done()
	return out
}

// readPublisher reads where a message is produced.
func readPublisher(v form.Value) *publishConfig {
	b := v.Block()
	out := &publishConfig{}
	brokers, topic := b.Get("brokers"), b.Get("topic")
	b.Require(brokers, "a list of host:port")
	brokers.Addresses("brokers", "9092", func(_ form.Value, broker string) { out.Brokers = append(out.Brokers, broker) })
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
