package redis

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
)

// listQueue is a queue in a Redis list. What was both pushed and popped between two samplings can't be seen in its length, so
// that a growing length counts as enqueued, and that is the least there was.
type listQueue struct {
	server   commander
	key      string
	messages *message.Reader
	// keys of messages that are taken; nil where keysErr says why they can't be.
	keys    *message.KeyReader
	keysErr error
	// sample is how many messages are sampled; 0: none.
	sample int
	size   messageSize
	holds  queueHolder
}

func (*listQueue) Close() {} // the connection is the fleet's

type listReply struct {
	length int64
	err    error
	// head and tail are the messages at the ends; messagesErr is why they or the sample are missing.
	head, tail  message.Message
	next        map[string]uint64
	messagesErr error
	sample      *probes.MessageSample
	// large: the messages are too large to look at.
	large bool
}

// Sample asks for the length and the size, then for both ends where they are not too large, and for the newest messages
// once it is known which end is theirs: three round trips. A key that does not exist is an empty list.
func (q *listQueue) Sample(ctx context.Context) (probes.Backlog, error) {
	got, err := askHolding(ctx, q.server, q.holds, q.size.most(), q.ask)
	if err == nil && got.err != nil {
		err = queueRefused("LLEN", q.key, "list", got.err)
	}
	if err != nil {
		return probes.Backlog{}, err
	}
	n := float64(got.length)
	b := probes.Backlog{Complete: true, Depth: probes.Count{Value: n, Known: true}, Ends: map[probes.Partition]float64{{}: n}, Sample: got.sample}
	if got.length == 0 {
		b.OldestAge, b.Next = probes.Count{Known: true}, map[string]uint64{}
		if q.sample > 0 {
			b.Sample = q.messages.Sample()
		}
		return b, nil
	}
	if got.large {
		return b, q.size.refused(q.key)
	}
	b.Next = got.next
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
	a := listSampling{listQueue: q}
	a.run(ctx, c, hold)
	return a.out, a.hits, a.misses
}

// listSampling is what one sampling asks of the server, and what came so far.
type listSampling struct {
	*listQueue
	out          listReply
	hits, misses uint64

	usage *redis.IntCmd
}

// count what a command about the list moved on the server; there: it found something.
func (a *listSampling) count(err error, there bool) {
	h, m := hitOrMiss(err)
	if err == nil && !there || errors.Is(err, redis.Nil) { // no list is empty
		h, m = 0, 1
	}
	a.hits, a.misses = a.hits+h, a.misses+m
}

func (a *listSampling) run(ctx context.Context, c redis.Cmdable, hold holdBudget) {
	p := c.Pipeline()
	length := p.LLen(ctx, a.key)
	a.usage = p.MemoryUsage(ctx, a.key, usageSamples)
	_, _ = p.Exec(ctx) // each command has its own error
	a.out.length, a.out.err = length.Val(), cmp.Or(length.Err(), noCount(length.Val()))
	a.count(length.Err(), length.Val() > 0)
	if a.out.err != nil {
		return
	}
	if a.out.large = a.size.tooLarge(a.usage, a.out.length); a.out.large || a.out.length == 0 {
		return
	}
	release, err := hold(sampleHold(sampleBytes+2*averageSize(a.usage, a.out.length), 2, a.usage))
	if err != nil {
		a.out.messagesErr = err
		return
	}
	defer release()
	largest := a.readEnds(ctx, c)
	if a.out.large || a.sample == 0 || a.out.messagesErr != nil {
		return
	}
	front, back := a.split(&a.out, a.size.affordable(a.sample, a.usage, a.out.length, largest))
	if front+back == 0 {
		a.size.average.Store(0) // look again: what is that large may have gone
		return
	}
	a.readSample(ctx, c, front, back)
}

// readEnds reads the first and the last message, and gives the size of the larger one.
func (a *listSampling) readEnds(ctx context.Context, c redis.Cmdable) (largest int64) {
	p := c.Pipeline()
	head, tail := p.LIndex(ctx, a.key, 0), p.LIndex(ctx, a.key, -1)
	_, _ = p.Exec(ctx) // each command has its own error
	for _, end := range []*redis.StringCmd{head, tail} {
		a.count(end.Err(), true)
		if bytes, large := a.size.isLarge(end.Err()); large {
			largest = max(largest, bytes)
		}
		if err := end.Err(); err != nil && !errors.Is(err, redis.Nil) {
			a.out.messagesErr = cmp.Or(a.out.messagesErr, err)
		}
	}
	largest = max(largest, int64(len(head.Val())), int64(len(tail.Val())))
	if a.out.large = a.size.found(largest); !a.out.large {
		a.out.head, a.out.tail = a.messages.Read([]byte(head.Val())), a.messages.Read([]byte(tail.Val()))
		if head.Err() == nil && tail.Err() == nil {
			a.out.next = a.out.nextTaken(head.Val(), tail.Val())
		}
	}
	return largest
}

// hashSeed of this process: what identifies a message tells nothing of it.
var hashSeed = maphash.MakeSeed()

// nextTaken identifies the messages of which one is taken next: that at the older end, where it is known which one that is.
func (l *listReply) nextTaken(head, tail string) map[string]uint64 {
	out := map[string]uint64{}
	direction := l.direction()
	if direction >= 0 {
		out["head"] = maphash.String(hashSeed, head)
	}
	if direction <= 0 {
		out["tail"] = maphash.String(hashSeed, tail)
	}
	return out
}

// readSample reads so many messages from the front and the back.
func (a *listSampling) readSample(ctx context.Context, c redis.Cmdable, front, back int) {
	p := c.Pipeline()
	var ranges []*redis.StringSliceCmd
	if front > 0 {
		ranges = append(ranges, p.LRange(ctx, a.key, 0, int64(front)-1))
	}
	if back > 0 {
		ranges = append(ranges, p.LRange(ctx, a.key, -int64(back), -1))
	}
	_, _ = p.Exec(ctx)             // each command has its own error
	var messages []message.Message // in the list's order
	bytes, largest := 0, 0
	for _, r := range ranges {
		a.count(r.Err(), len(r.Val()) > 0 || r.Err() != nil)
		switch size, one := a.size.isLarge(r.Err()); {
		case one:
			a.size.found(size)
			a.out.large = true
			return
		case size > 0: // all of them together are
			a.size.average.Store(2 * sampleBytes / int64(front+back)) // fewer the next time
			return
		}
		a.out.messagesErr = cmp.Or(a.out.messagesErr, r.Err())
		for _, text := range r.Val() {
			bytes, largest = bytes+len(text), max(largest, len(text))
			messages = append(messages, a.messages.Read([]byte(text)))
		}
	}
	if a.out.large = a.size.found(int64(largest)); a.out.large {
		return
	}
	if a.out.messagesErr == nil {
		a.size.average.Store(int64(bytes / max(len(messages), 1)))
		a.out.sample = a.toSample(&a.out, messages)
	}
}

// split n messages between the front and the back of the list: all from the end that is newer, half from each where that
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

// toSample makes a sample of messages in the list's order. Where it is unknown in which direction the list grows, versions that rise in one of
// the two are no repeats.
func (q *listQueue) toSample(l *listReply, messages []message.Message) *probes.MessageSample {
	backwards := slices.Clone(messages)
	slices.Reverse(backwards)
	switch l.direction() {
	case 1:
		return q.messages.Sample(messages)
	case -1:
		return q.messages.Sample(backwards)
	}
	one, other := q.messages.Sample(messages), q.messages.Sample(backwards)
	if other.Repeats.Value < one.Repeats.Value {
		return other
	}
	return one
}
