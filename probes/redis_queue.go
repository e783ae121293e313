package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

func openRedisQueue(q config.Queue, fleet *Fleet, opt Options) (Queue, error) {
	c := q.Redis
	var server RedisServer
	found := false
	if fleet != nil {
		server, found = fleet.Redis(c.Node)
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

// sampleBytes of messages, about, that a list or stream is asked for at once.
const sampleBytes = 1 << 20

// unknownSize of a message is assumed where the server does not tell what the key needs.
const unknownSize = 1 << 10

// affordable gives how many of a key's messages may be asked for: their size is the average, by what the key needs.
func affordable(most int, usage *redis.IntCmd, length int64) int {
	each := int64(unknownSize)
	if bytes, err := usage.Result(); err == nil && length > 0 {
		each = max(bytes/length, 1)
	}
	return int(min(int64(most), max(sampleBytes/each, 1)))
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
	length, usage := p.LLen(ctx, q.key), p.MemoryUsage(ctx, q.key)
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
	front, back := q.share(&out, affordable(q.sample, usage, out.length))
	p = c.Pipeline()
	var ranges [2]*redis.StringSliceCmd
	if front > 0 {
		ranges[0] = p.LRange(ctx, q.key, 0, int64(front)-1)
	}
	if back > 0 {
		ranges[1] = p.LRange(ctx, q.key, -int64(back), -1)
	}
	_, _ = p.Exec(ctx) // each command has its own error
	var parts [2][]message
	for i, r := range ranges {
		if r == nil {
			continue
		}
		count(r.Err(), len(r.Val()) > 0)
		out.asked = cmp.Or(out.asked, r.Err())
		for _, text := range r.Val() {
			parts[i] = append(parts[i], q.messages.read([]byte(text)))
		}
	}
	if out.asked == nil {
		slices.Reverse(parts[0]) // the newest of the front is its first
		out.sample = sampleOf(parts[0], parts[1])
	}
	return out, hits, misses
}

// share of n messages between the front and the back of the list: all from the end that is newer, half from each where that
// is unknown.
func (q *redisList) share(l *listReply, n int) (front, back int) {
	n = int(min(int64(n), l.length))
	switch {
	case n == int(l.length):
		// The front's reversal would read an RPUSHed list backwards.
		if l.head.at.After(l.tail.at) {
			return n, 0
		}
		return 0, n
	case l.head.at.IsZero() || l.tail.at.IsZero() || l.head.at.Equal(l.tail.at):
		return n / 2, n - n/2
	case l.head.at.After(l.tail.at):
		return n, 0
	}
	return 0, n
}

// redisStream is a queue in a stream.
type redisStream struct {
	server   RedisServer
	key      string
	groups   []config.NameMatch // none: all
	messages *messageReader
	// sample is how many entries are looked at.
	sample int
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
	usage := p.MemoryUsage(ctx, q.key)
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
	pending, undelivered := map[string]*redis.Cmd{}, map[string]*redis.Cmd{}
	for _, g := range picked {
		if g.fields == nil {
			continue
		}
		pending[g.name] = p.Do(ctx, "XPENDING", q.key, g.name, "-", "+", 1)
		if last, ok := g.fields["last-delivered-id"].(string); ok {
			undelivered[g.name] = p.Do(ctx, "XRANGE", q.key, "("+last, "+", "COUNT", 1)
		}
	}
	var newest *redis.Cmd
	if q.sample > 0 && length > 0 {
		newest = p.Do(ctx, "XREVRANGE", q.key, "+", "-", "COUNT", affordable(q.sample, usage, length))
	}
	_, _ = p.Exec(ctx) // each command has its own error
	look := func(cmd *redis.Cmd) []any {
		if cmd == nil {
			return nil
		}
		count(cmd.Err())
		out.asked = cmp.Or(out.asked, cmd.Err())
		entries, _ := cmd.Val().([]any)
		return entries
	}
	out.ages = map[string]streamAges{}
	for name, cmd := range pending {
		a := streamAges{pending: entryID(look(cmd)), undelivered: entryID(look(undelivered[name]))}
		if cmd.Err() == nil && undelivered[name] != nil && undelivered[name].Err() == nil {
			out.ages[name] = a
		}
	}
	entries := look(newest)
	if newest != nil && newest.Err() == nil || q.sample > 0 && length == 0 {
		out.sample = sampleOf(q.read(entries))
	}
	return out, hits, misses
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
