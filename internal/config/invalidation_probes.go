package config

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/glob"
)

const (
	// probesUnderWay bounds the probes that a timeout lets be under way at once.
	probesUnderWay = 1000
	// longestProbe bounds a timeout: no key of a probe is to stay for days after a crash.
	longestProbe = time.Hour
	// probeID stands for an id where a key is looked at.
	probeID = "0123456789abcdef-1"
)

// invalidationProbe; layers and classes are those of the configuration.
func (v value) invalidationProbe(layers []Layer, classes []Class, probes taken) InvalidationProbe {
	s := v.section()
	p := InvalidationProbe{}
	name := s.get("name")
	if s.require(name, "the probe's name, such as end_to_end") {
		p.Name = name.name("the probe's name, such as end_to_end")
		probes.add(name, p.Name, "probe")
	}
	interval, timeout, list := s.get("interval"), s.get("timeout"), s.get("layers")
	p.Interval = interval.positive(10*time.Second, "how often a probe begins, such as 10s")
	p.Timeout = timeout.positive(15*time.Second, "after which a copy that is still served is lost, such as 15s")
	switch {
	case p.Timeout > longestProbe:
		timeout.fault("is longer than an hour; write a shorter one")
	case p.Interval > 0 && p.Timeout/p.Interval > probesUnderWay:
		at := timeout
		if interval.given() {
			at = interval
		}
		at.fault("lets more than %d probes be under way at once; write a longer interval or a shorter timeout", probesUnderWay)
	}
	s.require(list, "the layers that are probed")
	words, items := list.words("layers", "a layer's name")
	memcached := false
	for i, layer := range words {
		if layer == "" {
			continue
		}
		p.Layers = append(p.Layers, layer)
		memcached = items[i].probed(layers, layer) || memcached
	}
	key, publish := s.get("key"), s.get("publish")
	if s.require(key, "the key that is written, such as cacheinv:probe:{id}") {
		p.Key = key.probeKey(memcached)
		key.noCanary(p, classes)
	}
	if s.require(publish, "where the invalidation is sent: kafka, redis or http, and its message") {
		p.Publish, p.Message = publish.publish(layers)
	}
	s.done()
	return p
}

// positive is a duration above 0.
func (v value) positive(otherwise time.Duration, what string) time.Duration {
	if text, ok := v.text(what); ok {
		if d := v.parsePositive(text, what); d > 0 {
			return d
		}
	}
	return otherwise
}

// probed checks a layer of a probe, and tells whether it has memcached nodes.
func (v value) probed(layers []Layer, name string) (memcached bool) {
	i := layerAt(layers, name)
	if i < 0 {
		v.fault("%s is no layer; write the name of one of the layers", v.quoted())
		return false
	}
	if slices.ContainsFunc(layers[i].Nodes, func(n Node) bool { return n.HTTP != nil }) {
		v.fault("%s has http nodes, in which a probe can't write its key; name layers of redis and memcached nodes", v.quoted())
	}
	return slices.ContainsFunc(layers[i].Nodes, func(n Node) bool { return n.Memcached != nil })
}

func (v value) probeKey(memcached bool) Template {
	t := v.template([]string{"id"})
	if t.IsZero() {
		return t
	}
	key := t.Expand(map[string]string{"id": probeID}, nil)
	switch {
	case !slices.Equal(t.Names(), []string{"id"}):
		v.fault("does not hold {id} once; write it where the key's own id stands")
	case memcached && (len(key) > 200 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == 0x7f })):
		v.fault("is no key for memcached; write up to 180 letters without white space")
	}
	return t
}

// noCanary: a probe's keys must not be read as canaries, where they would seem to be wrong.
func (v value) noCanary(p InvalidationProbe, classes []Class) {
	if p.Key.IsZero() {
		return
	}
	name := p.Key.Expand(map[string]string{"id": probeID}, nil)
	for _, k := range classes {
		if k.Pattern == "" {
			continue
		}
		for _, l := range k.Layers {
			key, ok := l.Key.Key(name)
			if ok && slices.Contains(p.Layers, l.Name) && glob.Match(k.Pattern, key) && (k.Match == nil || k.Match.MatchString(key)) {
				v.fault("matches the pattern of class %q, whose canary it would become; write another key, or a narrower pattern", k.Name)
				return
			}
		}
	}
}

