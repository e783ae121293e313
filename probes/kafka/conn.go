package kafka

import (
	"context"
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
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// idleTimeout is how long a connection is kept unused: less than what load balancers and brokers allow.
	idleTimeout = 3 * time.Minute
	// softwareName and softwareVersion name this client to brokers, which allow no underscore there.
	softwareName, softwareVersion = "cacheinv-exporter", "1"
	// maxAnswerBytes bounds an answer of a broker. Those about all partitions of a large cluster have some megabytes.
	maxAnswerBytes = 32 << 20
	// resendDelay is the wait before a request is sent once more because the broker had closed the connection.
	resendDelay = 20 * time.Millisecond
)

// brokerConn is the connection to one address of a cluster. Each has a client of its own: the library sends all requests to a
// broker over one connection, one after the other, so that the connection to a broker that hangs must be
// ended without the others.
type brokerConn struct {
	client *kgo.Client
	// unpack is the client's own decompressor. Asking the client for an option is a search through all of them.
	unpack kgo.Decompressor

	// answered: any request of the sampling under way was, or was refused. hung: the last request to end was not, within its time.
	answered, hung atomic.Bool

	mu sync.Mutex
	// versions are the highest that the broker takes, by the key of the request; nil until it was asked for them.
	versions map[int16]int16
}

// clientOptions are those of all clients, without the addresses of brokers.
func clientOptions(login *saslConfig, secure *form.TLS) ([]kgo.Opt, error) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.OffsetFetch), 9) // the next ones name topics by their ids
	versions.SetMaxKeyVersion(int16(kmsg.Fetch), 12)
	options := []kgo.Opt{
		kgo.ClientID("cacheinv_exporter"), kgo.SoftwareNameAndVersion(softwareName, softwareVersion), kgo.MaxVersions(versions),
		kgo.Dialer(func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, err := secure.Dial(ctx, address)
			if err != nil {
				return nil, err
			}
			return bounded(conn), nil
		}),
		kgo.BrokerMaxReadBytes(longestAnswer), kgo.FetchMaxBytes(maxFetchBytes), kgo.FetchMaxPartitionBytes(maxFetchBytes),
		kgo.RequestRetries(1), kgo.RetryBackoffFn(func(int) time.Duration { return resendDelay }), kgo.ConnIdleTimeout(idleTimeout),
		// It is for requests alone: nothing of its own accord.
		kgo.DisableClientMetrics(), kgo.MaxDecompressBatchBytes(maxUnpackedBytes), kgo.MetadataMaxAge(time.Hour),
		kgo.BrokerMaxReadBytes(maxAnswerBytes), kgo.FetchMaxBytes(maxFetchBytes),
	}
	if login != nil {
		mechanism, err := newMechanism(*login)
		if err != nil {
			return nil, err
		}
		options = append(options, kgo.SASL(redactedMechanism{mechanism}))
	}
	return options, nil
}

// Request implements kmsg.Requestor. It returns when ctx ends, whatever the broker does.
func (c *brokerConn) Request(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	resp, err := c.client.SeedBrokers()[0].RetriableRequest(ctx, req)
	switch {
	case err == nil:
		c.answered.Store(true)
		c.hung.Store(false) // answers come in the order of the requests
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		c.hung.Store(true)
		return nil, errHung
	default:
		err = connectionFault(err)
		if errors.Is(err, probes.ErrRefused) {
			c.answered.Store(true)
		}
		return nil, err
	}
	return resp, nil
}

// maxVersion of a request that the broker takes; -1: it doesn't know it. Brokers are asked once per client.
func (c *brokerConn) maxVersion(ctx context.Context, key kmsg.Key) (int16, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.versions == nil {
		got, err := c.ping(ctx)
		if err != nil {
			return -1, err
		}
		c.versions = map[int16]int16{}
		for _, k := range got.ApiKeys {
			c.versions[k.ApiKey] = k.MaxVersion
		}
	}
	if v, ok := c.versions[int16(key)]; ok {
		return v, nil
	}
	return -1, nil
}

// ping asks for the versions of requests, which every broker answers.
func (c *brokerConn) ping(ctx context.Context) (*kmsg.ApiVersionsResponse, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = softwareName, softwareVersion
	got, err := req.RequestWith(ctx, c)
	if err != nil {
		return nil, err
	}
	return got, kerr.ErrorForCode(got.ErrorCode)
}

// brokerConns are the open connections of one queue, by address.
type brokerConns struct {
	options []kgo.Opt

	mu sync.Mutex
	by map[string]*brokerConn
}

// at gives the connection to an address; a new one is made by its first request.
func (s *brokerConns) at(address string) (*brokerConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if conn := s.by[address]; conn != nil {
		return conn, nil
	}
	client, err := kgo.NewClient(append(slices.Clip(s.options), kgo.SeedBrokers(address))...)
	if err != nil {
		return nil, err
	}
	conn := &brokerConn{client: client}
	conn.unpack, _ = client.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	s.by[address] = conn
	return conn, nil
}

// begin a sampling: nobody has answered in it yet.
func (s *brokerConns) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.by {
		conn.answered.Store(false)
		conn.hung.Store(false)
	}
}

// answered reports whether the broker at an address answered anything in this sampling.
func (s *brokerConns) answered(address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn := s.by[address]
	return conn != nil && conn.answered.Load()
}

// keep the connections to these addresses, and close all others. One that hangs is closed as well: a request that still waits
// there must not hold up the next sampling.
func (s *brokerConns) keep(addresses map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for address, conn := range s.by {
		if !addresses[address] || conn.hung.Load() {
			conn.client.Close()
			delete(s.by, address)
		}
	}
}
