package redis

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// A run takes messages from the head of the list NAME to the head of the list NAME:processing, and removes them there once they are
// applied; those that can't be, yet, go to its tail. NAME:processing belongs to the run that began last: each script checks that
// first. So an earlier run that is still under way can neither take nor remove anything any more, and nobody need wait for
// the end of one that was killed.

// beginScript makes the processing list the run's own. It gives its length.
var beginScript = redis.NewScript(`
redis.call('SET', KEYS[2], ARGV[1])
return redis.call('LLEN', KEYS[1])`)

// leftScript gives messages from the head of the processing list: at most ARGV[2], and no more once they have ARGV[3] bytes.
var leftScript = redis.NewScript(`
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return redis.error_reply('` + takenOver + `') end
local out, bytes = {}, 0
for i = 0, tonumber(ARGV[2]) - 1 do
  local m = redis.call('LINDEX', KEYS[1], i)
  if not m then break end
  out[#out + 1] = m
  bytes = bytes + #m
  if bytes >= tonumber(ARGV[3]) then break end
end
return out`)

// moveScript does the same with messages that it moves there from the list.
var moveScript = redis.NewScript(`
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return redis.error_reply('` + takenOver + `') end
local out, bytes = {}, 0
for i = 1, tonumber(ARGV[2]) do
  local m = redis.call('LMOVE', KEYS[3], KEYS[1], 'LEFT', 'LEFT')
  if not m then break end
  out[#out + 1] = m
  bytes = bytes + #m
  if bytes >= tonumber(ARGV[3]) then break end
end
return out`)

// finishScript takes what came of messages near the head of the processing list, as d, k or x and the message in turn. A
// message is put where it goes before it is removed here: what the server refuses ends the script.
var finishScript = redis.NewScript(`
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return redis.error_reply('` + takenOver + `') end
local finished = 0
for i = 2, #ARGV, 2 do
  if ARGV[i] == 'x' then redis.call('RPUSH', KEYS[3], ARGV[i + 1]) end
  if ARGV[i] == 'k' then redis.call('RPUSH', KEYS[1], ARGV[i + 1]) end
  local removed = redis.call('LREM', KEYS[1], 1, ARGV[i + 1])
  if ARGV[i] ~= 'k' then finished = finished + removed end
end
return finished`)

// endScript gives the processing list up.
var endScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`)

// OwnKeys implements probes.Backlogged.
func (q *listQueue) OwnKeys() []string {
	keys, _ := keysBeside(q.server, q.key) // without them nothing is taken
	return keys.own(q.key)
}

// Waiting implements probes.Backlogged.
func (q *listQueue) Waiting(ctx context.Context, sample int) (probes.Waiting, error) {
	keys, err := q.takeable()
	if err != nil {
		return probes.Waiting{}, err
	}
	type lengths struct{ messages, processing, look int64 }
	n, err := answer(ctx, q.server, "LLEN", q.key, "list", func(ctx context.Context, c redis.Cmdable) (lengths, error) {
		p := c.Pipeline()
		messages, processing := p.LLen(ctx, q.key), p.LLen(ctx, keys.processing)
		usage := p.MemoryUsage(ctx, q.key, usageSamples)
		_, _ = p.Exec(ctx) // each command has its own error
		look := int64(q.size.affordable(sample, usage, messages.Val(), 0))
		return lengths{messages.Val(), processing.Val(), look}, firstError(messages, processing)
	})
	if err != nil {
		return probes.Waiting{}, err
	}
	texts, err := answer(ctx, q.server, "LRANGE", q.key, "list", func(ctx context.Context, c redis.Cmdable) ([]string, error) {
		if n.look == 0 {
			return nil, nil
		}
		p := c.Pipeline()
		processing, messages := p.LRange(ctx, keys.processing, 0, n.look-1), p.LRange(ctx, q.key, 0, n.look-1)
		_, _ = p.Exec(ctx) // each command has its own error
		return append(processing.Val(), messages.Val()...), firstError(processing, messages)
	})
	out := probes.Waiting{Messages: n.messages, Processing: n.processing, ProcessingIn: keys.processing, DeadLetters: keys.dead}
	out.Sample = takenFrom(q.keys, texts[:min(len(texts), int(n.look))])
	return out, err
}

// firstError of some commands.
func firstError(commands ...redis.Cmder) error {
	for _, c := range commands {
		if err := c.Err(); err != nil {
			return err
		}
	}
	return nil
}

// takeable gives the keys beside the list's, or why its messages can't be taken.
func (q *listQueue) takeable() (takenKeys, error) {
	if q.keysErr != nil {
		return takenKeys{}, q.keysErr
	}
	return keysBeside(q.server, q.key)
}

// Take implements probes.Backlogged.
func (q *listQueue) Take(ctx context.Context) (probes.Taking, error) {
	keys, err := q.takeable()
	if err != nil {
		return nil, err
	}
	t := &listTaking{queue: q, keys: keys, token: newToken()}
	t.left, err = answer(ctx, q.server, "EVAL", keys.processing, "list", func(ctx context.Context, c redis.Cmdable) (int64, error) {
		return beginScript.Eval(ctx, c, []string{keys.processing, keys.owner}, t.token).Int64()
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// listTaking is one run on a list.
type listTaking struct {
	queue *listQueue
	keys  takenKeys
	token string
	// left messages of earlier runs were not given yet.
	left int64
	// given by the last Next.
	given []string
}

// Next implements probes.Taking.
func (t *listTaking) Next(ctx context.Context, most int) ([]probes.TakenMessage, error) {
	script, keys := moveScript, []string{t.keys.processing, t.keys.owner, t.queue.key}
	if t.left > 0 {
		script, keys, most = leftScript, keys[:2], int(min(int64(most), t.left))
	}
	texts, err := answer(ctx, t.queue.server, "EVAL", t.queue.key, "list", func(ctx context.Context, c redis.Cmdable) ([]string, error) {
		return script.Eval(ctx, c, keys, t.token, most, takeBytes).StringSlice()
	})
	if err != nil {
		return nil, err
	}
	t.given = texts
	switch {
	case t.left > 0 && len(texts) == 0: // somebody has emptied the list
		t.left = 0
		return t.Next(ctx, most)
	case t.left > 0:
		t.left -= int64(len(texts))
	}
	return takenFrom(t.queue.keys, texts), nil
}

// Finish implements probes.Taking.
func (t *listTaking) Finish(ctx context.Context, outcome []probes.Outcome) (int, error) {
	args := make([]any, 1, 1+2*len(outcome))
	args[0] = t.token
	for i, o := range outcome {
		args = append(args, map[probes.Outcome]string{probes.MessageKept: "k", probes.MessageDone: "d", probes.MessageDead: "x"}[o], t.given[i])
	}
	return answer(ctx, t.queue.server, "EVAL", t.keys.dead, "list", func(ctx context.Context, c redis.Cmdable) (int, error) {
		return finishScript.Eval(ctx, c, []string{t.keys.processing, t.keys.owner, t.keys.dead}, args...).Int()
	})
}

// Close implements probes.Taking.
func (t *listTaking) Close(ctx context.Context) error {
	_, err := answer(ctx, t.queue.server, "EVAL", t.keys.owner, "string", func(ctx context.Context, c redis.Cmdable) (int64, error) {
		return endScript.Eval(ctx, c, []string{t.keys.owner}, t.token).Int64()
	})
	return err
}
