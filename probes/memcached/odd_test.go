package memcached

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// What can't be used of an answer to mg costs its own copy at most.
func TestOddFlagsCostThemselvesAlone(t *testing.T) {
	for said, want := range map[string]probes.Raw{
		"VA 2 t99999999999999999999 c1 O0": {Present: true, TTL: math.MaxInt64, HasTTL: true},
		"VA 2 t1000000000000 c1 O0":        {Present: true, TTL: math.MaxInt64, HasTTL: true},
		"VA 2 tx c1 O0":                    {Present: true},
		"VA 2 t c O0":                      {Present: true},
		"VA 2 t-1 cx O0":                   {Present: true, NoExpiry: true},
		"VA 2 t5 c99999999999999999999 O0": {Present: true, TTL: 5 * time.Second, HasTTL: true},
		"VA 2 t5 fx q! O0":                 {Present: true, TTL: 5 * time.Second, HasTTL: true},
	} {
		n, err := newNode(probes.Identity{}, nodeConfig{Address: "127.0.0.1:1"}, probetest.Env())
		if err != nil {
			t.Fatal(err)
		}
		got := make([]probes.Raw, 2)
		r := &reading{node: n, keys: []probes.Key{{Name: "a"}, {Name: "b"}}, visit: func(i int, raw probes.Raw) {
			if raw.Present && string(raw.Value) != "hi" {
				t.Errorf("%s: value %q", said, raw.Value)
			}
			raw.Value = nil
			got[i] = raw
		}}
		err = wire.NewConn(probetest.NewReplay([]byte(said+"\r\nhi\r\nVA 2 t7 c1 O1\r\nhi\r\n")), errNotMemcached).Converse(context.Background(), r.metaGets([]int{0, 1})...)
		if err != nil || got[0].Present != want.Present || want.HasTTL && got[0].TTL != want.TTL || got[0].HasTTL != want.HasTTL || got[0].NoExpiry != want.NoExpiry ||
			!got[1].Present || got[1].TTL != 7*time.Second {
			t.Errorf("%s: %+v, %v", said, got, err)
		}
	}
}

// A line that is no answer to mg costs its key alone, as long as it is known whose the others are; else none is taken for another's.
func TestOddAnswersCostTheirKeyAlone(t *testing.T) {
	servers.NoLeaks(t)
	for _, c := range []struct {
		said        string // to the key odd; O stands for its opaque
		last, fails bool
	}{
		{said: "HD O\r\n"},
		{said: "NF O\r\n"},
		{said: "OK\r\n"},
		{said: "\r\n"},
		{said: strings.Repeat("x", 100<<10) + "\r\n"},
		{said: "HD O\r\n", last: true},
		{said: "OK\r\n", last: true},
		{said: "OK\r\nEN\r\n", fails: true}, // one line too many
		{said: "OK\r\nEN\r\n", last: true, fails: true},
		{said: "HD O7\r\n", fails: true},
	} {
		addr := scripted(t, func(line string, out *bufio.Writer) bool {
			f := strings.Fields(line)
			opaque := f[len(f)-1]
			switch {
			case f[0] == "stats":
				_, _ = io.WriteString(out, "STAT get_hits 0\r\nEND\r\n")
			case f[0] == "mn":
				_, _ = io.WriteString(out, "MN\r\n")
			case f[1] == "odd":
				_, _ = io.WriteString(out, strings.Replace(c.said, "O\r", opaque+"\r", 1))
			case strings.HasPrefix(f[1], "no"):
				_, _ = io.WriteString(out, "EN\r\n")
			default:
				_, _ = io.WriteString(out, "VA 1 t7 c9 "+opaque+"\r\nv\r\n")
			}
			return true
		})
		n := openNode(t, nodeConfig{Address: addr}, probetest.Env())
		keys := []probes.Key{{Name: "a"}, {Name: "odd"}, {Name: "no"}, {Name: "b"}, {Name: "no2"}}
		if c.last {
			keys = []probes.Key{{Name: "a"}, {Name: "no"}, {Name: "b"}, {Name: "odd"}, {Name: "no2"}}
		}
		visited := 0
		err := n.Read(probetest.Within(t, 5*time.Second), keys, func(i int, raw probes.Raw) {
			visited++
			switch name := keys[i].Name; {
			case name == "odd" && !errors.Is(raw.Err, errOtherAnswer), name != "odd" && raw.Err != nil, raw.Present != (name == "a" || name == "b"):
				t.Errorf("%.20q, %s: %+v", c.said, name, raw)
			}
		})
		if (err != nil) != c.fails || !c.fails && visited != len(keys) {
			t.Errorf("%.20q: %v, %d visited", c.said, err, visited)
		}
	}
}

// A line of stats that can't be used costs itself alone.
func TestOddStats(t *testing.T) {
	addr := scripted(t, func(line string, out *bufio.Writer) bool {
		switch line {
		case "stats":
			_, _ = io.WriteString(out, "STAT version 1.6.18\r\nSTAT\r\nwhat is this\r\nSTAT curr_items nan\r\nSTAT bytes "+strings.Repeat("9", 400)+"\r\nSTAT evictions x\r\n"+
				"STAT long "+strings.Repeat("x", 100<<10)+"\r\nSTAT get_hits 5\r\nSTAT get_misses 7\r\nEND\r\n")
		case "mn":
			_, _ = io.WriteString(out, "MN\r\n")
		}
		return true
	})
	s := probetest.Survey(t, openNode(t, nodeConfig{Address: addr}, probetest.Env()))
	known := func(v float64) probes.Count { return probes.Count{Value: v, Known: true} }
	if s.Version != "1.6.18" || s.Hits != known(5) || s.Misses != known(7) || s.Items.Known || s.MemoryUsed.Known || s.Evicted.Known {
		t.Errorf("%+v", s)
	}
}

