package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// loadScript gives the TTL of a copy and the copy itself, of one moment.
var loadScript = redis.NewScript(`return {redis.call('PTTL', KEYS[1]), redis.call(ARGV[1], KEYS[1])}`)

// exchangeScript puts another copy in the place of one that is exactly what was seen, byte for byte. It answers 1, or 0
// where the copy is another, which it leaves alone. ARGV: string or hash; how many arguments follow for what was seen, and for
// what is put, below 0 for nothing; in how many milliseconds that expires (keep: when what was there does; below 0: never);
// and these arguments. Lua writes numbers above 1e17 in a way that PEXPIRE does not read.
var exchangeScript = redis.NewScript(`
local key, kind, seen, put, ttl, at = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], 5
local is = redis.call('TYPE', key).ok
if seen < 0 then
  if is ~= 'none' then return 0 end
elseif is ~= kind then
  return 0
elseif kind == 'string' then
  if redis.call('GET', key) ~= ARGV[at] then return 0 end
else
  local fields = redis.call('HGETALL', key)
  if #fields ~= seen then return 0 end
  local had = {}
  for i = 1, #fields, 2 do had[fields[i]] = fields[i + 1] end
  for i = at, at + seen - 1, 2 do
    if had[ARGV[i]] ~= ARGV[i + 1] then return 0 end
  end
end
at = at + math.max(seen, 0)
if put < 0 then
  redis.call('DEL', key)
  return 1
end
ttl = tonumber(ttl) or redis.call('PTTL', key)
if kind == 'string' then
  redis.call('SET', key, ARGV[at])
else
  redis.call('DEL', key)
  for i = at, at + put - 1, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
end
if ttl >= 0 then redis.call('PEXPIRE', key, math.min(math.max(ttl, 1), 1000000000000000)) end
return 1`)

// editReply is what a script answered.
type editReply struct {
	value any
	err   error
}

// runScript runs a script on one key. Its lookups of the key, moves on the server's own counts, are ours.
func (n *node) runScript(ctx context.Context, script *redis.Script, key string, args ...any) (any, error) {
	got, err := askServer(ctx, n, func(ctx context.Context, c redis.Cmdable) (out editReply, hits, misses uint64) {
		out.value, out.err = script.Run(ctx, c, []string{key}, args...).Result()
		return out, 0, 0
	})
	if err != nil {
		return nil, err
	}
	if got.err != nil {
		return nil, editRefused(got.err)
	}
	return got.value, nil
}

// Load implements probes.Editable.
func (n *node) Load(ctx context.Context, key probes.Key) (probes.Stored, error) {
	command := "GET"
	if key.Hash {
		command = "HGETALL"
	}
	got, err := n.runScript(ctx, loadScript, key.Name, command)
	if err != nil {
		return probes.Stored{}, err
	}
	reply, ok := got.([]any)
	if !ok || len(reply) != 2 {
		return probes.Stored{}, errProtocol
	}
	ttl, ok := reply[0].(int64)
	if !ok {
		return probes.Stored{}, errProtocol
	}
	out := probes.Stored{}
	switch value := reply[1].(type) {
	case nil:
		return out, nil
	case string:
		out.Value = []byte(value)
	case []any:
		if out.Fields, ok = storedFields(value); !ok {
			return probes.Stored{}, errProtocol
		}
		if len(out.Fields) == 0 {
			return out, nil
		}
	default:
		return probes.Stored{}, errProtocol
	}
	out.Present = true
	if out.NoExpiry = ttl < 0; !out.NoExpiry {
		out.Expires = time.Now().Add(wire.TTL(ttl, time.Millisecond))
	}
	return out, nil
}

// storedFields of HGETALL's reply; false: it is none.
func storedFields(reply []any) ([]probes.Field, bool) {
	out := make([]probes.Field, 0, len(reply)/2)
	for i := 0; i+1 < len(reply); i += 2 {
		name, named := reply[i].(string)
		value, valued := reply[i+1].(string)
		if !named || !valued {
			return nil, false
		}
		out = append(out, probes.Field{Name: []byte(name), Value: []byte(value)})
	}
	return out, true
}

// Exchange implements probes.Editable.
func (n *node) Exchange(ctx context.Context, key probes.Key, seen, next probes.Stored) error {
	kind := "string"
	if key.Hash {
		kind = "hash"
	}
	was, is := storedArgs(key, seen), storedArgs(key, next)
	args := append([]any{kind, countArgs(seen, was), countArgs(next, is), expiryArg(next)}, was...)
	got, err := n.runScript(ctx, exchangeScript, key.Name, append(args, is...)...)
	switch {
	case err != nil:
		return err
	case got == int64(1):
		return nil
	}
	return probes.ErrChanged
}

func storedArgs(key probes.Key, s probes.Stored) []any {
	switch {
	case !s.Present:
		return nil
	case !key.Hash:
		return []any{s.Value}
	}
	out := make([]any, 0, 2*len(s.Fields))
	for _, f := range s.Fields {
		out = append(out, f.Name, f.Value)
	}
	return out
}

func countArgs(s probes.Stored, args []any) int {
	if !s.Present {
		return -1
	}
	return len(args)
}

func expiryArg(s probes.Stored) any {
	switch {
	case s.KeepExpiry:
		return "keep"
	case s.NoExpiry:
		return -1
	}
	return max(time.Until(s.Expires).Milliseconds(), 1)
}

// editRefused says what to do about a script that failed. Redis before version 7 puts the script's name before what the
// command in it said. The server's text is not repeated: it may hold arguments.
func editRefused(err error) error {
	var refused redis.Error
	if !errors.As(err, &refused) {
		return libraryFault("EVAL", err)
	}
	if _, large := tooLarge(err); large {
		return keyRefused("EVAL", errReply(err.Error()))
	}
	text := err.Error()
	said := errReply(text)
	switch {
	case strings.Contains(text, "WRONGTYPE"):
		return fmt.Errorf("%w, to another type", probes.ErrChanged)
	case strings.Contains(text, "READONLY"):
		return probes.ErrReplica
	case strings.Contains(text, "OOM "):
		return errors.New("the script was refused (OOM): the server has no memory left")
	case strings.Contains(text, "NOPERM"), strings.Contains(text, "can't run this command"), strings.Contains(text, "permission"):
		return errors.New("the script was refused (NOPERM); grant the node's user +eval +evalsha +type +get +set +del +pttl +pexpire " +
			"(of hashes +hgetall +hset too) and the keys' patterns")
	case strings.Contains(text, "unknown command"):
		return errors.New("the server runs no scripts (EVAL), which compare and write in one step")
	}
	if word := said.word(); slices.Contains([]string{"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING"}, word) {
		return keyRefused("EVAL", said)
	}
	return fmt.Errorf("the script was refused (%s)", said.word())
}
