package memcached

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// A server that speaks the binary protocol alone is reached, and says so.
func TestBinaryAlone(t *testing.T) {
	servers.NoLeaks(t)
	m := servers.Memcached(t, "-B", "binary")
	n := openNode(t, nodeConfig{Address: m.Addr}, probetest.Env())
	for range 2 {
		_, err := n.Survey(probetest.Within(t, 5*time.Second), nil)
		if err == nil || !errors.Is(err, probes.ErrRefused) || !strings.Contains(err.Error(), "binary protocol alone") || !strings.Contains(err.Error(), "-B auto") {
			t.Errorf("%v", err)
		}
	}
	if err := n.Read(probetest.Within(t, 5*time.Second), []probes.Key{{Name: "a"}}, func(int, probes.Raw) {}); err == nil || !strings.Contains(err.Error(), "binary") {
		t.Errorf("%v", err)
	}
	short := openNode(t, nodeConfig{Address: m.Addr}, probetest.Env())
	if _, err := short.Survey(probetest.Within(t, 900*time.Millisecond), nil); !errors.Is(err, errBinary) {
		t.Errorf("in less than a second: %v", err)
	}
	other := openNode(t, nodeConfig{Address: servers.Memcached(t).Addr}, probetest.Env())
	probetest.Survey(t, other)
}
