package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
)

// The kinds of queues, as labels.
const listKind, streamKind, channelKind = "redis_list", "redis_stream", "redis_channel"

// Kind implements probes.QueueSource.
func (c *queueConfig) Kind() string {
	switch {
	case c.Stream != "":
		return streamKind
	case c.Channel != "":
		return channelKind
	}
	return listKind
}

// Traits implements probes.QueueSource.
func (c *queueConfig) Traits() probes.QueueTraits {
	if c.Channel != "" {
		return probes.QueueTraits{Positions: true, Messages: true, Events: true, AtOnce: true}
	}
	return probes.QueueTraits{Positions: true, LengthOnly: c.List != "", Messages: true, Events: c.Stream != ""}
}

// On implements probes.QueueSource.
func (c *queueConfig) On() string { return c.Node }

// Watched implements probes.QueueSource.
func (c *queueConfig) Watched() []form.NameMatch {
	if c.Stream != "" && len(c.Groups) == 0 {
		return []form.NameMatch{{Regexp: anyGroup}}
	}
	return c.Groups
}

var anyGroup = regexp.MustCompile("")

// Advice implements probes.QueueSource.
func (*queueConfig) Advice() string { return "" }

// Open implements probes.QueueSource.
func (c *queueConfig) Open(_ string, m *probes.Message, fleet *probes.Fleet, env *probes.Env) (probes.Queue, error) {
	messages, err := message.NewReader(m)
	if err != nil {
		return nil, err
	}
	if c.Channel != "" {
		servers, err := channelsOf(fleet, c.Node)
		if err != nil {
			return nil, err
		}
		return &channelQueue{
			channel: c.Channel, sharded: c.Sharded, servers: servers, messages: messages, sample: env.SampleMessages, counted: c.Sharded,
			sub: newSubscription(c.Channel, c.Sharded, env.MaxValueBytes),
		}, nil
	}
	server, err := serverOf(fleet, c.Node, cmp.Or(c.List, c.Stream))
	if err != nil {
		return nil, err
	}
	keys, keysErr := message.NewKeyReader(m)
	if c.List != "" {
		return &listQueue{
			server: server, key: c.List, messages: messages, keys: keys, keysErr: keysErr, sample: env.SampleMessages,
			size: messageSize{limit: env.MaxValueBytes}, holds: queueHolder{env.Budget, &probes.Holder{}},
		}, nil
	}
	return &streamQueue{
		server: server, key: c.Stream, groups: c.Groups, messages: messages, keys: keys, keysErr: keysErr, sample: env.SampleMessages,
		size: messageSize{limit: env.MaxValueBytes}, holds: queueHolder{env.Budget, &probes.Holder{}},
	}, nil
}

const (
	// sampleBytes of messages, about, that a list or stream is asked for at once.
	sampleBytes = 1 << 20
	// unknownSize of a message is assumed where the server does not tell what the key needs.
	unknownSize = 1 << 10
	// usageSamples of a key's parts that MEMORY USAGE looks at.
	usageSamples = 100
	// keyBytes that a key alone may need: where messages are small, they say nothing about a message.
	keyBytes = 8 << 10
	// skipAfterLarge is how many samplings leave the messages of a queue alone in which one was found too large.
	skipAfterLarge = 100
)

// messageSize decides whether a queue's messages may be read at all, for one that is far too large must not be fetched. No
// command gives the size of one message.
type messageSize struct {
	// limit of a message, in bytes.
	limit int64
	// average size of those read last, in bytes.
	average atomic.Int64
	// skip is how many samplings still leave the messages alone.
	skip atomic.Int64
}

// most bytes that a message may have.
func (s *messageSize) most() int64 { return max(s.limit, keyBytes) }

// tooLarge reports whether the messages must not be read: by the server's own average, or by what was found in them.
func (s *messageSize) tooLarge(usage *redis.IntCmd, length int64) bool {
	bytes, err := usage.Result()
	switch {
	case err == nil && length > 0 && bytes/length > s.most():
		return true
	case length == 0 || err == nil && bytes <= s.most():
		s.skip.Store(0) // what was too large has gone
		return false
	}
	if left := s.skip.Load(); left > 0 {
		s.skip.Store(left - 1)
		return true
	}
	return false
}

// isLarge reports whether an answer was not read for the size of a message in it, and gives that.
func (s *messageSize) isLarge(err error) (bytes int64, large bool) {
	bytes, _ = tooLarge(err)
	return bytes, bytes > s.most()
}

// found notes the size of the largest message that was read, and reports whether it was too large.
func (s *messageSize) found(bytes int64) bool {
	if bytes <= s.most() {
		return false
	}
	s.skip.Store(skipAfterLarge)
	return true
}

// affordable gives how many of a key's messages may be asked for; 0: one alone is too large. seen is the size of the
// largest that was seen: the server's own average may be of older ones.
func (s *messageSize) affordable(most int, usage *redis.IntCmd, length, seen int64) int {
	return int(min(int64(most), sampleBytes/max(averageSize(usage, length), seen, s.average.Load(), 1)))
}

