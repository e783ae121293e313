package consistency

import (
	"strings"
	"testing"
)

// Replicas of one primary that is not configured have one vote, those of two have two.
func TestReplicasOfPrimariesThatAreNotConfigured(t *testing.T) {
	for _, c := range []struct{ name, nodes, want string }{
		{"of one", "l2: p r<p s<p b", "leave=p r=x s=x b=y -> r=undecided s=undecided b=undecided none"},
		{"of two", "l2: p q r<p s<q b", "leave=p leave=q r=x s=x b=y -> r=fresh s=fresh b=stale majority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) { newWorld(t, c.nodes).play(c.want) })
		})
	}
}

// A primary that went down and the replica that took over have one vote.
func TestAFormerPrimaryHasNoVote(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: p r<p b c")
		w.play("p=x b=x c=y -> p=fresh r=fresh b=fresh c=stale majority")
		w.do("promote=r")
		w.node("p").primary = nil // what it was when it last answered
		w.node("r").replID2 = "p"
		w.play("freeze=p wait=1m c=w -> p=error r=undecided b=undecided c=undecided majority", "r=v b=v -> p=error r=fresh b=fresh c=stale majority")
	})
}

// Replicas that take writes have a vote each, and none is judged by another's copy.
func TestActiveReplicasVote(t *testing.T) {
	for _, c := range []struct{ name, steps, want string }{
		{"replicas", "", "p=x r=y s=y -> p=unverified r=stale s=stale primary"},
		{"active ones", "active:r=true active:s=true", "p=x r=y s=y -> p=stale r=fresh s=fresh majority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				w := newWorld(t, "l2: p r<p s<p")
				for _, step := range strings.Fields(c.steps) {
					w.do(step)
				}
				w.play(c.want)
			})
		})
	}
}

// Nodes that their source calls down have no vote that nobody knows.
func TestNodesCalledDownHaveNoVote(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		newWorld(t, "l2: a b c d e").play(
			"a=x b=x c=x d=x e=x ->",
			"freeze=d freeze=e a=y b=y -> a=undecided b=undecided c=undecided none",
			"down:d=true down:e=true -> a=fresh b=fresh c=stale d=error e=error majority",
		)
	})
}
