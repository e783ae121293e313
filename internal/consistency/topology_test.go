package consistency

import (
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
