package consistency

import (
	"math"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// lifeSlack is how much more than was set a server may say that a copy has left: it may count whole seconds.
const lifeSlack = time.Second

// noteTTL notes a present copy that will live for longer than copies of its layer do.
func (ct *counts) noteTTL(cp *copyCount) {
	o := cp.last
	cp.on.present++
	if !o.hasTTL && !o.noExpiry {
		return
	}
	cp.on.ttlTold = true
	switch ttl := ct.class.perLayer[cp.on.column.layer].ttl; {
	case ttl == 0: // copies without expiry are intended
	case o.noExpiry:
		cp.on.node.Immortal++
	case o.ttl > ttl+lifeSlack:
		cp.on.node.OverLimit++
	}
}

// spreads notes, in each layer, how far apart the copies of one key are in what is left to live.
func (ct *counts) spreads() {
	for layer := range ct.layers {
		low, high, n := math.Inf(1), math.Inf(-1), 0
		for i := range ct.copies {
			cp := &ct.copies[i]
			if cp.on.column.layer != layer || cp.last.Presence != verdict.Present || !cp.last.hasTTL || cp.last.noExpiry {
				continue
			}
			n++
			low, high = math.Min(low, cp.last.ttl.Seconds()), math.Max(high, cp.last.ttl.Seconds())
		}
		if n > 0 {
			l := &ct.layers[layer]
			l.known, l.skew = true, math.Max(l.skew, high-low)
		}
	}
}