// averageSize of a message, in bytes, by the server's own account.
func averageSize(usage *redis.IntCmd, length int64) int64 {
	if bytes, err := usage.Result(); err == nil && length > 0 {
		return max(bytes/length, 1)
	}
	return unknownSize
}

func (s *messageSize) refused(key string) error {
	return fmt.Errorf("the messages of %q are too large to look at (above %d bytes), so that ages and the newest messages are unknown; "+
		"put less into a message, or raise --canary.max-value-bytes", key, s.most())
}

// askServer gives what use returned, with its hits and misses. An error: the server did not answer in time, and use may still
// run.
func askServer[T any](ctx context.Context, s commander, use func(context.Context, redis.Cmdable) (T, uint64, uint64)) (T, error) {
	got := make(chan T, 1)
	err := s.Do(ctx, func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error) {
		v, hits, misses := use(ctx, c)
		got <- v
		return hits, misses, nil
	})
	if err != nil {
		var none T
		return none, err
	}
	return <-got, nil
}

// holdBudget takes bytes of the budget until release is called or the caller has gone: what a server that hangs still owes
// must not keep the budget from others. It fails where the caller has gone.
type holdBudget func(bytes int64) (release func(), err error)

// askHolding is askServer for answers that count against the budget. They bring no more than a few small things, two messages as large as
// one may be, and what is held. One that comes too slowly while others wait is given up.
func askHolding[T any](
	ctx context.Context, s commander, of queueHolder, message int64, use func(context.Context, redis.Cmdable, holdBudget) (T, uint64, uint64),
) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	may := newAllowance(sampledBytes+2*message, sampledElements)
	hold := func(bytes int64) (func(), error) {
		held, err := of.budget.Hold(ctx, of.holder, bytes, func() { cancel(probes.ErrTooSlow) })
		if err != nil {
			return nil, probes.NoAnswer(ctx)
		}
		may.bytes.Add(bytes)
		stop := context.AfterFunc(ctx, held.Release)
		return func() {
			stop()
			held.Release()
		}, nil
	}
	got, err := askServer(allowing(ctx, may), s, func(ctx context.Context, c redis.Cmdable) (T, uint64, uint64) { return use(ctx, c, hold) })
	if err != nil && errors.Is(context.Cause(ctx), probes.ErrTooSlow) {
		err = probes.ErrTooSlow
	}
	return got, err
}

// queueHolder is a queue's part in the budget.
type queueHolder struct {
	budget *probes.Budget
	holder *probes.Holder
}

// sampleHold is what a sampling of messages holds: at most most bytes, and no more than all messages need by the server's account
// when they are read so many times.
func sampleHold(most, times int64, usage *redis.IntCmd) int64 {
	if bytes, err := usage.Result(); err == nil && bytes < most/times {
		return bytes * times
	}
	return most
}

// hitOrMiss gives the hits and misses that a command about one key adds on the server. A key of another type is a hit.
func hitOrMiss(err error) (hits, misses uint64) {
	_, large := tooLarge(err)
	switch {
	case err == nil, large, redis.HasErrorPrefix(err, "WRONGTYPE"):
		return 1, 0
	case noSuchKey(err):
		return 0, 1
	}
	return 0, 0 // refused, or never answered
}

func noSuchKey(err error) bool { return redis.HasErrorPrefix(err, "no such key") } // after ERR

// queueRefused says what to do about a command that failed.
func queueRefused(command, key, kind string, err error) error {
	var said redis.Error
	var own errReply
	switch {
	case errors.As(err, &own):
		return keyRefused(command, own)
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return probes.Refusal(fmt.Errorf("the key %q is of another type, not a %s; write the key of a %s", key, kind, kind))
	case errors.As(err, &said):
		return probes.Refusal(keyRefused(command, errReply(said.Error())))
	}
	return libraryFault(command, err)
}

// libraryFault gives an error of the library as it can be told: where an answer is of another kind than the command's, it quotes that.
func libraryFault(command string, err error) error {
	var number *strconv.NumError
	if err != nil && (errors.As(err, &number) || strings.HasPrefix(err.Error(), "redis: ") || strings.HasPrefix(err.Error(), "bigInt(")) {
		return keyRefused(command, errUnusable)
	}
	return err
}

// fieldReply is a reply of names and values in turn, by name. What has no name is left out.
type fieldReply map[string]any

func replyFields(reply any) (fieldReply, bool) {
	list, ok := reply.([]any)
	if !ok || len(list)%2 != 0 {
		return nil, false
	}
	out := make(fieldReply, len(list)/2)
	for i := 0; i < len(list); i += 2 {
		if name, ok := list[i].(string); ok {
			out[strings.ToLower(name)] = list[i+1]
		}
	}
	return out, true
}

// number of a field; not known where it is absent, nil, or no count: each is one.
func (f fieldReply) number(name string) (int64, bool) {
	n, ok := f[name].(int64)
	if !ok || noCount(n) != nil {
		return 0, false
	}
	return n, true
}

// lag of a group; some servers tell one below 0 of a group that is behind nothing.
func (f fieldReply) lag() (int64, bool) {
	if n, ok := f["lag"].(int64); ok && n < 0 {
		return 0, true
	}
	return f.number("lag")
}
