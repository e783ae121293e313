package verdict

import (
	"fmt"
	"os"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// histories is n in a soak, and a twentieth of it elsewhere.
func histories(n int) int {
	if os.Getenv("CACHEINV_SOAK") != "" {
		return n
	}
	return n / 20
}

// sampledBefore gives a case the past that a sampling before it made, before the moment of the first read.
func (h *history) sampledBefore(s *source, c *Case, moment int) {
	earlier := moment - 2*wait - s.choose("interval", 1, 2*wait)
	held := map[content.Digest]int{}
	for node := range h.nodes {
		k := &c.Copies[node]
		v := h.held(node, earlier+s.choose("read", 0, wait/2))
		if v == nothing {
			continue
		}
		k.Past = Past{Seen: true, Present: true, Content: digest(v)}
		if c.Versions {
			k.Past.Version = version(s, v)
		}
		if held[k.Past.Content]++; held[k.Past.Content] == 1 {
			c.Known = append(c.Known, Known{k.Past.Content, 1})
		}
		if c.Versions && !k.IsReplica() && held[k.Past.Content] > 1 && k.Past.Version.Compare(c.Remembered) > 0 {
			c.Remembered, c.RememberedContent = k.Past.Version, k.Past.Content
		}
	}
	c.Reread = c.Reread || differ(c)
}

// By primary or majority nobody is convicted whose writes end within the delay, whatever their order, at whatever moment each
// node is read, and whatever was seen before.
func TestWritesThatEndWithinTheDelay(t *testing.T) {
	for _, c := range []struct {
		name     string
		replicas int
	}{{"of nodes alone", 0}, {"of replicas too", 3}} {
		t.Run(c.name, func(t *testing.T) {
			always(t, histories(100_000), func(s *source) string {
				h := drawHistory(s, s.choose("nodes", 1, 5), s.choose("replicas", 0, c.replicas))
				if c.replicas > 0 { // what was deleted does not come back as it was
					for i := range h.nodes {
						h.nodes[i].fills = nil
					}
				}
				moment := s.choose("moment", 0, h.end())
				k := h.read(s, moment, s.choose("width", 0, wait), false, false, false, false)
				if s.chance("sampled before", 2) {
					h.sampledBefore(s, k, moment)
				}
				return convictsNobody(k, false)
			})
		})
	}
}

// A copy that equals the truth throughout both reads is not convicted by version, however late what reaches which node: writes
// that arrive for ever later, or not at all, and old ones that come late.
func TestTheTruthIsNotConvictedByVersion(t *testing.T) {
	judged := 0
	always(t, histories(100_000), func(s *source) string {
		h := drawHistory(s, s.choose("nodes", 1, 5), s.choose("replicas", 0, 2))
		for i := range h.nodes {
			n := &h.nodes[i]
			for k := range n.arrive {
				if s.chance("late", 3) {
					n.arrive[k] += s.choose("by", 0, 10*wait)
				}
			}
			n.lag *= s.choose("lags", 1, 9)
			n.unordered = s.chance("unordered", 2)
		}
		moment, width := s.choose("moment", 0, h.end()+2*wait), s.choose("width", 0, wait)
		c := h.read(s, moment, width, true, false, false, false)
		if s.chance("sampled before", 2) {
			h.sampledBefore(s, c, moment)
		}
		truth := h.database(moment)
		if truth != h.database(moment+2*width+wait) {
			return ""
		}
		for i, o := range decide(c).Copies {
			k := &c.Copies[i]
			if k.Reads[0].Presence != Present || k.Reads[0] != k.Reads[1] || k.Reads[0].Content != digest(truth) {
				continue
			}
			judged++
			if o.State == Stale && o.By == ByVersion {
				return fmt.Sprintf("%s\ncopy %d, %d, is %s by %s", written(c), i, truth, o.State, o.By)
			}
		}
		return ""
	})
	if judged == 0 {
		t.Error("no copy was the truth")
	}
}
