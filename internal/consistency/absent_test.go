package consistency

import (
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

const negative = `absent: "^(null|__none__)$"`

// TestAbsentContent: a copy that says "not there" is missing, has no vote, is not compared and has no TTL.
func TestAbsentContent(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c; l3: d", negative)
		withText(w, "a", "__none__")
		withText(w, "b", "null")
		w.node("a").ttl = 5 * time.Hour // more than the layer's
		w.play(
			"c=x d=x -> a=missing b=missing c=fresh d=fresh majority",
			"d=y -> a=missing b=missing c=undecided d=undecided none",
			"c=- d=- -> a=missing b=missing c=missing d=missing",
		)
		if n := w.last.Classes[0].Nodes[0]; n.OverLimit != 0 || n.Copies[verdict.Missing] != 1 {
			t.Errorf("%+v", n)
		}
	})
}

// TestAbsentOfALayer stands instead of the class's.
func TestAbsentOfALayer(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a; l3: b", negative+`, layers: [l2, {name: l3, absent: "^0$"}]`)
		withText(w, "a", "null")
		withText(w, "b", "0")
		w.play("-> a=missing b=missing")
		withText(w, "a", "0")
		withText(w, "b", "null")
		w.play("-> a=undecided b=undecided none")
	})
}

// TestAbsentAnswerOfTheOrigin: what stands for "not there" says that the thing is deleted.
func TestAbsentAnswerOfTheOrigin(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", negative+", "+versioned+", "+asking)
		w.play("a=x@1 b=x@1 origin=x@1 -> a=fresh b=fresh origin")
		w.origin("c").body = "null"
		withText(w, "b", "null")
		w.play("-> a=stale b=missing origin")
		if n := w.last.Classes[0].OriginRequests["not_found"]; n == 0 {
			t.Error("no answer says that it is deleted")
		}
	})
}

// TestADeleteRememberedOnOneNode is a delete that did not reach the other.
func TestADeleteRememberedOnOneNode(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", negative)
		w.play("counting a=x b=x -> a=fresh b=fresh majority")
		withText(w, "a", "null")
		w.play("-> a=missing b=unverified none")
		if n := w.last.Classes[0].Nodes[1]; n.Survivors != 1 {
			t.Errorf("%d survivors", n.Survivors)
		}
	})
}

// TestAnOriginOfWhichNothingIsCompared was not asked.
func TestAnOriginOfWhichNothingIsCompared(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c", `compare: ["$.n"], `+asking)
		w.play("a=x b=x c=y origin=y -> a=stale b=stale c=fresh origin")
		w.configure("l2: d e f", `compare: ["$.n"], `+asking)
		w.origin("c").body = `{"name":"y"}`
		w.play("d=x e=x f=y -> d=fresh e=fresh f=stale majority")
	})
}
