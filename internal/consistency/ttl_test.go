package consistency

import (
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// The largest spread of remaining TTL between the copies of one key in one layer.
func TestTTLSkew(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c; l3: d e", "keys: [k, other]")
		ttl := func(name string, ttl time.Duration) {
			w.node(name).twist = func(_ int, _ string, r *probes.Raw) { r.NoExpiry, r.HasTTL, r.TTL = false, true, ttl }
		}
		ttl("a", 50*time.Second)
		ttl("b", 20*time.Second)
		ttl("d", 500*time.Second)
		w.play("a=x b=x c=x d=x e=x ->")
		for _, l := range w.last.Classes[0].Layers {
			if want := map[string]float64{"l2": 30, "l3": 0}[l.Layer]; l.TTLSkew != want || !l.TTLKnown {
				t.Errorf("layer %s has a spread of %v, known: %t", l.Layer, l.TTLSkew, l.TTLKnown)
			}
		}
	})
}

// Copies that will live for longer than their layer's.
func TestLives(t *testing.T) {
	for _, c := range []struct {
		name, nodes string
		steps       []string
	}{
		{"immortal", "l2: a b", []string{"a=x ttl:b=1h b=x -> lives:a=1,0,true lives:b=0,0,true", "a=- -> lives:a=0,0,true"}},
		{"intended", "l2 ttl=none: a b", []string{"a=x ttl:b=10000h b=x -> lives:a=0,0,true lives:b=0,0,true"}},
		{"whole seconds aside", "l2 ttl=60s: a b c", []string{
			"ttl:a=61s ttl:b=62s ttl:c=1h a=x b=x c=x -> lives:a=0,0,true lives:b=0,1,true lives:c=0,1,true",
		}},
		{"nothing was read", "l2: a b", []string{"freeze=a b=x -> lives:a=0,0,false lives:b=1,0,true"}},
		{"missing and unreadable", "l2: a b", []string{"b=? -> lives:a=0,0,true lives:b=0,0,false"}},
		{"a stray's life is its own affair", "l2: a b", []string{"place:b=foreign b=x a=x -> lives:b=0,0,false"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) { newWorld(t, c.nodes).play(c.steps...) })
		})
	}
}

// A node that tells no TTLs: nothing is known, and of HTTP nodes not before one was told.
func TestLivesOfNodesThatDoNotTell(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b")
		silent := func(_ int, _ string, r *probes.Raw) { r.NoExpiry = false }
		for node, kind := range map[string]string{"a": "http", "b": "memcached"} {
			w.node(node).id.Kind, w.node(node).id.Traits = kind, traitsOf(kind)
		}
		w.node("a").twist, w.node("b").twist = silent, silent
		w.play(
			"-> lives:a=0,0,false lives:b=0,0,true",
			"a=x b=x -> lives:a=0,0,false lives:b=0,0,false",
		)
		w.node("a").twist = nil
		w.play(
			"-> lives:a=1,0,true lives:b=0,0,false",
			"a=- -> lives:a=0,0,true",
		)
	})
}
