package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

func openRedisQueue(c config.RedisQueue, fleet *Fleet) (Queue, error) {
	var server RedisServer
	found := false
	if fleet != nil {
		server, found = fleet.Redis(c.Node, cmp.Or(c.List, c.Stream))
	}
	if !found {
		return nil, fmt.Errorf("%q is no redis node of the layers; write the name of one", c.Node)
	}
	if c.List != "" {
		return &redisList{server: server, key: c.List}, nil
	}
	return &redisStream{server: server, key: c.Stream, groups: c.Groups}, nil
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
	server RedisServer
	key    string
}

func (*redisList) Close() {} // the connection is the fleet's

type lengthReply struct {
	length int64
	err    error
}

// Sample asks for the length; a key that does not exist is an empty list.
func (q *redisList) Sample(ctx context.Context) (Backlog, error) {
	got, err := askServer(ctx, q.server, func(ctx context.Context, c redis.Cmdable) (lengthReply, uint64, uint64) {
		n, err := c.LLen(ctx, q.key).Result()
		if err == nil && n == 0 { // no list is empty
			return lengthReply{}, 0, 1
		}
		hits, misses := moved(err)
		return lengthReply{n, err}, hits, misses
	})
	if err == nil && got.err != nil {
		err = queueRefused("LLEN", q.key, "list", got.err)
	}
	if err != nil {
		return Backlog{}, err
	}
	n := float64(got.length)
	return Backlog{Complete: true, Depth: Count{Value: n, Known: true}, Ends: map[Partition]float64{{}: n}}, nil
}

// redisStream is a queue in a stream.
type redisStream struct {
	server RedisServer
	key    string
	groups []config.NameMatch // none: all
}

func (*redisStream) Close() {} // the connection is the fleet's

// streamReply is XINFO STREAM's and XINFO GROUPS' answers.
type streamReply struct {
	info, groups       any
	infoErr, groupsErr error
}

// Sample asks for the stream and its groups in one round trip. A stream that does not exist is empty, whatever groups are
// configured; a configured group that does not exist on a stream has nothing committed.
func (q *redisStream) Sample(ctx context.Context) (Backlog, error) {
	got, err := askServer(ctx, q.server, func(ctx context.Context, c redis.Cmdable) (streamReply, uint64, uint64) {
		// The library's own types refuse fields that they don't know, and each Redis adds some.
		p := c.Pipeline()
		info, groups := p.Do(ctx, "XINFO", "STREAM", q.key), p.Do(ctx, "XINFO", "GROUPS", q.key)
		_, _ = p.Exec(ctx) // each command has its own error
		hits, misses := moved(info.Err())
		h, m := moved(groups.Err())
		return streamReply{info.Val(), groups.Val(), info.Err(), groups.Err()}, hits + h, misses + m
	})
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

func (q *redisStream) partition() Partition { return Partition{Topic: q.key} }

func (q *redisStream) missing() Backlog {
	b := Backlog{Complete: true, Depth: Count{Known: true}, Ends: map[Partition]float64{q.partition(): 0}, Groups: []GroupBacklog{}}
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
	b := Backlog{Ends: map[Partition]float64{}, Groups: []GroupBacklog{}}
	if added, ok := info.number("entries-added"); ok {
		b.Ends[q.partition()] = float64(added)
	}
	groups, err := q.pick(list)
	errs := []error{err}
	b.Depth = Count{Known: true}
	read := false // a selected group is there
	for _, g := range groups {
		one, waiting, err := q.group(g)
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
	}
	if !b.Depth.Known {
		b.Depth.Value = 0
	}
	err = errors.Join(errs...)
	b.Complete = err == nil
	return b, err
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
