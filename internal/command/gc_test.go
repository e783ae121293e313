package command

import "testing"

// A small heap may double and more, a large one collects in good time, and none without end.
func TestCollection(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		live    uint64
		percent int
		limit   int64
	}{{0, 400, 128 * mb}, {8 * mb, 200, 128 * mb}, {100 * mb, 60, 140 * mb}, {1000 * mb, 60, 1400 * mb}} {
		if p, l := gcPercent(c.live), memoryLimit(c.live); p != c.percent || l>>20 < c.limit>>20-1 || l > c.limit {
			t.Errorf("%d MiB are alive: %d%%, at most %d MiB", c.live>>20, p, l>>20)
		}
	}
}
