package config

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/glob"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// probesUnderWay bounds the probes that a timeout lets be under way at once.
	probesUnderWay = 1000
	// longestProbe bounds a timeout: no key of a probe is to stay for days after a crash.
	longestProbe = time.Hour
	// probeID stands for an id where a key is looked at.
	probeID = "0123456789abcdef-1"
)

// roundTrip reads one active probe.
func (r *reader) roundTrip(v form.Value, names form.Taken) RoundTrip {
	b := v.Block()
	p := RoundTrip{}
	name := b.Get("name")
	if b.Require(name, "the probe's name, such as end_to_end") {
		p.Name = name.Name("the probe's name, such as end_to_end")
		names.Add(name, p.Name, "probe")
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
	plain := ""
	for i, layer := range words {
		if layer == "" {
			continue
		}
		p.Layers = append(p.Layers, layer)
		plain = cmp.Or(plain, r.probed(items[i], layer))
	}
	key, publish := b.Get("key"), b.Get("publish")
	if b.Require(key, "the key that is written, such as cacheinv:probe:{id}") {
		p.Key = readProbeKey(key, plain)
		refuseCanary(key, p, r.config.Canaries)
	}
	if b.Require(publish, "where the invalidation is sent: "+r.kinds("or", func(k probes.Backend) bool { return k.Publisher != nil })+", and its message") {
		p.Publish, p.Message = r.publish(publish)
	}
	b.Done()
	return p
}

// probed checks a layer of a probe. plain is the kind of its nodes that want plain keys; empty: none do.
func (r *reader) probed(v form.Value, name string) (plain string) {
	i := layerAt(r.config.Layers, name)
	if i < 0 {
		v.Fault("%s is no layer; write the name of one of the layers", v.Quoted())
		return ""
	}
	refused := ""
	for _, n := range r.config.Layers[i].Nodes {
		if !n.can(func(t probes.NodeTraits) bool { return t.Writable }) {
			refused = n.Kind
		}
		if n.Traits.PlainKeys {
			plain = n.Kind
		}
	}
	if refused != "" {
		v.Fault("%s has %s nodes, in which a probe can't write its key; name layers of %s nodes", v.Quoted(), refused,
			r.kinds("and", func(k probes.Backend) bool { return k.NodeTraits.Writable }))
	}
	return plain
}

// readProbeKey reads the key of a probe; plain is as probed gives it.
func readProbeKey(v form.Value, plain string) form.Template {
	t := v.Template([]string{"id"})
	if t.IsZero() {
		return t
	}
	key := t.Expand(map[string]string{"id": probeID}, nil)
	switch {
	case !slices.Equal(t.Names(), []string{"id"}):
		v.Fault("does not hold {id} once; write it where the key's own id stands")
	case plain != "" && (len(key) > 200 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == 0x7f })):
		v.Fault("is no key for %s; write up to 180 letters without white space", plain)
	}
	return t
}

// refuseCanary: a probe's keys must not be read as canaries, where they would seem to be wrong.
func refuseCanary(v form.Value, p RoundTrip, classes []Class) {
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

// publish reads where the invalidation is sent, and what it says.
func (r *reader) publish(v form.Value) (out probes.PublisherSource, message form.Template) {
	b := v.Block()
	_, out = choose(b, r.backends, "where the invalidation is sent", func(k *probes.Backend) func(form.Value) probes.PublisherSource {
		if k.Publisher == nil {
			return nil
		}
		return func(block form.Value) probes.PublisherSource { return k.Publisher(block, r.known) }
	})
	text := b.Get("message")
	if b.Require(text, `the invalidation, such as {"key":"{key}"}`) {
		message = readProbeMessage(text)
	}
	b.Done()
	return out, message
}
