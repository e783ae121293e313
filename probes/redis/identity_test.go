package redis

import (
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// callsOf a command that the server carried out or refused, as INFO commandstats tells them.
func callsOf(t *testing.T, r *servers.RedisServer, command string) string {
	t.Helper()
	for line := range strings.Lines(r.Info(t.Context(), "commandstats").Val()) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":"); ok {
			f := strings.Split(strings.TrimSpace(rest), ",")
			return f[0] + " " + f[len(f)-2] // calls=, rejected_calls=
		}
	}
	return "none"
}

// The absolute expiry is told to the millisecond, of the keys that it is wanted of, beside a TTL that is as right as ever.
func TestExpiryIsTold(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	at := time.Now().Add(time.Hour).UnixMilli() + 7
	r.Must(t, "set", "s", "v", "pxat", at)
	r.Must(t, "set", "forever", "v")
	r.Must(t, "hset", "h", "f", "v")
	r.Must(t, "pexpireat", "h", at+1)
	keys := []probes.Key{
		{Name: "s", Identity: true},
		{Name: "s"},
		{Name: "forever", Identity: true},
		{Name: "no", Identity: true},
		{Name: "h", Hash: true, Identity: true},
		{Name: "s", Identity: true, Check: true},
	}
	want := []int64{at, 0, 0, 0, at + 1, at}
	n := openNode(t, nodeConfig{Address: r.Addr}, probetest.Env())
	if got := probetest.Read(t, n, keys...); got[0].ExpiresMS != 0 || !got[0].HasTTL {
		t.Errorf("before its version is known: %+v", got[0])
	}
	others := probetest.Others(probetest.Survey(t, n))
	for range 2 {
		for i, raw := range probetest.Read(t, n, keys...) {
			timed := i != 2 && i != 3
			if raw.ExpiresMS != want[i] || raw.HasTTL != timed || timed && (raw.TTL < 59*time.Minute || raw.TTL > time.Hour+time.Second) ||
				raw.NoExpiry != (i == 2) || raw.Present != (i != 3) {
				t.Errorf("%+v: %+v, want %d", keys[i], raw, want[i])
			}
		}
	}
	if got := callsOf(t, r, "pexpiretime"); got != "calls=10 rejected_calls=0" {
		t.Errorf("two reads of five keys: %s", got)
	}
	if got := probetest.Others(probetest.Survey(t, n)); got != others {
		t.Errorf("others' hits and misses %v, want %v", got, others)
	}
	probetest.Read(t, n, probes.Key{Name: "s"})
	if got := callsOf(t, r, "pexpiretime"); got != "calls=10 rejected_calls=0" {
		t.Errorf("a key whose expiry is not wanted: %s", got)
	}
}

// A replica tells the same expiry as its primary.
func TestExpiryOnReplica(t *testing.T) {
	servers.NoLeaks(t)
	primary, replica := servers.Redis(t), servers.Redis(t)
	replica.Follow(t, primary)
	primary.Must(t, "set", "s", "v", "ex", 100)
	n := openNode(t, nodeConfig{Address: replica.Addr}, probetest.Env())
	probetest.Survey(t, n)
	key := probes.Key{Name: "s", Identity: true}
	var got probes.Raw
	servers.Eventually(t, "the replica has the key", func() bool { got = probetest.Read(t, n, key)[0]; return got.Present })
	if want := primary.Do(t.Context(), "pexpiretime", "s").Val(); got.ExpiresMS == 0 || got.ExpiresMS != want {
		t.Errorf("%d, and the primary says %v", got.ExpiresMS, want)
	}
}

// A server that refuses PEXPIRETIME costs the copy's expiry alone, and is not asked again over the same connection. One that refuses a
// key is asked for the others.
func TestExpiryRefused(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	r.Must(t, "set", "a", "v", "ex", 100)
	r.Must(t, "set", "b", "v", "ex", 100)
	r.Must(t, "acl", "setuser", "least", "on", ">pw", "~*", "+mget", "+pttl", "+info", "+ping")
	r.Must(t, "acl", "setuser", "narrow", "on", ">pw", "~b", "+@all")
	keys := []probes.Key{{Name: "a", Identity: true}, {Name: "b", Identity: true}}
	as := func(user string) *node {
		n := openNode(t, nodeConfig{Address: r.Addr, Credentials: form.Credentials{Username: user, Password: "pw"}}, probetest.Env())
		probetest.Survey(t, n)
		return n
	}
	n := as("least")
	for range 3 {
		for i, raw := range probetest.Read(t, n, keys...) {
			if !raw.Present || !raw.HasTTL || raw.ExpiresMS != 0 || raw.Err != nil {
				t.Errorf("%d: %+v", i, raw)
			}
		}
		probetest.Survey(t, n)
	}
	if got := callsOf(t, r, "pexpiretime"); got != "calls=0 rejected_calls=2" {
		t.Errorf("one read of two keys, and no more: %s", got)
	}
	n = as("narrow")
	for range 2 {
		if got := probetest.Read(t, n, keys...); got[0].Err == nil || got[1].ExpiresMS == 0 || !got[1].HasTTL {
			t.Errorf("%+v", got)
		}
	}
	// Over a new connection it may be granted.
	n = as("least")
	probetest.Read(t, n, keys...)
	r.Must(t, "acl", "setuser", "least", "+pexpiretime")
	r.Must(t, "client", "kill", "user", "least")
	servers.Eventually(t, "the expiry is told", func() bool {
		_, _ = n.Survey(probetest.Within(t, time.Second), nil) // the connection was closed
		return probetest.Read(t, n, keys...)[1].ExpiresMS != 0
	})
}

// Only servers that know PEXPIRETIME are asked.
func TestVersionsWithExpiry(t *testing.T) {
	for version, want := range map[string]bool{
		"7.0.0": true, "7.4.1": true, "8.1.0": true, "10.0": true, "7": true, "6.2.14": false, "2.8.0": false, "": false, "255.x": true, "x": false, "-7.0": false,
	} {
		if hasExpiry(version) != want {
			t.Errorf("%q: %t", version, !want)
		}
	}
	r := servers.Redis(t)
	r.Must(t, "set", "s", "v", "ex", 100)
	n := openNode(t, nodeConfig{Address: r.Addr}, probetest.Env())
	n.knowsExpiry.Store(false) // as an earlier version leaves it
	if raw := probetest.Read(t, n, probes.Key{Name: "s", Identity: true})[0]; raw.ExpiresMS != 0 || !raw.HasTTL {
		t.Errorf("%+v", raw)
	}
	if got := callsOf(t, r, "pexpiretime"); got != "none" {
		t.Errorf("PEXPIRETIME: %s", got)
	}
}
