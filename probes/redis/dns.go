package redis

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/group"
)

// dnsGroup is the servers behind a DNS name, which need not know each other. Queues may use the primary where there is only
// one.
type dnsGroup struct{ *group.DNS }

func newDNSGroup(id probes.Identity, c nodeConfig, expected int, env *probes.Env) dnsGroup {
	name := *c.DNS
	c.TLS = group.TLSFor(c.TLS, name)
	return dnsGroup{group.NewDNS(id, name, expected, env, env.Log, func(id probes.Identity, at group.Address) (probes.Node, error) {
		c := c
		c.Address = at.HostPort()
		return newNode(id, c, env)
	})}
}

var (
	errNoPrimary = errors.New("none of the servers behind the DNS name answers as a primary")
	errPrimaries = errors.New("several primaries stand behind the DNS name, and nothing says which is meant; name a node that is one server")
)

// Do implements commander, on the only primary.
func (g dnsGroup) Do(ctx context.Context, use func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error)) error {
	primary, err := g.primary(ctx)
	if err != nil {
		return err
	}
	return primary.Do(ctx, use)
}

// primary that is the only one.
func (g dnsGroup) primary(ctx context.Context) (*node, error) {
	primaries, err := g.Pick(ctx, func(s probes.Survey) bool { return s.Role == "primary" })
	switch {
	case err != nil:
		return nil, err
	case len(primaries) == 0:
		return nil, errNoPrimary
	case len(primaries) > 1:
		return nil, errPrimaries
	}
	return primaries[0].(*node), nil //nolint:forcetypeassert // as newDNSGroup opened it
}
