package group

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// dnsEvery is how often a name is asked for at most, and dnsLongest how long an answer may take.
	dnsEvery   = 30 * time.Second
	dnsLongest = 20 * time.Second
	// dnsGrace is how long whoever began a lookup waits for it where there is an answer already, and dnsFirst where there
	// is none.
	dnsGrace = 100 * time.Millisecond
	dnsFirst = 2 * time.Second
)

var errNotAsked = errors.New("it has not been answered yet")

// Address is one server behind a name. Host is an IP address or, from an SRV record, a name.
type Address struct{ Host, Port string }

// HostPort gives host:port, an IPv6 address in brackets.
func (a Address) HostPort() string { return net.JoinHostPort(a.Host, a.Port) }

func compareAddresses(a, b Address) int { return cmp.Compare(a.HostPort(), b.HostPort()) }

// Resolver asks DNS for the servers behind one name. A lookup goes on in the background: one that hangs delays nobody
// for longer than its grace, and one that fails leaves the last answer as it was.
type Resolver struct {
	name     form.DNSName
	forget   time.Duration // Env.ForgetAfter
	resolver *net.Resolver
	log      *slog.Logger
	lifetime context.Context // until Close
	cancel   context.CancelFunc
	lookups  sync.WaitGroup

	mu         sync.Mutex
	running    bool
	nextLookup time.Time // no lookup begins before
	known      []Address // by address; nil before the first answer
	learned    time.Time // when known was
	err        error     // of the last lookup
}

// NewResolver gives a resolver that has looked nothing up yet. Close ends it.
func NewResolver(name form.DNSName, env *probes.Env, log *slog.Logger) *Resolver {
	r := &Resolver{name: name, forget: env.ForgetAfter, resolver: abandonable(env.Resolver), log: log, err: errNotAsked}
	r.lifetime, r.cancel = context.WithCancel(context.Background())
	return r
}

// abandonable gives a resolver like r, whose lookups leave nothing behind once they are given up: the library's own share
// their answers, and read on until a timeout of theirs.
func abandonable(r *net.Resolver) *net.Resolver {
	if r == nil {
		r = net.DefaultResolver
	}
	dial := r.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &net.Resolver{PreferGo: r.PreferGo, StrictErrors: r.StrictErrors, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() }) // where the lookup ended, it is closed already
		}
		return conn, err
	}}
}

// ServerName is the name in the certificates of the servers behind a DNS name; an SRV record gives each a name of its own.
func ServerName(name *form.DNSName) string {
	if name == nil || name.SRV {
		return ""
	}
	return name.Host
}

// TLSFor gives TLS settings with the name that servers behind a DNS name are asked to prove.
func TLSFor(t *form.TLS, name form.DNSName) *form.TLS {
	if t == nil || t.ServerName != "" {
		return t
	}
	named := *t
	named.ServerName = ServerName(&name)
	return &named
}

// Close ends a lookup that is under way, and waits for it.
func (r *Resolver) Close() {
	r.cancel()
	r.lookups.Wait()
}

// Addresses gives the last answer, after a lookup where one is due. The error says that there is none, or that it is too
// old to be relied on; the addresses are given all the same.
func (r *Resolver) Addresses(ctx context.Context) ([]Address, error) {
	if done, grace := r.begin(); done != nil {
		if until, ok := ctx.Deadline(); ok {
			grace = min(grace, time.Until(until)/4)
		}
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-done:
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return r.answer()
}

func (r *Resolver) answer() ([]Address, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.known == nil:
		return nil, fmt.Errorf("the DNS name %s: %w; check the name and the resolver", r.name.Host, r.err)
	case r.err != nil && time.Since(r.learned) > max(r.forget, dnsEvery):
		return r.known, fmt.Errorf("the DNS name %s: no answer since %s: %w; check the name and the resolver",
			r.name.Host, r.learned.UTC().Format(time.RFC3339), r.err)
	}
	return r.known, nil
}

// begin a lookup where one is due; done is nil where none is.
func (r *Resolver) begin() (done <-chan struct{}, grace time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.running || now.Before(r.nextLookup) || r.lifetime.Err() != nil {
		return nil, 0
	}
	r.running, r.nextLookup = true, now.Add(dnsEvery)
	ended := make(chan struct{})
	r.lookups.Go(func() {
		defer close(ended)
		r.run()
	})
	if r.known == nil {
		return ended, dnsFirst
	}
	return ended, dnsGrace
}

func (r *Resolver) run() {
	ctx, cancel := context.WithTimeout(r.lifetime, dnsLongest)
	defer cancel()
	var found []Address
	err := probes.Guarded(func() (err error) {
		found, err = r.lookup(ctx)
		return err
	})
	if err == nil && len(found) == 0 {
		err = errors.New("it has no address")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = false
	if r.lifetime.Err() != nil {
		return
	}
	switch {
	case err != nil && r.known != nil && r.err == nil:
		r.log.Warn("a DNS name got no answer; its last one still counts", "name", r.name.Host, "err", err)
	case err == nil && r.known != nil && r.err != nil:
		r.log.Info("a DNS name is answered again", "name", r.name.Host)
	}
	if r.err = err; err == nil {
		r.known, r.learned = found, time.Now()
	}
}

func (r *Resolver) lookup(ctx context.Context) ([]Address, error) {
	var out []Address
	if r.name.SRV {
		_, records, err := r.resolver.LookupSRV(ctx, "", "", r.name.Host)
		if err != nil && len(records) == 0 {
			return nil, brieflyDNS(err)
		}
		for _, s := range records {
			host := strings.ToLower(strings.TrimSuffix(s.Target, "."))
			if PlainHost(host) && s.Port != 0 { // a lone . says that there is no such service
				out = append(out, Address{host, strconv.Itoa(int(s.Port))})
			}
		}
	} else {
		addresses, err := r.resolver.LookupNetIP(ctx, "ip", r.name.Host)
		if err != nil {
			return nil, brieflyDNS(err)
		}
		for _, a := range addresses {
			out = append(out, Address{PlainAddress(a), r.name.Port})
		}
	}
	slices.SortFunc(out, compareAddresses)
	return slices.Compact(out), nil
}

// PlainAddress writes an address without the prefix of one of IPv4 in IPv6.
func PlainAddress(a netip.Addr) string { return a.Unmap().String() }

// PlainHost reports whether a host has nothing but small letters, digits, hyphens, underscores and dots: it goes into
// addresses and URLs, where anything else could mean another server.
func PlainHost(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// brieflyDNS leaves out what changes from one lookup to the next (ports of our own), so that an error is logged once.
func brieflyDNS(err error) error {
	var said *net.DNSError
	switch {
	case !errors.As(err, &said):
		return err
	case said.IsNotFound:
		return errors.New("no such host")
	case said.IsTimeout:
		return errors.New("the resolver does not answer")
	}
	return errors.New("the resolver can't be asked, or failed")
}

// Again has the next call of Addresses look the name up, as if the time for it had come. It is for tests alone.
func (r *Resolver) Again() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nextLookup = time.Time{}
}

// Idle reports whether no lookup is under way. It is for tests alone.
func (r *Resolver) Idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.running
}
