package config

import (
	"slices"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
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

// readInvalidationProbe reads one probe; layers and classes are those of the configuration.
func readInvalidationProbe(v form.Value, layers []Layer, classes []Class, probes form.Taken) InvalidationProbe {
	b := v.Block()
	p := InvalidationProbe{}
	name := b.Get("name")
	if b.Require(name, "the probe's name, such as end_to_end") {
		p.Name = name.Name("the probe's name, such as end_to_end")
		probes.Add(name, p.Name, "probe")
	}
	interval, timeout, list := b.Get("interval"), b.Get("timeout"), b.Get("layers")
	p.Interval = interval.PositiveDuration(10*time.Second, "how often a probe begins, such as 10s")
	p.Timeout = timeout.PositiveDuration(15*time.Second, "after which a copy that is still served is lost, such as 15s")
	switch {
	case p.Timeout > longestProbe:
		timeout.Fault("is longer than an hour; write a shorter one")
	case p.Interval > 0 && p.Timeout/p.Interval > probesUnderWay:
		at := timeout
		if interval.Given() {
			at = interval
		}
		at.Fault("lets more than %d probes be under way at once; write a longer interval or a shorter timeout", probesUnderWay)
	}
	b.Require(list, "the layers that are probed")
	words, items := list.Words("layers", "a layer's name")
	memcached := false
	for i, layer := range words {
		if layer == "" {
			continue
		}
		p.Layers = append(p.Layers, layer)
		memcached = readProbed(items[i], layers, layer) || memcached
	}
	key, publish := b.Get("key"), b.Get("publish")
	if b.Require(key, "the key that is written, such as cacheinv:probe:{id}") {
		p.Key = readProbeKey(key, memcached)
		refuseCanary(key, p, classes)
	}
	if b.Require(publish, "where the invalidation is sent: kafka, redis or http, and its message") {
		p.Publish, p.Message = readPublish(publish, layers)
	}
	b.Done()
	return p
}

// readProbed checks a layer of a probe, and tells whether it has memcached nodes.
func readProbed(v form.Value, layers []Layer, name string) (memcached bool) {
	i := layerAt(layers, name)
	if i < 0 {
		v.Fault("%s is no layer; write the name of one of the layers", v.Quoted())
		return false
	}
	if slices.ContainsFunc(layers[i].Nodes, func(n Node) bool { return n.HTTP != nil }) {
		v.Fault("%s has http nodes, in which a probe can't write its key; name layers of redis and memcached nodes", v.Quoted())
	}
	return slices.ContainsFunc(layers[i].Nodes, func(n Node) bool { return n.Memcached != nil })
}

func readProbeKey(v form.Value, memcached bool) form.Template {
	t := v.Template([]string{"id"})
	if t.IsZero() {
		return t
	}
	key := t.Expand(map[string]string{"id": probeID}, nil)
	switch {
	case !slices.Equal(t.Names(), []string{"id"}):
		v.Fault("does not hold {id} once; write it where the key's own id stands")
	case memcached && (len(key) > 200 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == 0x7f })):
		v.Fault("is no key for memcached; write up to 180 letters without white space")
	}
	return t
}

// refuseCanary: a probe's keys must not be read as canaries, where they would seem to be wrong.
func refuseCanary(v form.Value, p InvalidationProbe, classes []Class) {
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
				v.Fault("matches the pattern of class %q, whose canary it would become; write another key, or a narrower pattern", k.Name)
				return
			}
		}
	}
}

// readProbeMessage reads the invalidation. Its own braces are JSON's: only the names that are known are places.
func readProbeMessage(v form.Value) form.Template {
	t := v.MessageTemplate([]string{"key", "id", "version", "timestamp_ms"})
	if !t.IsZero() && !slices.Contains(t.Names(), "key") {
		v.Fault("holds no {key}; write it where the key stands")
	}
	return t
}

func readPublish(v form.Value, layers []Layer) (out Publish, message form.Template) {
	b := v.Block()
	kafka, redis, http, text := b.Get("kafka"), b.Get("redis"), b.Get("http"), b.Get("message")
	b.ExactlyOne(kafka, redis, http)
	if kafka.Given() {
		out.Kafka = readPublishKafka(kafka)
	}
	if redis.Given() {
		out.Redis = readPublishRedis(redis, isRedisNode(layers))
	}
	if http.Given() {
		out.HTTP = readPublishHTTP(http)
	}
	if b.Require(text, `the invalidation, such as {"key":"{key}"}`) {
		message = readProbeMessage(text)
	}
	b.Done()
	return out, message
}
