package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

const (
	// kafkaIdle is how long a connection is kept unused: less than what load balancers and brokers allow.
	kafkaIdle = 3 * time.Minute
	// kafkaSoftware names this client to brokers, which allow no underscore there.
	kafkaSoftware, kafkaSoftwareVersion = "cacheinv-exporter", "1"
	// kafkaRetry is the wait before a request is sent once more because the broker had closed the connection.
	kafkaRetry = 20 * time.Millisecond
)

// peer is one address of a cluster. Each has a client of its own: the library sends all requests to a broker over
// one connection, one after the other, so that the connection to one that hangs must end without the others'.
type peer struct {
	client *kgo.Client

	// answered and hung are of the sampling under way: any answer came; the last request has not been answered.
	answered, hung atomic.Bool

	mu sync.Mutex
	// versions are the highest that the broker takes, by request; nil until asked.
	versions map[int16]int16
}

// dialer opens the connections of all peers of a queue.
type dialer struct {
	options []kgo.Opt
}

func newDialer(c queueConfig) (*dialer, error) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.OffsetFetch), 9) // the next ones name topics by their ids
	versions.SetMaxKeyVersion(int16(kmsg.Fetch), 12)
	d := &dialer{options: []kgo.Opt{
		kgo.ClientID("cacheinv_exporter"), kgo.SoftwareNameAndVersion(kafkaSoftware, kafkaSoftwareVersion), kgo.MaxVersions(versions),
		kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
			return dial(ctx, c.TLS, network, address)
		}),
		kgo.RequestRetries(1), kgo.RetryBackoffFn(func(int) time.Duration { return kafkaRetry }), kgo.ConnIdleTimeout(kafkaIdle),
		// It is for requests alone: nothing of its own accord.
		kgo.DisableClientMetrics(), kgo.MaxDecompressBatchBytes(kafkaUnpacked), kgo.MetadataMaxAge(time.Hour),
	}}
	if c.SASL != nil {
		mechanism, err := mechanism(*c.SASL)
		if err != nil {
			return nil, err
		}
		d.options = append(d.options, kgo.SASL(discreet{mechanism}))
	}
	return d, nil
}

func dial(ctx context.Context, c *form.TLS, network, address string) (net.Conn, error) {
	settings, err := c.Build()
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	if settings == nil {
		return d.DialContext(ctx, network, address)
	}
	td := tls.Dialer{NetDialer: &d, Config: settings} // an empty server name is the address's host
	return td.DialContext(ctx, network, address)
}

// open a peer; nothing is connected yet.
func (d *dialer) open(address string) (*peer, error) {
	client, err := kgo.NewClient(append(slices.Clip(d.options), kgo.SeedBrokers(address))...)
	if err != nil {
		return nil, err
	}
	return &peer{client: client}, nil
}

// Request implements kmsg.Requestor. It returns when ctx ends, whatever the broker does.
func (p *peer) Request(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	resp, err := p.client.SeedBrokers()[0].RetriableRequest(ctx, req)
	switch {
	case err == nil:
		p.answered.Store(true)
		p.hung.Store(false) // answers come in the order of the requests
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		p.hung.Store(true)
		return nil, errHung
	default:
		return nil, connectionFault(err)
	}
	return resp, nil
}

// maxVersion of a request that the broker takes; -1: it doesn't know it. Brokers are asked once per client.
func (p *peer) maxVersion(ctx context.Context, key kmsg.Key) (int16, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.versions == nil {
		got, err := p.ping(ctx)
		if err != nil {
			return -1, err
		}
		p.versions = map[int16]int16{}
		for _, k := range got.ApiKeys {
			p.versions[k.ApiKey] = k.MaxVersion
		}
	}
	if v, ok := p.versions[int16(key)]; ok {
		return v, nil
	}
	return -1, nil
}

// ping is the request that every broker answers.
func (p *peer) ping(ctx context.Context) (*kmsg.ApiVersionsResponse, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = kafkaSoftware, kafkaSoftwareVersion
	got, err := req.RequestWith(ctx, p)
	if err != nil {
		return nil, err
	}
	return got, kerr.ErrorForCode(got.ErrorCode)
}

// peers are the open clients of one queue, by address.
type peers struct {
	dialer *dialer
	mu     sync.Mutex
	by     map[string]*peer
}

func (k *peers) at(address string) (*peer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.by[address]; p != nil {
		return p, nil
	}
	p, err := k.dialer.open(address)
	if err != nil {
		return nil, err
	}
	k.by[address] = p
	return p, nil
}

// begin a sampling: nobody has answered in it yet.
func (k *peers) begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.by {
		p.answered.Store(false)
		p.hung.Store(false)
	}
}

// answered reports whether the peer at an address answered anything in this sampling.
func (k *peers) answered(address string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.by[address]
	return p != nil && p.answered.Load()
}

// keep closes the clients of other addresses, and of those that did not answer: a request that still waits there must
// not hold up the next sampling.
func (k *peers) keep(addresses map[string]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for address, p := range k.by {
		if !addresses[address] || p.hung.Load() {
			p.client.Close()
			delete(k.by, address)
		}
	}
}
