package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mostGroups of consumers that a queue follows.
const mostGroups = 100

// queue; layers have the nodes that it may name.
func (v value) queue(layers []Layer, queues taken) Queue {
	s := v.section()
	q := Queue{}
	name := s.get("name")
	if s.require(name, "the queue's name") {
		q.Name = name.name("the queue's name")
		queues.add(name, q.Name, "queue")
	}
	q.Capacity = s.get("capacity").whole(0, 1<<53)
	q.TargetRate = s.get("target_rate").rate()
	if m := s.get("message"); m.given() {
		q.Message = m.parts()
	}
	redis, kafka, http := s.get("redis"), s.get("kafka"), s.get("http")
	s.exactlyOne(redis, kafka, http)
	if redis.given() {
		q.Redis = redis.redisQueue(layers)
	}
	if kafka.given() {
		q.Kafka = kafka.kafka()
	}
	if http.given() {
		q.HTTP = http.httpQueue()
	}
	if m := s.get("message"); m.given() && http.given() {
		m.fault("stands beside http, which shows no messages; leave it out")
	}
	s.done()
	return q
}

// parts says where the parts of an invalidation stand.
func (v value) parts() *Message {
	s := v.section()
	key, version, at := s.get("key"), s.get("version"), s.get("timestamp_ms")
	m := &Message{Key: key.jsonPath(), Version: version.jsonPath(), TimestampMS: at.jsonPath()}
	if s.ok && !key.given() && !version.given() && !at.given() {
		s.fault("is empty; write at least one of key, version and timestamp_ms, such as key: $.key")
	}
	s.done()
	return m
}

var rate = regexp.MustCompile(`^([0-9]+)/([smh])$`)

// rate in messages per second; 0 where none is given.
func (v value) rate() float64 {
	const what = "messages in a second, minute or hour, such as 1000/m"
	text, ok := v.text(what)
	if !ok {
		return 0
	}
	parts := rate.FindStringSubmatch(text)
	if parts == nil {
		v.fault("is %s; write %s", v.quoted(), what)
		return 0
	}
	n, err := strconv.ParseInt(parts[1], 10, 53)
	if err != nil || n == 0 {
		v.fault("is %s; write 1 or more, such as 1000/m", v.quoted())
		return 0
	}
	return float64(n) / map[string]float64{"s": 1, "m": 60, "h": 3600}[parts[2]]
}

func (v value) redisQueue(layers []Layer) *RedisQueue {
	s := v.section()
	q := &RedisQueue{}
	node := s.get("node")
	if s.require(node, "the name of a redis node of the layers") {
		q.Node = node.word("the name of a redis node of the layers")
		known := slices.ContainsFunc(layers, func(l Layer) bool {
			return slices.ContainsFunc(l.Nodes, func(n Node) bool { return n.Name == q.Node && n.Redis != nil })
		})
		if q.Node != "" && !known {
			node.fault("%s is no redis node of the layers; write the name of one", node.quoted())
		}
	}
	list, stream, groups := s.get("list"), s.get("stream"), s.get("groups")
	s.exactlyOne(list, stream)
	q.List, q.Stream = list.word("the list's key"), stream.word("the stream's key")
	q.Groups = groups.groups()
	if groups.given() && list.given() && !stream.given() {
		groups.fault("stands beside list, which has no consumer groups; leave it out, or write stream")
	}
	s.done()
	return q
}

func (v value) groups() []NameMatch {
	out := v.matches("consumer groups", nil)
	if len(out) > mostGroups {
		v.fault("has %d groups, and a queue follows at most %d; write fewer", len(out), mostGroups)
	}
	return out
}

var topicName = regexp.MustCompile(`^[\w.-]{1,249}$`)

// matches reads exact names, of a form (nil: any), and /regexps/.
func (v value) matches(what string, form *regexp.Regexp) []NameMatch {
	words, items := v.words(what, "a name or /regexp/")
	var out []NameMatch
	for i, s := range words {
		item := items[i]
		begins, ends := strings.HasPrefix(s, "/"), strings.HasSuffix(s, "/")
		switch {
		case s == "":
		case s == "//":
			item.fault("is an empty regular expression; write /.*/ for all of them")
		case begins && ends && len(s) > 1:
			if re := item.compile(s[1 : len(s)-1]); re != nil {
				out = append(out, NameMatch{Regexp: re})
			}
		case begins:
			item.fault("%s begins with a / and does not end with one; write a name or /regexp/", item.quoted())
		case form != nil && !form.MatchString(s):
			item.fault("%s is no name of a topic; write up to 249 letters, digits, . _ and -, or /regexp/", item.quoted())
		default:
			out = append(out, NameMatch{Exact: s})
		}
	}
	return out
}

func (v value) kafka() *KafkaQueue {
	s := v.section()
	q := &KafkaQueue{}
	brokers, topics := s.get("brokers"), s.get("topics")
	s.require(brokers, "a list of host:port")
	brokers.addresses("brokers", "9092", func(_ value, broker string) { q.Brokers = append(q.Brokers, broker) })
	s.require(topics, "a list of names or /regexps/")
	q.Topics = topics.matches("topics", topicName)
	q.Groups = s.get("groups").groups()
	if sasl := s.get("sasl"); sasl.given() {
		q.SASL = sasl.sasl()
	}
	q.TLS = s.tls()
	s.done()
	return q
}

// The mechanisms of SASL without a user and password.
const (
	oauthBearer = "OAUTHBEARER"
	awsMSKIAM   = "AWS_MSK_IAM"
)

func (v value) sasl() *SASL {
	s := v.section()
	out := &SASL{}
	mechanism, token, region := s.get("mechanism"), s.get("token_file"), s.get("region")
	access := s.credentials()
	if s.require(mechanism, "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM") {
		out.Mechanism = mechanism.oneOf("", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", oauthBearer, awsMSKIAM)
	}
	out.TokenFile = token.filePath("the path of a file with the token")
	out.Region = region.word("the region, such as us-east-1")
	switch out.Mechanism {
	case "":
		out.Credentials = access.Credentials
	case oauthBearer:
		s.require(token, "the path of a file with the token")
	case awsMSKIAM:
		s.require(region, "the region, such as us-east-1")
	default:
		s.require(access.username, "the user")
		if access.username.given() && !access.user {
			access.username.fault("is empty; write the user")
		}
		out.Credentials = access.passwordedUser()
	}
	withUser := []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}
	for _, f := range []struct {
		value
		mechanisms []string
	}{
		{token, []string{oauthBearer}},
		{region, []string{awsMSKIAM}},
		{access.username, withUser},
		{access.password, withUser},
		{access.file, withUser},
	} {
		if f.given() && out.Mechanism != "" && !slices.Contains(f.mechanisms, out.Mechanism) {
			f.fault("goes with %s; leave it out", strings.Join(f.mechanisms, ", "))
		}
	}
	s.done()
	return out
}

// httpQueue tells its depth in JSON.
func (v value) httpQueue() *HTTPQueue {
	s := v.section()
	q := &HTTPQueue{}
	u, depth := s.get("url"), s.get("depth")
	if s.require(u, "the URL that tells the depth") {
		q.URL = u.url()
	}
	if s.require(depth, "the path of the depth, such as $.depth") {
		q.Depth = depth.jsonPath()
	}
	q.OldestAge = s.get("oldest_age_seconds").jsonPath()
	q.Enqueued, q.Processed = s.get("enqueued").jsonPath(), s.get("processed").jsonPath()
	q.Client = s.client()
	s.done()
	return q
}
