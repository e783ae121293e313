package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

func openRedisQueue(q config.Queue, fleet *Fleet, opt Options) (Queue, error) {
	c := q.Redis
	var server RedisServer
	found := false
	if fleet != nil {
		server, found = fleet.Redis(c.Node, cmp.Or(c.List, c.Stream))
	}
	if !found {
		return nil, fmt.Errorf("%q is no redis node of the layers; write the name of one", c.Node)
	}
	messages, err := newMessageReader(q.Message)
	if err != nil {
		return nil, err
	}
	if c.List != "" {
		return &redisList{server: server, key: c.List, messages: messages, sample: opt.SampleMessages}, nil
	}
	return &redisStream{server: server, key: c.Stream, groups: c.Groups, messages: messages, sample: opt.SampleMessages}, nil
}

const (
	// sampleBytes of messages, about, that a list or stream is asked for at once.
	sampleBytes = 1 << 20
	// unknownSize of a message is assumed where the server does not tell what the key needs.
	unknownSize = 1 << 10
	// usageSamples of a key's parts that MEMORY USAGE looks at.
	usageSamples = 100
)

// affordable gives how many of a key's messages may be asked for; 0: one alone is too large. seen is the size of the
// largest that was seen, or the average of the last sample: the server's own average may be of older ones.
func affordable(most int, usage *redis.IntCmd, length, seen int64) int {
	each := int64(unknownSize)
	if bytes, err := usage.Result(); err == nil && length > 0 {
		each = max(bytes/length, 1)
	}
	return int(min(int64(most), sampleBytes/max(each, seen, 1)))
}