// A version of any length is kept as it is shown, and without the password.
func TestLongVersion(t *testing.T) {
	n := &node{env: probetest.Env(), account: &wire.Account{}, kept: &keptServer{}}
	var reply statsReply
	said := "STAT version " + strings.Repeat("x", 10<<10) + "\r\nSTAT get_hits 5\r\nEND\r\n"
	err := wire.NewConn(probetest.NewReplay([]byte(said)), errNotMemcached).Converse(t.Context(), n.statsRequest(&reply))
	if err != nil || len(reply.Version) != probes.LongestShown || reply.Hits.Value != 5 {
		t.Errorf("a version of %d bytes, %v", len(reply.Version), err)
	}
	secret := strings.Repeat("x", 20)
	conn := wire.NewConn(probetest.NewReplay([]byte(said)), errNotMemcached)
	conn.Secrets = &probes.Secrets{}
	conn.Secrets.Add("", secret)
	err = conn.Converse(t.Context(), n.statsRequest(&reply))
	if err != nil || strings.Contains(reply.Version, secret) {
		t.Errorf("the password is told: %q, %v", reply.Version, err)
	}
}

// What can't be used of stats settings costs the policy at most.
func TestOddSettings(t *testing.T) {
	servers.NoLeaks(t)
	for said, policy := range map[string]string{
		"STAT maxbytes 1\r\nwhat is this\r\n\r\nSTAT\r\nSTAT evictions on\r\nEND\r\n":                              "lru",
		"STAT evictions on\r\nSTAT long " + strings.Repeat("x", 100<<10) + "\r\nSTAT lru_segmented yes\r\nEND\r\n": "segmented-lru",
		"SERVER_ERROR out of memory writing stats\r\n":                                                             "",
		"STAT evictions on\r\nSERVER_ERROR out of memory writing stats\r\n":                                        "",
		"ERROR\r\n": "",
	} {
		addr := scripted(t, func(line string, out *bufio.Writer) bool {
			_, _ = io.WriteString(out, map[string]string{
				"stats":          "STAT version 1.6.18\r\nSTAT uptime 5\r\nSTAT limit_maxbytes 1000\r\nSTAT get_hits 5\r\nEND\r\n",
				"stats settings": said, "mn": "MN\r\n",
			}[line])
			return true
		})
		n := openNode(t, nodeConfig{Address: addr}, probetest.Env())
		probetest.Survey(t, n) // after it is known that it is a memcached
		if s := probetest.Survey(t, n); s.EvictionPolicy != policy || s.Hits.Value != 5 || s.Version != "1.6.18" {
			t.Errorf("%.60q: %+v", said, s)
		}
	}
}

// A proxy that can give no statistics gives keys all the same.
func TestStatsRefused(t *testing.T) {
	servers.NoLeaks(t)
	serves := true
	addr := scripted(t, func(line string, out *bufio.Writer) bool {
		switch word, _, _ := strings.Cut(line, " "); {
		case word == "mn":
			_, _ = io.WriteString(out, "MN\r\n")
		case word == "mg" && serves:
			_, _ = io.WriteString(out, "VA 2 t5 c1 O0\r\nhi\r\n")
		default:
			_, _ = io.WriteString(out, "SERVER_ERROR no servers available\r\n")
		}
		return true
	})
	n := openNode(t, nodeConfig{Address: addr}, probetest.Env())
	for range 2 {
		s := probetest.Survey(t, n)
		got := probetest.Read(t, n, probes.Key{Name: "a"})[0]
		if !s.Unasked || !errors.Is(s.Refused, probes.ErrRefused) || got.Present != serves || (got.Err == nil) != serves || n.Answered() != serves {
			t.Errorf("serves %v: %+v, %+v, up %v", serves, s, got, n.Answered())
		}
		serves = false
	}
}

// What a server says before it hangs up is told, with a login and without; twice it is asked, and twice it is the same.
func TestLastWords(t *testing.T) {
	servers.NoLeaks(t)
	for _, said := range []string{"ERROR Too many open connections\r\n", "SERVER_ERROR out of connections\r\n"} {
		for _, password := range []form.Secret{"", "secret"} {
			for _, atOnce := range []bool{true, false} {
				addr := servers.Listen(t, func(c net.Conn) {
					defer c.Close()
					if !atOnce {
						_, _ = bufio.NewReader(c).ReadByte()
					}
					_, _ = io.WriteString(c, said)
				})
				c := nodeConfig{Address: addr}
				if password != "" {
					c.Credentials = form.Credentials{Username: "exporter", Password: password}
				}
				n := openNode(t, c, probetest.Env())
				for range 2 {
					_, err := n.Survey(probetest.Within(t, 5*time.Second), nil)
					if err == nil || !errors.Is(err, probes.ErrRefused) || !strings.Contains(err.Error(), strings.TrimSpace(said)) || strings.Contains(err.Error(), "secret") {
						t.Errorf("%.30q, %q, %v: %v", said, password, atOnce, err)
					}
				}
			}
		}
	}
}
