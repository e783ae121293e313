package diagnosis

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestCompareVersions(t *testing.T) {
	// Each list goes up.
	for _, list := range [][]string{
		{"2.9.0", "2.10.0-rc.1", "2.10.0-rc1", "2.10.0", "2.10.1", "10.0"},
		{"v1.9", "v1.10", "2"},
		{"1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.2", "1.0.0-alpha.10", "1.0.0-beta", "1.0.0-rc9", "1.0.0-rc10", "1.0.0"},
		{"9", "10", "20240131", "20240201"},
		{"1.2.3+a", "1.2.3+b", "1.2.4"},
		{"2024-01-31", "2024-02-01", "2024-02-10"},
		{"536870912", "1073741824"},
		{"a94a8fe", "noeviction", "volatile-lru", "2.9"},
	} {
		for i, a := range list {
			for j, b := range list {
				want := 0
				if i < j {
					want = -1
				} else if i > j {
					want = 1
				}
				if got := compareVersions(a, b); got != want {
					t.Errorf("%s against %s: %d", a, b, got)
				}
			}
		}
	}
}

// Of as many instances those with the older version are the odd ones, and the older one is written first.
func TestOlderVersionsAreTheOddOnes(t *testing.T) {
	for _, c := range []struct {
		versions map[string]string
		odd      []string
		text     string
	}{
		{map[string]string{"a": "2.10.0", "b": "2.9.0"}, []string{"b"}, "2.9.0 on b; 2.10.0 on a"},
		{map[string]string{"a": "2.9.0", "b": "2.9.0", "c": "2.10.0"}, []string{"c"}, "2.9.0 on a, b; 2.10.0 on c"},
		{map[string]string{"a": "2.10.0", "b": "2.9.0", "c": "2.11.0"}, []string{"a", "b"}, "2.9.0 on b; 2.10.0 on a; 2.11.0 on c"},
		{map[string]string{"a": "2.10.0-rc1", "b": "2.10.0"}, []string{"a"}, "2.10.0-rc1 on a; 2.10.0 on b"},
	} {
		d := watch(2, func(_ int, e *Evidence) {
			e.Apps = []App{{Name: "web", Versions: c.versions}}
		})[1]
		odd := slices.Sorted(maps.Keys(minorities(&Evidence{Apps: []App{{Name: "web", Versions: c.versions}}})))
		if !slices.Equal(odd, c.odd) {
			t.Errorf("%v: the odd ones are %v", c.versions, odd)
		}
		if text := strings.Join(d.Steps[4].Evidence, "\n"); !strings.Contains(text, c.text) {
			t.Errorf("%v: it says\n%s\nwant\n%s", c.versions, text, c.text)
		}
	}
}

// A server's odd version is asked for where it is the older one.
func TestOddServerVersion(t *testing.T) {
	odd := others(map[string][]string{"7.10.0": {"redis-1"}, "7.2.4": {"redis-2"}})
	if _, ok := odd["7.2.4"]; !ok || len(odd) != 1 {
		t.Errorf("the odd ones are %v", odd)
	}
}
