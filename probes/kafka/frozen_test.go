package kafka

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// TestFrozen stops a broker's process, lets it go on, and restarts it.
func TestFrozen(t *testing.T) {
	servers.NoLeaks(t)
	k := servers.Kafka(t)
	brokers := []string{k.Addr}
	func() { // without idle connections of its own
		u := newUser(t, brokers)
		defer u.Close()
		u.create(t, "inv", 2)
		u.produce(t, "inv", 0, 10)
		u.commit(t, "g", "inv", map[int32]int64{0: 4})
	}()
	open := &openConns{}
	q := openQueue(t, configOf(brokers, []string{"inv"}, []string{"g"}), open.dialer())
	probetest.WantDepth(t, sampleWell(t, q), 6)
	k.Freeze(t)
	for range 3 {
		b, err := probetest.SampleIn(t, q, 300*time.Millisecond)
		if err == nil || !strings.Contains(err.Error(), "no answer in time") || b.Complete || b.Depth.Known {
			t.Errorf("a frozen broker: complete %v, depth %+v, error %v", b.Complete, b.Depth, err)
		}
		if b.BrokersUp != 0 || b.BrokersDown != 1 {
			t.Errorf("brokers %d up, %d down", b.BrokersUp, b.BrokersDown)
		}
	}
	servers.Eventually(t, "no connection is left to a broker that does not answer", func() bool { return open.count() == 0 })
	k.Thaw(t)
	servers.Eventually(t, "the broker answers", func() bool { b, _ := probetest.SampleIn(t, q, 2*time.Second); return b.BrokersUp == 1 })
	probetest.WantDepth(t, sampleWell(t, q), 6)

	k.Stop()
	b, err := probetest.SampleIn(t, q, 2*time.Second)
	if err == nil || b.BrokersUp != 0 || b.BrokersDown != 1 {
		t.Errorf("a stopped broker: %d up, %d down, error %v", b.BrokersUp, b.BrokersDown, err)
	}
	k.Restart(t)
	servers.Eventually(t, "all is learned after the restart", func() bool { _, err := probetest.SampleIn(t, q, 5*time.Second); return err == nil })
	b = sampleWell(t, q)
	probetest.WantDepth(t, b, 6)
	if b.BrokersUp != 1 || b.BrokersDown != 0 {
		t.Errorf("after the restart: %d up, %d down", b.BrokersUp, b.BrokersDown)
	}
	k.Freeze(t)
	began := time.Now()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = q.Sample(context.Background())
	}()
	servers.Eventually(t, "a sampling is under way", func() bool {
		idle := q.mu.TryLock()
		if idle {
			q.mu.Unlock()
		}
		return !idle
	})
	q.Close()
	<-ended
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("Close with a frozen broker took %v", took)
	}
	servers.Eventually(t, "no connection is left after Close", func() bool { return open.count() == 0 })
}

// openConns counts connections that are open.
type openConns struct {
	mu   sync.Mutex
	open map[net.Conn]bool
}

type countedConn struct {
	net.Conn
	of *openConns
}

func (c *countedConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

func (o *openConns) dialer() kgo.Opt {
	return kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		counted := &countedConn{c, o}
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.open == nil {
			o.open = map[net.Conn]bool{}
		}
		o.open[counted] = true
		return counted, nil
	})
}

func (o *openConns) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.open)
}
