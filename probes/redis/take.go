package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
)

// takeBytes of messages, about, that are taken at once.
const takeBytes = 1 << 20

// takenKeys are the keys beside a queue's own that a taking uses.
type takenKeys struct {
	// processing is the list of the messages in hand, dead the list of those that can't be applied, and owner holds the token
	// of the run to which processing belongs.
	processing, dead, owner string
}

// own gives the keys of which a queue consists, as far as they can be told.
func (k takenKeys) own(name string) []string {
	out := []string{name}
	if k != (takenKeys{}) {
		out = append(out, k.processing, k.dead, k.owner)
	}
	return out
}

// keysBeside gives the names: NAME:processing and the like. In a Cluster they must be in NAME's own slot, so that there they
// are {NAME}:processing where NAME itself has no hash tag.
func keysBeside(server commander, name string) (takenKeys, error) {
	base := name
	if _, cluster := server.(slotServer); cluster && slotOf(name+":") != slotOf(name) {
		base = "{" + name + "}"
		if slotOf(base) != slotOf(name) {
			return takenKeys{}, fmt.Errorf("no key beside %q can be in its slot; write a key without a brace", name)
		}
	}
	return keysNamed(base), nil
}

// keysNamed after a base.
func keysNamed(base string) takenKeys {
	return takenKeys{processing: base + ":processing", dead: base + ":dead-letter", owner: base + ":processing:owner"}
}

// errTakenOver is the error of a run whose queue another one has taken over.
var errTakenOver = errors.New("another run has taken the queue over; nothing of it was finished by this one since, and that one goes on with it")

// takenOver is what the scripts answer then.
const takenOver = "TAKENOVER"

// newToken names a run.
func newToken() string { return rand.Text() }

// answer gives what the server answered to a command of a taking.
func answer[T any](ctx context.Context, s commander, command, key, kind string, use func(ctx context.Context, c redis.Cmdable) (T, error)) (T, error) {
	type reply struct {
		value T
		err   error
	}
	got, err := askServer(ctx, s, func(ctx context.Context, c redis.Cmdable) (reply, uint64, uint64) {
		v, err := use(ctx, c)
		return reply{v, err}, 0, 0
	})
	switch {
	case err != nil:
		return got.value, err
	case redis.HasErrorPrefix(got.err, takenOver):
		return got.value, errTakenOver
	case redis.HasErrorPrefix(got.err, "OOM"):
		return got.value, fmt.Errorf("%s was refused (OOM): the server of the queue has no memory left; give it some, as taking a message needs a little", command)
	case got.err != nil:
		return got.value, queueRefused(command, key, kind, got.err)
	}
	return got.value, nil
}

// do runs a command of which the library has no answer's type that would do.
func do(ctx context.Context, c redis.Cmdable, args ...any) *redis.Cmd {
	p := c.Pipeline()
	cmd := p.Do(ctx, args...)
	_, _ = p.Exec(ctx) // the command has its error
	return cmd
}

// takenFrom gives a list's messages, with their keys.
func takenFrom(keys *message.KeyReader, texts []string) []probes.TakenMessage {
	out := make([]probes.TakenMessage, len(texts))
	for i, text := range texts {
		out[i].Text = []byte(text)
		out[i].Keys, out[i].Poison = keys.Read(out[i].Text)
	}
	return out
}
