package drain

import (
	"context"
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// batch is some messages, and what came of them.
type batch struct {
	messages []probes.TakenMessage
	// keys of the messages, each once, sorted.
	keys    []string
	outcome []probes.Outcome
	// reasons of dead messages, by index.
	reasons map[int]string
	// forbidden keys are those of queues.
	forbidden map[string]bool
	// keptKeys could not be deleted everywhere.
	keptKeys            []string
	applied, dead, kept int64
}

func newBatch(messages []probes.TakenMessage) *batch {
	b := &batch{messages: messages, outcome: make([]probes.Outcome, len(messages)), reasons: map[int]string{}, forbidden: map[string]bool{}}
	for _, m := range messages {
		b.keys = append(b.keys, m.Keys...)
	}
	slices.Sort(b.keys)
	b.keys = slices.Compact(b.keys)
	return b
}

// noNode is what is wrong with a message that has a key which no node can hold.
const noNode = "no node can hold its key: it is too long, or has letters that they don't take"

// queueKey is what is wrong with a message whose key is a queue.
const queueKey = "its key is a key of a queue, whose messages would be lost with it"

// applyBatch deletes each key of a batch's messages on every node that can hold it, on all nodes at once.
func (r *run) applyBatch(ctx context.Context, b *batch) {
	needs := make([][]need, len(b.keys))
	d := newDeletion()
	for i, key := range b.keys {
		names := r.namer.names(key)
		for _, u := range r.targets.units {
			own, otherwise := names[u.layer]
			if !otherwise {
				own = []string{key}
			}
			for _, name := range own {
				if r.ownKeys[name] {
					b.forbidden[key] = true
					continue
				}
				n := r.targets.needOf(u, name)
				needs[i] = append(needs[i], n)
				for _, k := range n.all {
					d.add(k, name)
				}
				for _, k := range n.some {
					d.add(k, name)
				}
			}
		}
	}
	d.run(ctx)
	b.judge(d, needs)
	if b.kept > 0 && time.Since(r.targets.surveyed) > surveyAgain {
		r.targets.survey(ctx)
	}
}

// surveyAgain is how long a survey stands while keys can't be deleted: a primary may have been replaced.
const surveyAgain = 10 * time.Second

// judge each message by its keys.
func (b *batch) judge(d *deletion, needs [][]need) {
	type judged struct {
		waitsFor []*NodeReport
		held     bool
	}
	by := make(map[string]judged, len(b.keys))
	for i, key := range b.keys {
		j := judged{}
		for _, n := range needs[i] {
			v := d.judge(n)
			j.held = j.held || v.held
			if v.err != nil {
				v.at.Error = v.err.Error()
				if !slices.Contains(j.waitsFor, v.at) {
					j.waitsFor = append(j.waitsFor, v.at)
				}
			}
		}
		if len(j.waitsFor) > 0 {
			b.keptKeys = append(b.keptKeys, key)
		}
		by[key] = j
	}
	for i, m := range b.messages {
		if m.Poison != "" {
			b.bury(i, m.Poison)
			continue
		}
		var waitsFor []*NodeReport
		held := true
		for _, key := range m.Keys {
			held = held && by[key].held
			for _, at := range by[key].waitsFor {
				if !slices.Contains(waitsFor, at) {
					waitsFor = append(waitsFor, at)
				}
			}
		}
		switch {
		case len(waitsFor) > 0:
			b.outcome[i] = probes.MessageKept
			b.kept++
			for _, at := range waitsFor {
				at.Waiting++
			}
		case slices.ContainsFunc(m.Keys, func(key string) bool { return b.forbidden[key] }):
			b.bury(i, queueKey)
		case !held:
			b.bury(i, noNode)
		default:
			b.outcome[i] = probes.MessageDone
			b.applied++
		}
	}
}

func (b *batch) bury(i int, reason string) {
	b.outcome[i], b.reasons[i] = probes.MessageDead, reason
	b.dead++
}
