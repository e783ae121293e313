package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// A run reads a stream as a consumer of its own in each of the queue's groups: first what is pending, whoever's it is, since what a
// consumer that was killed has read will be acknowledged by nobody else; then what was not delivered. An entry that can't
// be applied stays pending. Runs beside each other, and consumers that are still alive, may apply an entry twice, and none
// acknowledges one that it has not applied.

// takeConsumer is the run's name among a group's consumers. Its pending entries are the next run's.
const takeConsumer = "cacheinv_exporter"

// firstEntries are read at first, when it is not known how large they are.
const firstEntries = 64

// OwnKeys implements probes.Backlogged.
func (q *streamQueue) OwnKeys() []string {
	keys, _ := keysBeside(q.server, q.key) // without them nothing is taken
	return keys.own(q.key)
}

// Waiting implements probes.Backlogged.
func (q *streamQueue) Waiting(ctx context.Context, sample int) (probes.Waiting, error) {
	keys, groups, err := q.takeable(ctx)
	if err != nil {
		return probes.Waiting{}, err
	}
	out := probes.Waiting{ProcessingIn: "the pending entries of the stream's groups", DeadLetters: keys.dead}
	delivered, most := "", int64(0) // of the group that is most behind
	for _, g := range groups {
		pending, known := g.fields.number("pending")
		if !known {
			return out, fmt.Errorf("group %s: %w", probes.Shown(g.name), errNoPending)
		}
		last, _ := g.fields["last-delivered-id"].(string)
		lag, known := g.fields.lag()
		switch {
		case known && lag > 0: // it counts entries that were trimmed too
			behind, err := q.after(ctx, last, 1)
			if err != nil {
				return out, err
			}
			if len(behind) == 0 {
				lag = 0
			}
		case !known:
			if lag, err = q.countAfter(ctx, last); err != nil {
				return out, err
			}
		}
		out.Messages, out.Processing = out.Messages+lag, out.Processing+pending
		if lag > most {
			delivered, most = last, lag
		}
	}
	if most == 0 || sample == 0 {
		return out, nil
	}
	entries, err := q.after(ctx, delivered, min(sample, firstEntries))
	out.Sample = q.taken("", entries)
	return out, err
}

// takeable gives the keys beside the stream's and the groups to read as, or why the stream can't be drained.
func (q *streamQueue) takeable(ctx context.Context) (takenKeys, []streamGroup, error) {
	if q.keysErr != nil {
		return takenKeys{}, nil, q.keysErr
	}
	keys, err := keysBeside(q.server, q.key)
	if err != nil {
		return takenKeys{}, nil, err
	}
	type reply struct {
		groups any
		length int64
	}
	got, err := answer(ctx, q.server, "XINFO", q.key, "stream", func(ctx context.Context, c redis.Cmdable) (reply, error) {
		p := c.Pipeline()
		length, groups := p.XLen(ctx, q.key), p.Do(ctx, "XINFO", "GROUPS", q.key)
		_, _ = p.Exec(ctx) // each command has its own error
		if noSuchKey(groups.Err()) {
			return reply{}, length.Err()
		}
		return reply{groups.Val(), length.Val()}, firstError(length, groups)
	})
	if err != nil || got.groups == nil {
		return keys, nil, err
	}
	list, _ := got.groups.([]any)
	groups, _, err := q.pick(list)
	if err != nil {
		return keys, nil, err
	}
	if len(groups) == 0 && got.length > 0 {
		return keys, nil, errors.New("the stream has no consumer group that is configured, so that what was processed is unknown; " +
			"write the group that processes it in groups, and make it with XGROUP CREATE where it is missing")
	}
	for _, g := range groups {
		if g.fields == nil {
			return keys, nil, fmt.Errorf("the consumer group %q does not exist on the stream; check its name, or make it with XGROUP CREATE", g.name)
		}
	}
	return keys, groups, nil
}

// countAfter counts the entries after an id, for a server that does not know.
func (q *streamQueue) countAfter(ctx context.Context, id string) (n int64, err error) {
	for {
		entries, err := q.after(ctx, id, firstEntries)
		if err != nil || len(entries) == 0 {
			return n, err
		}
		n += int64(len(entries))
		id = entryID(entries[len(entries)-1:])
	}
}

// after gives entries that follow an id.
func (q *streamQueue) after(ctx context.Context, id string, most int) ([]any, error) {
	return answer(ctx, q.server, "XRANGE", q.key, "stream", func(ctx context.Context, c redis.Cmdable) ([]any, error) {
		return do(ctx, c, "XRANGE", q.key, "("+id, "+", "COUNT", most).Slice()
	})
}

// taken gives entries of a group with their keys. Those of which nothing is left but the id are dead.
func (q *streamQueue) taken(group string, entries []any) []probes.TakenMessage {
	var out []probes.TakenMessage
	for _, e := range entries {
		entry, _ := e.([]any)
		if len(entry) < 2 {
			continue
		}
		id, _ := entry[0].(string)
		values, left := entry[1].([]any)
		fields := make([]string, len(values))
		for i, v := range values {
			fields[i], _ = v.(string)
		}
		m := probes.TakenMessage{ID: id}
		if m.Keys, m.Poison = q.keys.ReadEntry(fields); !left {
			m.Poison = trimmed
		}
		m.Text, _ = json.Marshal(map[string]any{"stream": q.key, "id": id, "group": group, "fields": fields, "reason": m.Poison}) // text can be
		out = append(out, m)
	}
	return out
}

