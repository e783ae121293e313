package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGroupsAreRead(t *testing.T) {
	type group struct {
		Group    bool
		MinNodes int
	}
	for file, want := range map[string]map[string]group{
		"groups.yml": {
			"app": {true, 3}, "app-by-port": {true, 0}, "other-app": {true, 0},
			"headless": {true, 2}, "by-srv": {true, 0}, "pair": {true, 2},
			"pool": {true, 3}, "twice": {true, 0}, "some": {true, 0}, "router": {true, 0}, "router-too": {true, 0},
		},
		"topology.yml": {"cluster-1": {true, 0}, "main": {true, 0}, "other": {true, 0}},
		"minimal.yml":  {"redis-1": {}, "redis-2": {}},
	} {
		c := load(t, file)
		got := map[string]group{}
		for _, l := range c.Layers {
			for _, n := range l.Nodes {
				got[n.Name] = group{n.Source.Group(), n.MinNodes}
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: want (-), got (+):\n%s", file, d)
		}
	}
}
