package redis

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
)

// listQueue is a queue in a listQueue. What was both pushed and popped between two samplings can't be seen in its length, so
// that a growing length counts as enqueued, and that is the least there was.
type listQueue struct {
	server   commander
	key      string
	messages *message.Reader
	// sample is how many messages are looked at.
	sample int
	size   messageSize
	budget *probes.Budget
}

func (*listQueue) Close() {} // the connection is the fleet's

type listReply struct {
	length int64
	err    error
	// head and tail are the messages at the ends; asked is the error of what was asked beside the length.
	head, tail message.Message
	messagesErr      error
	sample     *probes.Sample
	// large: the messages are too large to look at.
	large bool
}

// Sample asks for the length and the size, then for both ends where they are not too large, and for the newest messages
// once it is known which end is theirs: three round trips. A key that does not exist is an empty list.
func (q *listQueue) Sample(ctx context.Context) (probes.Backlog, error) {
	got, err := askHolding(ctx, q.server, q.budget, q.ask)
	if err == nil && got.err != nil {
		err = queueRefused("LLEN", q.key, "list", got.err)
	}
	if err != nil {
		return probes.Backlog{}, err
	}
	n := float64(got.length)
	b := probes.Backlog{Complete: true, Depth: probes.Count{Value: n, Known: true}, Ends: map[probes.Partition]float64{{}: n}, Sample: got.sample}
	if got.length == 0 {
		b.OldestAge = probes.Count{Known: true}
		if q.sample > 0 {
			b.Sample = message.SampleOf()
		}
		return b, nil
	}
	if got.large {
		return b, q.size.refused(q.key)
	}
	now := time.Now()
	head, tail := message.AgeAt(got.head.At, now), message.AgeAt(got.tail.At, now)
	if head.Known && tail.Known {
		b.OldestAge = probes.Count{Value: max(head.Value, tail.Value), Known: true}
	}
	if got.messagesErr != nil {
		return b, queueRefused("LINDEX or LRANGE", q.key, "list", got.messagesErr)
	}
	return b, nil
}

func (q *listQueue) ask(ctx context.Context, c redis.Cmdable, hold holdBudget) (out listReply, hits, misses uint64) {
	p := c.Pipeline()
	length, usage := p.LLen(ctx, q.key), p.MemoryUsage(ctx, q.key, usageSamples)
	_, _ = p.Exec(ctx) // each command has its own error
	count := func(err error, there bool) {
		h, m := hitOrMiss(err)
		if err == nil && !there || errors.Is(err, redis.Nil) { // no list is empty
			h, m = 0, 1
		}
		hits, misses = hits+h, misses+m
	}
	out.length, out.err = length.Val(), length.Err()
	count(length.Err(), length.Val() > 0)
	if out.err != nil {
		return out, hits, misses
	}
	if out.large = q.size.tooLarge(usage, out.length); out.large || out.length == 0 {
		return out, hits, misses
	}
	release, err := hold(sampleBytes + 2*averageSize(usage, out.length))
	if err != nil {
		out.messagesErr = err
		return out, hits, misses
	}
	defer release()
	p = c.Pipeline()
	head, tail := p.LIndex(ctx, q.key, 0), p.LIndex(ctx, q.key, -1)
	_, _ = p.Exec(ctx) // each command has its own error
	for _, end := range []*redis.StringCmd{head, tail} {
		count(end.Err(), true)
		if err := end.Err(); err != nil && !errors.Is(err, redis.Nil) {
			out.messagesErr = cmp.Or(out.messagesErr, err)
		}
	}
	seen := int64(max(len(head.Val()), len(tail.Val())))
	if out.large = q.size.found(seen); out.large {
		return out, hits, misses
	}
	out.head, out.tail = q.messages.Read([]byte(head.Val())), q.messages.Read([]byte(tail.Val()))
	if q.sample == 0 || out.messagesErr != nil {
		return out, hits, misses
	}
	front, back := q.split(&out, q.size.affordable(q.sample, usage, out.length, seen))
	if front+back == 0 {
		q.size.average.Store(0) // look again: what is that large may have gone
		return out, hits, misses
	}
	p = c.Pipeline()
	var ranges [2]*redis.StringSliceCmd
	if front > 0 {
		ranges[0] = p.LRange(ctx, q.key, 0, int64(front)-1)
	}
	if back > 0 {
		ranges[1] = p.LRange(ctx, q.key, -int64(back), -1)
	}
	_, _ = p.Exec(ctx)             // each command has its own error
	var messages []message.Message // in the list's order
	bytes, largest := 0, 0
	for _, r := range ranges {
		if r == nil {
			continue
		}
		count(r.Err(), len(r.Val()) > 0)
		out.messagesErr = cmp.Or(out.messagesErr, r.Err())
		for _, text := range r.Val() {
			bytes, largest = bytes+len(text), max(largest, len(text))
			messages = append(messages, q.messages.Read([]byte(text)))
		}
	}
	if out.large = q.size.found(int64(largest)); out.large {
		return out, hits, misses
	}
	if out.messagesErr == nil {
		q.size.average.Store(int64(bytes / max(len(messages), 1)))
		out.sample = q.toSample(&out, messages)
	}
	return out, hits, misses
}

// split of n messages between the front and the back of the list: all from the end that is newer, half from each where that
// is unknown.
func (q *listQueue) split(l *listReply, n int) (front, back int) {
	n = int(min(int64(n), l.length))
	switch l.direction() {
	case 0:
		if n < int(l.length) {
			return n / 2, n - n/2
		}
	case -1:
		return n, 0
	}
	return 0, n
}

// direction in which the list grows: 1 at its tail, -1 at its head, 0 unknown.
func (l *listReply) direction() int {
	if l.head.At.IsZero() || l.tail.At.IsZero() {
		return 0
	}
	return l.tail.At.Compare(l.head.At)
}

// toSample at messages in the list's order. Where it is unknown in which direction the list grows, versions that rise in one of
// the two are no repeats.
func (q *listQueue) toSample(l *listReply, messages []message.Message) *probes.Sample {
	backwards := slices.Clone(messages)
	slices.Reverse(backwards)
	switch l.direction() {
	case 1:
		return message.SampleOf(messages)
	case -1:
		return message.SampleOf(backwards)
	}
	one, other := message.SampleOf(messages), message.SampleOf(backwards)
	if other.Repeats.Value < one.Repeats.Value {
		return other
	}
	return one
}