// askServer gives what use returned, unless the server did not answer in time: use may still run then.
func askServer[T any](ctx context.Context, s RedisServer, use func(context.Context, redis.Cmdable) (T, uint64, uint64)) (T, error) {
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

// moved gives the hits and misses that a command about one key moved on the server. A key of another type is a hit.
func moved(err error) (hits, misses uint64) {
	switch {
	case err == nil, redis.HasErrorPrefix(err, "WRONGTYPE"):
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
	switch {
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return fmt.Errorf("the key %q is of another type, not a %s; write the key of a %s", key, kind, kind)
	case errors.As(err, &said):
		return keyRefused(command, errReply(said.Error()))
	}
	return err
}

// redisList is a queue in a list. What was both pushed and popped between two samplings can't be seen in its length, so
// that a growing length counts as enqueued, and that is the least there was.
type redisList struct {
	server   RedisServer
	key      string
	messages *messageReader
	// sample is how many messages are looked at.
	sample int
	// average size of those looked at last, in bytes.
	average atomic.Int64
}

func (*redisList) Close() {} // the connection is the fleet's

type listReply struct {
	length int64
	err    error
	// head and tail are the messages at the ends; asked is the error of what was asked beside the length.
	head, tail message
	asked      error
	sample     *Sample
}

// Sample asks for the length and both ends, and for the newest messages once it is known which end is theirs: two round
// trips. A key that does not exist is an empty list.
func (q *redisList) Sample(ctx context.Context) (Backlog, error) {
	got, err := askServer(ctx, q.server, q.ask)
	if err == nil && got.err != nil {
		err = queueRefused("LLEN", q.key, "list", got.err)
	}
	if err != nil {
		return Backlog{}, err
	}
	n := float64(got.length)
	b := Backlog{Complete: true, Depth: Count{Value: n, Known: true}, Ends: map[Partition]float64{{}: n}, Sample: got.sample}
	if got.length == 0 {
		b.OldestAge = Count{Known: true}
		if q.sample > 0 {
			b.Sample = sampleOf()
		}
		return b, nil
	}
	now := time.Now()
	head, tail := ageAt(got.head.at, now), ageAt(got.tail.at, now)
	if head.Known && tail.Known {
		b.OldestAge = Count{Value: max(head.Value, tail.Value), Known: true}
	}
	if got.asked != nil {
		return b, queueRefused("LINDEX or LRANGE", q.key, "list", got.asked)
	}
	return b, nil
}

func (q *redisList) ask(ctx context.Context, c redis.Cmdable) (out listReply, hits, misses uint64) {
	p := c.Pipeline()
	length, usage := p.LLen(ctx, q.key), p.MemoryUsage(ctx, q.key, usageSamples)
	head, tail := p.LIndex(ctx, q.key, 0), p.LIndex(ctx, q.key, -1)
	_, _ = p.Exec(ctx) // each command has its own error
	count := func(err error, there bool) {
		h, m := moved(err)
		if err == nil && !there || errors.Is(err, redis.Nil) { // no list is empty
			h, m = 0, 1
		}
		hits, misses = hits+h, misses+m
	}
	out.length, out.err = length.Val(), length.Err()
	count(length.Err(), length.Val() > 0)
	for _, end := range []*redis.StringCmd{head, tail} {
		count(end.Err(), true)
		if err := end.Err(); err != nil && !errors.Is(err, redis.Nil) {
			out.asked = cmp.Or(out.asked, err)
		}
	}
	if out.err != nil || out.length == 0 {
		return out, hits, misses
	}
	out.head, out.tail = q.messages.read([]byte(head.Val())), q.messages.read([]byte(tail.Val()))
	if q.sample == 0 || out.asked != nil {
		return out, hits, misses
	}
	seen := max(int64(len(head.Val())), int64(len(tail.Val())), q.average.Load())
	front, back := q.share(&out, affordable(q.sample, usage, out.length, seen))
	if front+back == 0 {
		q.average.Store(0) // look again: what is that large may have gone
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
	_, _ = p.Exec(ctx)     // each command has its own error
	var messages []message // in the list's order
	bytes := 0
	for _, r := range ranges {
		if r == nil {
			continue
		}
		count(r.Err(), len(r.Val()) > 0)
		out.asked = cmp.Or(out.asked, r.Err())
		for _, text := range r.Val() {
			bytes += len(text)
			messages = append(messages, q.messages.read([]byte(text)))
		}
	}
	if out.asked == nil {
		q.average.Store(int64(bytes / max(len(messages), 1)))
		out.sample = q.look(&out, messages)
	}
	return out, hits, misses
}

// share of n messages between the front and the back of the list: all from the end that is newer, half from each where that
// is unknown.
func (q *redisList) share(l *listReply, n int) (front, back int) {
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
	if l.head.at.IsZero() || l.tail.at.IsZero() {
		return 0
	}
	return l.tail.at.Compare(l.head.at)
}

// look at messages in the list's order. Where it is unknown in which direction the list grows, versions that rise in one of
// the two are no repeats.
func (q *redisList) look(l *listReply, messages []message) *Sample {
	backwards := slices.Clone(messages)
	slices.Reverse(backwards)
	switch l.direction() {
	case 1:
		return sampleOf(messages)
	case -1:
		return sampleOf(backwards)
	}
	one, other := sampleOf(messages), sampleOf(backwards)
	if other.Repeats.Value < one.Repeats.Value {
		return other
	}
	return one
}

// redisStream is a queue in a stream.
type redisStream struct {
	server   RedisServer
	key      string
	groups   []config.NameMatch // none: all
	messages *messageReader
	// sample is how many entries are looked at.
	sample int
	// average size of those looked at last, in bytes.
	average atomic.Int64
}

func (*redisStream) Close() {} // the connection is the fleet's

// streamReply is the answers about a stream.
type streamReply struct {
	info, groups       any
	infoErr, groupsErr error
	// ages by group; sample of the newest entries; asked is the error of what was asked for them.
	ages   map[string]streamAges
	sample *Sample
	asked  error
}

// streamAges are the ids of a group's oldest entries; empty where there is none.
type streamAges struct{ pending, undelivered string }

// Sample asks for the stream and its groups, and then for the oldest entry of each group and the newest of all: two round
// trips. A stream that does not exist is empty, whatever groups are configured; a configured group that does not exist on a
// stream has nothing committed.
func (q *redisStream) Sample(ctx context.Context) (Backlog, error) {
	got, err := askServer(ctx, q.server, q.ask)
	if err != nil {
		return Backlog{}, err
	}
	if noSuchKey(got.infoErr) || noSuchKey(got.groupsErr) {
		return q.missing(), nil
	}
	if err := cmp.Or(got.infoErr, got.groupsErr); err != nil {
		return Backlog{}, queueRefused("XINFO", q.key, "stream", err)
	}
	return q.backlog(got)
}

func (q *redisStream) ask(ctx context.Context, c redis.Cmdable) (out streamReply, hits, misses uint64) {
	// The library's own types refuse fields that they don't know, and each Redis adds some.
	p := c.Pipeline()
	info, groups := p.Do(ctx, "XINFO", "STREAM", q.key), p.Do(ctx, "XINFO", "GROUPS", q.key)
	usage := p.MemoryUsage(ctx, q.key, usageSamples)
	_, _ = p.Exec(ctx) // each command has its own error
	count := func(err error) {
		h, m := moved(err)
		hits, misses = hits+h, misses+m
	}
	count(info.Err())
	count(groups.Err())
	out = streamReply{info: info.Val(), groups: groups.Val(), infoErr: info.Err(), groupsErr: groups.Err()}
	if cmp.Or(out.infoErr, out.groupsErr) != nil {
		return out, hits, misses
	}
	fields, _ := replyFields(out.info)
	length, _ := fields.number("length")
	list, _ := out.groups.([]any)
	picked, _ := q.pick(list) // its error is told later
	p = c.Pipeline()
	kind := p.Type(ctx, q.key) // it tells whether an answer of nothing was a hit or a miss
	pending, undelivered := map[string]*redis.Cmd{}, map[string]*redis.Cmd{}
	picked = slices.DeleteFunc(picked, func(g streamGroup) bool { return g.fields == nil }) // they do not exist
	for _, g := range picked {
		if n, known := g.fields.number("pending"); !known || n > 0 {
			pending[g.name] = p.Do(ctx, "XPENDING", q.key, g.name, "-", "+", 1)
		}
		last, _ := g.fields["last-delivered-id"].(string)
		if lag, known := g.fields.number("lag"); last != "" && undelivered[last] == nil && (!known || lag > 0) {
			undelivered[last] = p.Do(ctx, "XRANGE", q.key, "("+last, "+", "COUNT", 1)
		}
	}
	var newest *redis.Cmd
	most := affordable(q.sample, usage, length, max(entrySize(fields["last-entry"]), q.average.Load()))
	if most > 0 && length > 0 {
		newest = p.Do(ctx, "XREVRANGE", q.key, "+", "-", "COUNT", most)
	} else {
		q.average.Store(0) // look again: what is that large may have gone
	}
	_, _ = p.Exec(ctx) // each command has its own error
	count(kind.Err())
	gone := kind.Val() == "none"
	if kind.Err() == nil && gone {
		hits, misses = hits-1, misses+1
	}
	look := func(cmd *redis.Cmd) []any {
		if cmd == nil {
			return nil
		}
		entries, _ := cmd.Val().([]any)
		out.asked = cmp.Or(out.asked, cmd.Err())
		switch refused := redis.HasErrorPrefix(cmd.Err(), "NOGROUP"); {
		case gone && (refused || cmd.Err() == nil && len(entries) == 0):
			misses++
		case refused:
			hits++
		default:
			count(cmd.Err())
		}
		return entries
	}
	first := map[string]string{} // undelivered entry, by the one delivered last
	for last, cmd := range undelivered {
		first[last] = entryID(look(cmd))
	}
	out.ages = map[string]streamAges{}
	for _, g := range picked {
		oldest := entryID(look(pending[g.name]))
		last, told := g.fields["last-delivered-id"].(string)
		if cmd := pending[g.name]; told && (cmd == nil || cmd.Err() == nil) && (undelivered[last] == nil || undelivered[last].Err() == nil) {
			out.ages[g.name] = streamAges{pending: oldest, undelivered: first[last]}
		}
	}
	entries := look(newest)
	switch {
	case newest != nil && newest.Err() == nil:
		q.average.Store(entrySize(entries) / int64(max(len(entries), 1)))
		out.sample = sampleOf(q.read(entries))
	case q.sample > 0 && length == 0:
		out.sample = sampleOf()
	}
	return out, hits, misses
}

// entrySize is the bytes of all texts in a reply.
func entrySize(reply any) int64 {
	switch v := reply.(type) {
	case string:
		return int64(len(v))
	case []any:
		n := int64(0)
		for _, one := range v {
			n += entrySize(one)
		}
		return n
	}
	return 0
}

// entryID of the first of a reply's entries; empty where there is none.
func entryID(entries []any) string {
	if len(entries) == 0 {
		return ""
	}
	entry, _ := entries[0].([]any)
	if len(entry) == 0 {
		return ""
	}
	id, _ := entry[0].(string)
	return id
}

// read entries that came newest first.
func (q *redisStream) read(entries []any) []message {
	var out []message
	for _, e := range slices.Backward(entries) {
		entry, _ := e.([]any)
		if len(entry) < 2 {
			continue
		}
		var fields []string
		values, _ := entry[1].([]any)
		for _, v := range values {
			text, _ := v.(string)
			fields = append(fields, text)
		}
		m := q.messages.readEntry(fields)
		if m.at.IsZero() {
			id, _ := entry[0].(string)
			m.at = entryTime(id)
		}
		out = append(out, m)
	}
	return out
}

// entryTime is when an entry was added, by its id; zero where that holds no time.
func entryTime(id string) time.Time {
	ms, _, _ := strings.Cut(id, "-")
	return messageTime(ms)
}

// entryAge in seconds of the entry with this id; 0 where there is none.
func entryAge(id string, now time.Time) Count {
	if id == "" {
		return Count{Known: true}
	}
	return ageAt(entryTime(id), now)
}

func (q *redisStream) partition() Partition { return Partition{Topic: q.key} }

func (q *redisStream) missing() Backlog {
	b := Backlog{
		Complete: true, Depth: Count{Known: true}, Ends: map[Partition]float64{q.partition(): 0}, Groups: []GroupBacklog{},
		OldestAge: Count{Known: true},
	}
	if q.sample > 0 {
		b.Sample = sampleOf()
	}
	for _, name := range exactNames(q.groups) {
		b.Groups = append(b.Groups, GroupBacklog{Group: name, HasMembers: true, HasOffsets: true})
	}
	return b
}

func (q *redisStream) backlog(got streamReply) (Backlog, error) {
	info, ok := replyFields(got.info)
	length, known := info.number("length")
	list, isList := got.groups.([]any)
	if !ok || !known || !isList {
		return Backlog{}, fmt.Errorf("XINFO's answer about %q can't be read; is the server a Redis or Valkey?", q.key)
	}
	b := Backlog{Ends: map[Partition]float64{}, Groups: []GroupBacklog{}, Sample: got.sample}
	if added, ok := info.number("entries-added"); ok {
		b.Ends[q.partition()] = float64(added)
	}
	groups, err := q.pick(list)
	errs := []error{err}
	b.Depth = Count{Known: true}
	read := false // a selected group is there
	for _, g := range groups {
		one, waiting, err := q.group(g)
		if g.fields != nil {
			q.date(&one, got.ages, &b.OldestAge, !read)
		}
		b.Groups = append(b.Groups, one)
		if err != nil {
			errs = append(errs, fmt.Errorf("group %s: %w", one.Group, err))
			b.Depth.Known = false
		}
		b.Depth.Value = max(b.Depth.Value, waiting)
		read = read || g.fields != nil
	}
	if !read {
		b.Depth.Value = float64(length)
		if first, ok := info["first-entry"].([]any); ok && len(first) > 0 {
			b.OldestAge = entryAge(entryID([]any{first}), time.Now())
		}
	}
	if b.Depth.Known && b.Depth.Value == 0 {
		b.OldestAge = Count{Known: true}
	}
	if !b.Depth.Known {
		b.Depth.Value = 0
	}
	err = errors.Join(errs...)
	b.Complete = err == nil
	if got.asked != nil {
		err = errors.Join(err, queueRefused("XPENDING or XRANGE", q.key, "stream", got.asked))
	}
	return b, err
}

// date gives a group's ages, and the queue's: that of the oldest entry that is pending or undelivered in any of them.
func (q *redisStream) date(g *GroupBacklog, all map[string]streamAges, oldest *Count, first bool) {
	ids, asked := all[g.Group]
	if !asked {
		*oldest = Count{}
		return
	}
	now := time.Now()
	lag, pending := entryAge(ids.undelivered, now), entryAge(ids.pending, now)
	if lag.Known {
		g.LagSeconds = map[Partition]float64{q.partition(): lag.Value}
	}
	g.OldestPending = pending
	if !lag.Known || !pending.Known || !first && !oldest.Known {
		*oldest = Count{}
		return
	}
	*oldest = Count{Value: max(oldest.Value, lag.Value, pending.Value), Known: true}
}

// streamGroup is a group of XINFO GROUPS; one that is configured and does not exist has no fields.
type streamGroup struct {
	name   string
	fields fieldReply
}

// pick the selected groups, by name.
func (q *redisStream) pick(list []any) ([]streamGroup, error) {
	there := map[string]fieldReply{}
	for _, item := range list {
		f, ok := replyFields(item)
		name, isText := f["name"].(string)
		if ok && isText && (len(q.groups) == 0 || selected(q.groups, name)) {
			there[name] = f
		}
	}
	names := exactNames(q.groups)
	for name := range there {
		names = append(names, name)
	}
	names, err := fewGroups(names)
	out := make([]streamGroup, 0, len(names))
	for _, name := range names {
		out = append(out, streamGroup{name, there[name]})
	}
	return out, err
}

// group gives one group's part, and how many messages wait for it.
func (q *redisStream) group(g streamGroup) (out GroupBacklog, waiting float64, err error) {
	out = GroupBacklog{Group: g.name, HasMembers: true, HasOffsets: true}
	if g.fields == nil {
		out.Uncommitted = 1
		return out, 0, nil
	}
	members, hasMembers := g.fields.number("consumers")
	out.Members, out.HasMembers = int(members), hasMembers
	pending, hasPending := g.fields.number("pending")
	out.Pending = Count{Value: float64(pending), Known: hasPending}
	if read, ok := g.fields.number("entries-read"); ok && hasPending {
		out.Positions = map[Partition]float64{q.partition(): float64(read - pending)}
	}
	lag, hasLag := g.fields.number("lag")
	if hasLag && hasPending {
		lag = max(lag, 0)
		out.Lag = map[Partition]int64{q.partition(): lag}
		return out, float64(lag + pending), nil
	}
	if _, told := g.fields["lag"]; !told {
		return out, 0, errors.New("the server does not tell its lag; Redis 7.0 and newer do")
	}
	return out, 0, errors.New("its lag is unknown to the server, as after XDEL or XGROUP SETID, until it has read to the stream's end")
}

// fieldReply is a reply of names and values in turn.
type fieldReply map[string]any

func replyFields(reply any) (fieldReply, bool) {
	list, ok := reply.([]any)
	if !ok || len(list)%2 != 0 {
		return nil, false
	}
	out := make(fieldReply, len(list)/2)
	for i := 0; i < len(list); i += 2 {
		name, ok := list[i].(string)
		if !ok {
			return nil, false
		}
		out[strings.ToLower(name)] = list[i+1]
	}
	return out, true
}

// number of a field; not known where it is absent or nil.
func (f fieldReply) number(name string) (int64, bool) {
	n, ok := f[name].(int64)
	return n, ok
}