// message of an invalidation. Its own braces are JSON's: only the names that are known are places.
func (v value) message() Template {
	t := v.jsonTemplate([]string{"key", "id", "version", "timestamp_ms"})
	if !t.IsZero() && !slices.Contains(t.Names(), "key") {
		v.fault("holds no {key}; write it where the key stands")
	}
	return t
}

var placeName = regexp.MustCompile(`\{([a-z_]+)\}`)

// jsonTemplate reads a template whose other braces are text.
func (v value) jsonTemplate(names []string) Template {
	s := v.word(`text with {key}, such as {"key":"{key}"}`)
	t := Template{text: s}
	rest := 0
	for _, at := range placeName.FindAllStringSubmatchIndex(s, -1) {
		name := s[at[2]:at[3]]
		if !slices.Contains(names, name) {
			v.fault("names {%s}, which is unknown in a message; known are {%s}", name, strings.Join(names, "}, {"))
			continue
		}
		t.parts = append(t.parts, part{literal: s[rest:at[0]]}, part{name: name})
		rest = at[1]
	}
	t.parts = append(t.parts, part{literal: s[rest:]})
	return t
}

func (v value) publish(layers []Layer) (out Publish, message Template) {
	s := v.section()
	kafka, redis, http, text := s.get("kafka"), s.get("redis"), s.get("http"), s.get("message")
	s.exactlyOne(kafka, redis, http)
	if kafka.given() {
		out.Kafka = kafka.publishKafka()
	}
	if redis.given() {
		out.Redis = redis.publishRedis(layers)
	}
	if http.given() {
		out.HTTP = http.publishHTTP()
	}
	if s.require(text, `the invalidation, such as {"key":"{key}"}`) {
		message = text.message()
	}
	s.done()
	return out, message
}

func (v value) publishKafka() *PublishKafka {
	s := v.section()
	out := &PublishKafka{}
	brokers, topic := s.get("brokers"), s.get("topic")
	s.require(brokers, "a list of host:port")
	brokers.addresses("brokers", "9092", func(_ value, broker string) { out.Brokers = append(out.Brokers, broker) })
	if s.require(topic, "the topic's name") {
		out.Topic = topic.word("the topic's name")
		if out.Topic != "" && !topicName.MatchString(out.Topic) {
			topic.fault("%s is no name of a topic; write up to 249 letters, digits, . _ and -", topic.quoted())
		}
	}
	if sasl := s.get("sasl"); sasl.given() {
		out.SASL = sasl.sasl()
	}
	out.TLS = s.tls()
	s.done()
	return out
}

func (v value) publishRedis(layers []Layer) *PublishRedis {
	s := v.section()
	out := &PublishRedis{}
	node := s.get("node")
	if s.require(node, "the name of a redis node of the layers") {
		out.Node = node.word("the name of a redis node of the layers")
		known := slices.ContainsFunc(layers, func(l Layer) bool {
			return slices.ContainsFunc(l.Nodes, func(n Node) bool { return n.Name == out.Node && n.Redis != nil })
		})
		if out.Node != "" && !known {
			node.fault("%s is no redis node of the layers; write the name of one", node.quoted())
		}
	}
	list, stream := s.get("list"), s.get("stream")
	s.exactlyOne(list, stream)
	out.List, out.Stream = list.word("the list's key"), stream.word("the stream's key")
	s.done()
	return out
}

// methods that carry a body.
var methods = []string{"POST", "PUT", "PATCH", "DELETE"}

func (v value) publishHTTP() *PublishHTTP {
	s := v.section()
	out := &PublishHTTP{}
	u := s.get("url")
	if s.require(u, "the URL that takes invalidations") {
		out.URL = u.url()
	}
	out.Method = s.get("method").oneOf("POST", methods...)
	out.Client = s.client()
	out.Headers = s.headers(out.Client)
	s.done()
	return out
}
