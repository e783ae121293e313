package redis

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// A connection that is refused at its login or at SELECT tells nothing of a queue: no depth of 0.
func TestRefusedConnectionIsNoEmptyQueue(t *testing.T) {
	servers.NoLeaks(t)
	file := probetest.WriteFile(t, "password", "first\n")
	for name, c := range map[string]struct {
		args  []string
		node  nodeConfig
		spoil func(t *testing.T, r *servers.RedisServer)
		want  string
	}{
		"the password was rotated": {
			args: []string{"--requirepass", "first"},
			node: nodeConfig{Credentials: form.Credentials{PasswordFile: file}},
			spoil: func(t *testing.T, r *servers.RedisServer) {
				r.Must(t, "config", "set", "requirepass", "second")
			},
			want: "AUTH was refused (WRONGPASS); check username and password_file",
		},
		"the database is refused": {
			node: nodeConfig{Credentials: form.Credentials{Username: "u", Password: "pw"}},
			spoil: func(t *testing.T, r *servers.RedisServer) {
				r.Must(t, "acl", "setuser", "u", "-select")
			},
			want: "SELECT was refused (NOPERM)",
		},
		"too many clients": {
			node: nodeConfig{Credentials: form.Credentials{Username: "u", Password: "pw"}},
			spoil: func(t *testing.T, r *servers.RedisServer) {
				r.Must(t, "config", "set", "maxclients", "1")
			},
			want: "max number of clients reached",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := servers.Redis(t, c.args...)
			if len(c.args) == 0 {
				r.Must(t, "acl", "setuser", "u", "on", ">pw", "~*", "+@all")
			} else {
				r.Must(t, "auth", "first")
			}
			for range 7 {
				r.Must(t, "rpush", "list", "x")
				r.Must(t, "xadd", "stream", "*", "a", "b")
			}
			c.node.Address = r.Addr
			if strings.Contains(c.want, "SELECT") {
				c.node.Address = "redis://" + r.Addr + "/1"
				r.Must(t, "move", "list", 1)
				r.Must(t, "move", "stream", 1)
			}
			f := openFleet(t, probetest.Env().ForgetAfter, probetest.Node("redis-1", 0, &c.node))
			list, stream := openQueue(t, f, queueConfig{List: "list"}), openQueue(t, f, queueConfig{Stream: "stream"})
			for _, q := range []probes.Queue{list, stream} {
				b, err := probetest.SampleIn(t, q, 5*time.Second)
				if err != nil || !b.Complete {
					t.Fatalf("%+v, %v", b, err)
				}
				probetest.WantDepth(t, b, 7)
			}
			c.spoil(t, r)
			r.Must(t, "client", "kill", "type", "normal")
			for _, q := range []probes.Queue{list, stream} {
				b, err := probetest.SampleIn(t, q, 5*time.Second)
				if b.Complete || b.Depth.Known || b.OldestAge.Known || b.Ends != nil || err == nil || !strings.Contains(err.Error(), c.want) ||
					!errors.Is(err, probes.ErrRefused) || strings.Contains(err.Error(), "pw") || strings.Contains(err.Error(), "first") {
					t.Errorf("%+v, %v", b, err)
				}
			}
		})
	}
}

// refusing gives the address of a server that answers each connection by said and then closes it, once something came, or at once.
func refusing(t *testing.T, said string, atOnce bool) string {
	t.Helper()
	return servers.Listen(t, func(c net.Conn) {
		defer c.Close()
		if !atOnce {
			_, _ = bufio.NewReader(c).ReadByte()
		}
		_, _ = io.WriteString(c, said)
	})
}

// What a server says before it hangs up is told, with a password and without, and repeats no part of one.
func TestLastWords(t *testing.T) {
	servers.NoLeaks(t)
	const secret = "tr0ub4dor&3-long-enough-to-be-cut"
	for _, c := range []struct{ said, want string }{
		{"-ERR max number of clients reached\r\n", "ERR max number of clients reached"},
		{"-DENIED Redis is running in protected mode because protected mode is enabled " + strings.Repeat("and so on ", 80) + "\r\n", "DENIED Redis is running in protected mode"},
		{"-ERR unknown command, with args beginning with: 'tr0ub4dor&3-lo'\r\n", "ERR"},
	} {
		for _, password := range []string{"", secret} {
			for _, atOnce := range []bool{true, false} {
				address := refusing(t, c.said, atOnce)
				config := nodeConfig{Credentials: form.Credentials{Password: form.Secret(password)}}
				f := queueFleet(t, address, config)
				config.Address = address
				_, surveyed := openNode(t, config, probetest.Env()).Survey(probetest.Within(t, 5*time.Second), nil)
				_, sampled := probetest.SampleIn(t, openQueue(t, f, queueConfig{List: "list"}), 5*time.Second)
				for what, err := range map[string]error{"survey": surveyed, "queue": sampled} {
					if err == nil || !errors.Is(err, probes.ErrRefused) || !strings.Contains(err.Error(), c.want) ||
						password != "" && strings.Contains(err.Error(), "tr0ub4") {
						t.Errorf("%s, %.30q, %q, %v: %v", what, c.said, password, atOnce, err)
					}
				}
			}
		}
	}
}

