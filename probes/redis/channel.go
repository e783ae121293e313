package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// channelQueue is a Pub/Sub channel. Nothing waits in it: a message reaches who has subscribed at that moment, or nobody.
type channelQueue struct {
	channel  string
	sharded  bool
	servers  channelServers
	messages *message.Reader
	// sample is how many of the newest messages are sampled; 0: none.
	sample int
	sub    *subscription
	// counted: our subscription, as it stood last, is in the servers' count.
	counted bool
	// visit is called with the messages; nil: nobody follows them.
	visit func(probes.Event)
}

// channelServers knows which servers pass a channel's messages on to each other.
type channelServers interface {
	// channelServers gives those on which there can be subscribers, and home, that on which to subscribe: at, where that will
	// still do.
	channelServers(ctx context.Context, channel string, sharded bool, at *node) (home *node, all []*node, err error)
}

// Close ends the subscription.
func (q *channelQueue) Close() { q.sub.close() }

// Follow implements probes.EventQueue. What passed before cannot be read again: after only says how many had passed.
func (q *channelQueue) Follow(after map[probes.Partition]probes.Position, visit func(probes.Event)) {
	q.visit = visit
	q.sub.count = after[q.partition()].Major
}

func (q *channelQueue) partition() probes.Partition { return probes.Partition{Topic: q.channel} }

// Sample asks each server for its subscribers of the channel, then takes what came over our own subscription, which begins with the
// first sampling.
func (q *channelQueue) Sample(ctx context.Context) (probes.Backlog, error) {
	home, all, err := q.servers.channelServers(ctx, q.channel, q.sharded, q.sub.server())
	if err != nil {
		return probes.Backlog{}, err
	}
	q.sub.moveTo(home)
	ownErr := q.sub.wait(ctx)
	subscribers, countErr := q.countSubscribers(ctx, all)
	if ownErr == nil && ctx.Err() != nil { // a server that does not answer at all may go on later
		ownErr = probes.NoAnswer(ctx)
	}
	if ownErr == nil {
		var counted bool
		if counted, ownErr = q.sub.confirm(ctx); ownErr == nil {
			q.counted = counted
		}
	}
	got, count := q.sub.take()
	if ownErr != nil {
		ownErr = fmt.Errorf("our subscription to %q does not stand: %w", q.channel, ownErr)
	} else if got.broken {
		ownErr = errBroken
	}
	var b probes.Backlog
	switch {
	case countErr != nil:
	case !q.counted:
		b.Subscribers = probes.Count{Value: subscribers, Known: true}
	case ownErr == nil: // else it is not known whether ours is among them
		b.Subscribers = probes.Count{Value: max(subscribers-1, 0), Known: true}
	}
	q.tell(&b, got, count, ownErr == nil)
	b.Complete = countErr == nil && ownErr == nil
	return b, errors.Join(countErr, ownErr)
}

var errBroken = errors.New("our subscription was broken for a while, and what was sent meanwhile is not known; it stands again")

// tell of the messages that came. whole: there were no others.
func (q *channelQueue) tell(b *probes.Backlog, got hearing, count uint64, whole bool) {
	if whole {
		b.Ends = map[probes.Partition]float64{q.partition(): float64(count)}
	}
	if whole && q.sample > 0 {
		var newest []message.Message
		for _, h := range got.messages[max(len(got.messages)-q.sample, 0):] {
			m := q.messages.Read(h.text)
			if m.At.IsZero() {
				m.At = h.at
			}
			newest = append(newest, m)
		}
		b.Sample = q.messages.Sample(newest)
	}
	if q.visit == nil {
		return
	}
	for _, h := range got.messages {
		q.visit(probes.Event{Partition: q.partition(), At: probes.Position{Major: h.count}, Value: h.text, Written: h.at})
	}
	if whole || got.seen > 0 {
		b.Followed = &probes.Followed{
			Seen: got.seen, LeftOut: got.seen - len(got.messages), After: map[probes.Partition]probes.Position{q.partition(): {Major: count}},
		}
	}
}

// countSubscribers on all servers at once. Where one does not answer, the number is not known.
func (q *channelQueue) countSubscribers(ctx context.Context, all []*node) (float64, error) {
	counts, errs := make([]float64, len(all)), make([]error, len(all))
	var wait sync.WaitGroup
	for i, n := range all {
		wait.Go(func() {
			if counts[i], errs[i] = q.subscribersOn(ctx, n); errs[i] != nil && len(all) > 1 {
				errs[i] = fmt.Errorf("node %s: %w", n.id.Name, errs[i])
			}
		})
	}
	wait.Wait()
	sum := 0.0
	for _, n := range counts {
		sum += n
	}
	return sum, errors.Join(errs...)
}

// subscribersOn one server. Subscriptions by pattern are not among them.
func (q *channelQueue) subscribersOn(ctx context.Context, n *node) (count float64, err error) {
	command := "NUMSUB"
	if q.sharded {
		command = "SHARDNUMSUB"
	}
	var refused error
	asked := wire.Request{Commands: appendCommand(nil, "PUBSUB", command, q.channel), Read: func(x *wire.Exchange) error {
		got, err := q.readSubscribers(x)
		var said errReply
		if err != nil && !errors.As(err, &said) {
			return err
		}
		x.Deliver(func() {
			if count = float64(got); said != "" {
				refused = channelRefused("PUBSUB "+command, q.channel, said)
			}
		})
		return nil
	}}
	if err := n.link.Do(ctx, func() []wire.Request { return []wire.Request{asked} }); err != nil {
		return 0, err
	}
	return count, refused
}

// readSubscribers reads the answer about the channel: its name and a number. What is another is errUnusable.
func (q *channelQueue) readSubscribers(x *wire.Exchange) (int64, error) {
	kind, n, text, err := readHeader(x)
	switch {
	case err != nil:
		return 0, err
	case kind == '-':
		return 0, errReply(text)
	case kind != '*' || n != 2:
		return 0, cmp.Or(skip(x, kind, n), error(errUnusable))
	}
	name, err := readTextUpTo(x, int64(len(q.channel)))
	var said errReply
	if err != nil && !errors.As(err, &said) {
		return 0, err
	}
	kind, n, _, err = readHeader(x)
	switch {
	case err != nil:
		return 0, err
	case kind != ':':
		return 0, cmp.Or(skip(x, kind, n), error(errUnusable))
	case n < 0 || name != q.channel:
		return 0, errUnusable
	}
	return n, nil
}