// trimmed is what is wrong with an entry that is pending and no longer in the stream.
const trimmed = "it was trimmed off the stream before it was applied, so that its keys are unknown"

// Take implements probes.Backlogged.
func (q *streamQueue) Take(ctx context.Context) (probes.Taking, error) {
	keys, groups, err := q.takeable(ctx)
	if err != nil {
		return nil, err
	}
	return &streamTaking{queue: q, keys: keys, groups: groups, claim: "0-0", batch: firstEntries}, nil
}

// streamTaking is one run on a stream.
type streamTaking struct {
	queue *streamQueue
	keys  takenKeys
	// groups that are left, the present one first.
	groups []streamGroup
	// claim is where the pending entries go on; empty: they have all been claimed.
	claim string
	// batch is how many entries are about takeBytes.
	batch int
	// given by the last Next.
	given []probes.TakenMessage
}

// Next implements probes.Taking.
func (t *streamTaking) Next(ctx context.Context, most int) ([]probes.TakenMessage, error) {
	for len(t.groups) > 0 {
		read, claiming := t.readNew, t.claim != ""
		if claiming {
			read = t.claimPending
		}
		entries, err := read(ctx, t.groups[0].name, min(most, t.batch))
		if err != nil {
			return nil, err
		}
		if t.given = t.queue.taken(t.groups[0].name, entries); len(t.given) > 0 {
			t.batch = int(max(1, takeBytes/max(entrySize(entries)/int64(len(entries)), 1)))
			return t.given, nil
		}
		if !claiming {
			t.groups, t.claim = t.groups[1:], "0-0"
		}
	}
	return nil, nil
}

// claimPending claims the next pending entries, and those of which only the id is left.
func (t *streamTaking) claimPending(ctx context.Context, group string, most int) ([]any, error) {
	reply, err := answer(ctx, t.queue.server, "XAUTOCLAIM", t.queue.key, "stream", func(ctx context.Context, c redis.Cmdable) ([]any, error) {
		return do(ctx, c, "XAUTOCLAIM", t.queue.key, group, takeConsumer, 0, t.claim, "COUNT", most).Slice()
	})
	if err != nil {
		return nil, err
	}
	if len(reply) < 2 {
		return nil, errProtocol
	}
	t.claim, _ = reply[0].(string)
	if t.claim == "0-0" { // it has gone round
		t.claim = ""
	}
	entries, _ := reply[1].([]any)
	if len(reply) > 2 {
		gone, _ := reply[2].([]any)
		for _, id := range gone {
			entries = append(entries, []any{id, nil})
		}
	}
	return entries, nil
}

// readNew reads the next entries that were not delivered; they are pending from then on.
func (t *streamTaking) readNew(ctx context.Context, group string, most int) ([]any, error) {
	reply, err := answer(ctx, t.queue.server, "XREADGROUP", t.queue.key, "stream", func(ctx context.Context, c redis.Cmdable) ([]any, error) {
		streams, err := do(ctx, c, "XREADGROUP", "GROUP", group, takeConsumer, "COUNT", most, "STREAMS", t.queue.key, ">").Slice()
		if errors.Is(err, redis.Nil) {
			return nil, nil
		}
		return streams, err
	})
	if err != nil || len(reply) == 0 {
		return nil, err
	}
	stream, _ := reply[0].([]any)
	if len(stream) < 2 {
		return nil, errProtocol
	}
	entries, _ := stream[1].([]any)
	return entries, nil
}

// Finish implements probes.Taking. Dead letters are written before they are acknowledged.
func (t *streamTaking) Finish(ctx context.Context, outcome []probes.Outcome) (int, error) {
	var dead []any
	var done []string
	for i, o := range outcome {
		if o == probes.MessageDead {
			dead = append(dead, t.given[i].Text)
		}
		if o != probes.MessageKept {
			done = append(done, t.given[i].ID)
		}
	}
	if len(dead) > 0 {
		_, err := answer(ctx, t.queue.server, "RPUSH", t.keys.dead, "list", func(ctx context.Context, c redis.Cmdable) (int64, error) {
			return c.RPush(ctx, t.keys.dead, dead...).Result()
		})
		if err != nil {
			return 0, err
		}
	}
	if len(done) == 0 {
		return 0, nil
	}
	_, err := answer(ctx, t.queue.server, "XACK", t.queue.key, "stream", func(ctx context.Context, c redis.Cmdable) (int64, error) {
		return c.XAck(ctx, t.queue.key, t.groups[0].name, done...).Result()
	})
	if err != nil {
		return 0, err
	}
	return len(done), nil
}

// Close implements probes.Taking. The consumer stays: to delete it would drop what is pending.
func (*streamTaking) Close(context.Context) error { return nil }