// A user without +info, or with no right at all, and a server that is busy: the keys are read all the same, and the node is up if they can be.
func TestInfoRefused(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	r.Must(t, "set", "a", "v", "ex", 100)
	r.Must(t, "acl", "setuser", "least", "on", ">pw", "~*", "+mget", "+pttl", "+scan", "-info")
	r.Must(t, "acl", "setuser", "pinger", "on", ">pw", "~*", "+ping")
	r.Must(t, "acl", "setuser", "nobody", "on", ">pw")
	for _, c := range []struct {
		user               string
		read, up, upUnread bool
	}{{"least", true, true, false}, {"pinger", false, false, true}, {"nobody", false, false, false}} {
		n := openNode(t, nodeConfig{Address: r.Addr, Credentials: form.Credentials{Username: c.user, Password: "pw"}}, probetest.Env())
		for range 2 {
			s, err := n.Survey(probetest.Within(t, 5*time.Second), nil)
			if err != nil || !s.Unasked || !errors.Is(s.Refused, probes.ErrRefused) || s.Items.Known || s.Hits.Known || s.RunID != "" {
				t.Errorf("%s: %+v, %v", c.user, s, err)
			}
			if n.Answered() != c.upUnread {
				t.Errorf("%s: up without a key read: %v", c.user, n.Answered())
			}
			got := probetest.Read(t, n, probes.Key{Name: "a"}, probes.Key{Name: "no"})
			if got[0].Present != c.read || (got[0].Err == nil) != c.read || got[1].Present || (got[1].Err == nil) != c.read || got[0].HasTTL != c.read {
				t.Errorf("%s: %+v", c.user, got)
			}
			if n.Answered() != c.up {
				t.Errorf("%s: up %v", c.user, n.Answered())
			}
		}
	}
	// Busy with a script that writes nothing, it refuses all but to end that.
	r.Must(t, "config", "set", "busy-reply-threshold", "1")
	n := openNode(t, nodeConfig{Address: r.Addr}, probetest.Env())
	probetest.Survey(t, n)
	other := openNode(t, nodeConfig{Address: r.Addr}, probetest.Env())
	running := make(chan struct{})
	go func() {
		defer close(running)
		_ = other.Do(t.Context(), func(ctx context.Context, c redis.Cmdable) (uint64, uint64, error) {
			return 0, 0, c.Eval(ctx, "while true do end", nil).Err()
		})
	}()
	servers.Eventually(t, "the server is busy", func() bool {
		s, err := n.Survey(probetest.Within(t, 5*time.Second), nil)
		return err != nil && s.Unasked && errors.Is(err, probes.ErrRefused) && strings.Contains(err.Error(), "BUSY")
	})
	if got := probetest.Read(t, n, probes.Key{Name: "a"}); got[0].Err == nil || !strings.Contains(got[0].Err.Error(), "BUSY") || n.Answered() {
		t.Errorf("busy: %+v, up %v", got, n.Answered())
	}
	r.Must(t, "script", "kill")
	<-running
	probetest.Survey(t, n)
	if got := probetest.Read(t, n, probes.Key{Name: "a"}); !got[0].Present {
		t.Errorf("%+v", got)
	}
}

// A node that does not tell its Cluster is up, and that the view is not known is told.
func TestViewRefused(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	r.Must(t, "set", "a", "v")
	f := openFleet(t, probetest.Env().ForgetAfter, probetest.Node("cluster", 0, &nodeConfig{Cluster: []string{r.Addr}}))
	for range 2 {
		got := probetest.SurveyFleet(t, f, 5*time.Second)
		probetest.WantNames(t, got, "cluster/"+r.Addr)
		g := f.Groups()[0]
		if g.Err == nil || !errors.Is(g.Err, probes.ErrRefused) || !strings.Contains(g.Err.Error(), "does not tell its view") || g.Cluster.Answered != 0 ||
			!g.Cluster.Refused {
			t.Errorf("%+v", g)
		}
	}
	locked := servers.RedisCluster(t, 2, 0)
	f = openFleet(t, probetest.Env().ForgetAfter, clusterOf(locked.Addrs()[0]))
	probetest.SurveyFleet(t, f, 5*time.Second)
	for _, c := range []struct {
		locked []*servers.ClusterNode
		want   probes.Cluster
	}{
		{nil, probes.Cluster{Answered: 2, OK: true, Views: 1, Primaries: 1}},
		{locked.Nodes()[:1], probes.Cluster{Answered: 1, OK: true, Views: 1, Primaries: 1}}, // what the other says is known
		{locked.Nodes()[1:], probes.Cluster{Refused: true}},
	} {
		for _, n := range c.locked {
			n.Must(t, "config", "set", "requirepass", "another")
			n.Must(t, "auth", "another")
			n.Must(t, "client", "kill", "type", "normal")
		}
		probetest.SurveyFleet(t, f, 5*time.Second)
		if state := *f.Groups()[0].Cluster; state != c.want {
			t.Errorf("%d refuse the login: %+v, want %+v", len(c.locked), state, c.want)
		}
	}
}
