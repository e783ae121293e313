package consistency

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// originLanes is how many requests go to an origin at once.
const originLanes = 16

// askOrigins asks, in its first round, about differing keys and those in an episode, then the others in rotation,
// within max_per_scrape; in the second about those that are read again. Each round gets an eighth of the time.
func (r *round) askOrigins(ctx context.Context, turn int) {
	end := time.Now().Add(r.total / 8)
	if last := r.began.Add(r.total - r.total/16); end.After(last) {
		end = last
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	var asking sync.WaitGroup
	for i, c := range r.classes {
		if c.origin == nil {
			continue
		}
		k := &r.keys[i]
		var asked []int
		if turn == 0 {
			asked = r.chooseAsked(c, k)
		} else {
			for key := range k.names {
				if k.reread[key] && k.origin[0][key].Asked {
					asked = append(asked, key)
				}
			}
		}
		asking.Go(func() { // each origin has lanes of its own, so that one that hangs holds up no other
			var lanes errgroup.Group
			lanes.SetLimit(originLanes)
			for _, key := range asked {
				lanes.Go(func() error {
					r.ask(ctx, c, k, key, turn)
					return nil
				})
			}
			_ = lanes.Wait() // each key's failure is its own
		})
	}
	asking.Wait()
}

func (r *round) ask(ctx context.Context, c *class, k *classKeys, key, turn int) {
	if ctx.Err() != nil {
		r.mu.Lock()
		c.memory.origin["error"]++
		k.originFailed = true
		r.mu.Unlock()
		return
	}
	var answer verdict.Answer
	result := "error"
	err := c.origin.Ask(ctx, c.vars(k.names[key]), func(got probes.OriginAnswer) { answer, result = c.answer(got) })
	if err != nil {
		answer, result = verdict.Answer{}, "error"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.memory.origin[result]++
	k.originFailed = k.originFailed || result == "error"
	k.origin[turn][key] = answer
	if answer.Asked {
		h := c.memory.key(k.names[key])
		h.originContent, h.originAt = answer.Content, time.Now()
		if answer.Deleted {
			h.originAt = time.Time{}
		}
	}
}

// answer reads what the origin said, and names the result.
func (c *class) answer(got probes.OriginAnswer) (verdict.Answer, string) {
	if got.Deleted {
		return verdict.Answer{Asked: true, Deleted: true}, "not_found"
	}
	body, err := c.reader.Value(got.Body)
	switch {
	case errors.Is(err, content.ErrAbsent):
		return verdict.Answer{Asked: true, Deleted: true}, "not_found"
	case err != nil:
		return verdict.Answer{}, "error"
	}
	v, _ := c.trust(body.Version, time.Now())
	return verdict.Answer{Asked: true, Content: body.Digest, Version: v}, "ok"
}

// chooseAsked gives the keys to ask about: at least a fifth of max_per_scrape is kept for keys that do not differ,
// since all nodes may agree and be wrong.
func (r *round) chooseAsked(c *class, k *classKeys) []int {
	most := c.Origin.MaxPerScrape
	var urgent, others []int
	n := len(k.names)
	for step := range n {
		key := (c.memory.nextAsked + step) % n
		h := c.memory.keys[k.names[key]]
		present := false
		for i := range k.columns {
			col := &k.columns[i]
			present = present || col.read(key).Presence == verdict.Present && !col.foreign(key)
		}
		switch {
		case r.suspicious(c, k, key) || h != nil && h.inEpisode():
			urgent = append(urgent, key)
		case present:
			others = append(others, key)
		}
	}
	kept := min(len(others), (most+4)/5)
	if len(urgent) > most-kept {
		urgent = urgent[:max(0, most-kept)]
	}
	if len(others) > most-len(urgent) {
		others = others[:most-len(urgent)]
	}
	switch {
	case len(others) > 0:
		c.memory.nextAsked = (others[len(others)-1] + 1) % n
	case len(urgent) > 0: // more differ than can be asked about: they take turns
		c.memory.nextAsked = (urgent[len(urgent)-1] + 1) % n
	}
	return append(urgent, others...)
}
