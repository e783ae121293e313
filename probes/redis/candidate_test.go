package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// wantGroup compares what is known of the only group.
func wantGroup(t *testing.T, what string, f *probes.Fleet, nodes, unreached int) {
	t.Helper()
	if g := f.Groups()[0]; len(g.Nodes) != nodes || g.Unreached != unreached {
		t.Errorf("%s: nodes %v, %d unreached, want %d and %d; %v", what, g.Nodes, g.Unreached, nodes, unreached, g.Err)
	}
}

// A replica that Sentinels know and that is down since before we began is no node; one that we know is one for a while.
func TestSentinelsDeadReplicas(t *testing.T) {
	servers.NoLeaks(t)
	p, a, b := servers.Redis(t), servers.Redis(t), servers.Redis(t)
	a.Follow(t, p)
	b.Follow(t, p)
	s := servers.Sentinels(t, 3, "mymaster", p)
	source := &nodeConfig{Sentinel: &sentinelConfig{Master: "mymaster", Addresses: []string{s[0].Addr, s[1].Addr, s[2].Addr}, Credentials: form.Credentials{}}}
	node := probetest.Node("main", 0, source)
	known := openFleet(t, 500*time.Millisecond, node)
	all := []string{"main/" + p.Addr, "main/" + a.Addr, "main/" + b.Addr}
	probetest.WantNames(t, probetest.SurveyFleet(t, known, 5*time.Second), all...)
	wantGroup(t, "all answer", known, 3, 0)

	b.Stop()
	servers.Eventually(t, "the Sentinels call it down", func() bool {
		for _, x := range s {
			if !strings.Contains(fmt.Sprint(x.Do(t.Context(), "sentinel", "replicas", "mymaster").Val()), "s_down") {
				return false
			}
		}
		return true
	})
	fresh := openFleet(t, time.Minute, node)
	for range 3 {
		got := probetest.SurveyFleet(t, fresh, 5*time.Second)
		probetest.WantNames(t, got, all[:2]...)
		if got[all[0]].Err != nil || got[all[1]].Err != nil || !got[all[1]].Replication.LinkUp {
			t.Errorf("the others: %+v", got)
		}
		wantGroup(t, "it was down before", fresh, 2, 1)
	}
	servers.Eventually(t, "it is marked, and then forgotten", func() bool {
		got := probetest.SurveyFleet(t, known, 5*time.Second)
		if k, there := got[all[2]]; there && k.Err == nil {
			t.Errorf("a dead replica answered: %+v", k)
		}
		_, there := got[all[2]]
		return !there && known.Groups()[0].Unreached == 1
	})
	wantGroup(t, "forgotten", known, 2, 1)

	// It comes back, and is a node again.
	again := servers.RedisAt(t, b.Addr)
	again.Follow(t, p)
	for _, f := range []*probes.Fleet{known, fresh} {
		got := probetest.SurveyFleet(t, f, 5*time.Second)
		probetest.WantNames(t, got, all...)
		if got[all[2]].Err != nil {
			t.Errorf("it is back: %+v", got[all[2]])
		}
		wantGroup(t, "it is back", f, 3, 0)
	}
}

// scriptedRedis answers INFO as written; {port} is its own.
type scriptedRedis struct {
	mu   sync.Mutex
	info string
	addr string
}

func newScriptedRedis(t *testing.T, info string) *scriptedRedis {
	s := &scriptedRedis{info: info}
	s.addr = servers.RedisSaying(t, func(command []string) string {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch command[0] {
		case "INFO":
			return servers.BulkText(strings.ReplaceAll(s.info, "\n", "\r\n"))
		case "HELLO":
			return "-ERR unknown command 'HELLO'\r\n"
		}
		return ""
	})
	return s
}

func (s *scriptedRedis) say(info string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = info
}

// Addresses that nobody can reach from here are no nodes: Docker's own, channels of Valkey's full synchronisation, hosts that
// are none.
func TestAnnouncedAddressesThatDoNotAnswer(t *testing.T) {
	servers.NoLeaks(t)
	free := func() (host, port string) {
		at := strings.Split(servers.FreeAddr(t), ":")
		return at[0], at[1]
	}
	inner, innerPort := free()
	channel, channelPort := free()
	primary := newScriptedRedis(t, fmt.Sprintf("run_id:p\nrole:master\nmaster_replid:x\nmaster_repl_offset:100\n"+
		"slave0:ip=%s,port=%s,state=online,offset=100,lag=0,type=replica\n"+
		"slave1:ip=%s,port=%s,state=send_bulk,offset=0,lag=0,type=rdb-channel\n"+
		"slave2:ip=,port=6379,state=online,offset=1,lag=0\nslave3:ip=?,port=6379,state=online,offset=1\nslave4:nonsense\nslave5:\n"+
		"slave6:ip=%s,port=0,state=rdb_transmitted,offset=0,lag=0,type=replica\n", inner, innerPort, channel, channelPort, inner))
	replica := newScriptedRedis(t, "run_id:r\nrole:slave\nmaster_host:"+inner+"\nmaster_port:1\nmaster_link_status:up\nslave_repl_offset:100\nmaster_replid:x\n")
	f := openFleet(t, time.Minute, pair(primary.addr, replica.addr))
	for range 3 {
		began := time.Now()
		got := probetest.SurveyFleet(t, f, 5*time.Second)
		probetest.WantNames(t, got, "pair/"+primary.addr, "pair/"+replica.addr)
		for name, a := range got {
			if a.Err != nil || a.Left {
				t.Errorf("%s: %+v", name, a)
			}
		}
		wantGroup(t, "inner addresses", f, 2, 3) // the replica, the channel, and the primary's own
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("candidates held it up for %v", took)
		}
	}
	// What is no longer announced is no longer counted.
	primary.say("run_id:p\nrole:master\nmaster_replid:x\nmaster_repl_offset:100\n")
	probetest.SurveyFleet(t, f, 5*time.Second)
	wantGroup(t, "fewer are announced", f, 2, 1)
}

// Where nothing that was announced answers, the group says so.
func TestGroupOfCandidatesAlone(t *testing.T) {
	servers.NoLeaks(t)
	dead := strings.Split(servers.FreeAddr(t), ":")
	sentinel := servers.RedisSaying(t, func(command []string) string {
		if command[0] != "SENTINEL" {
			return ""
		}
		if command[1] == "GET-MASTER-ADDR-BY-NAME" {
			return servers.BulkTexts(dead...)
		}
		return "*3\r\n" + servers.BulkTexts("ip", "?", "port", "6379") + servers.BulkTexts("ip") + "$5\r\nweird\r\n"
	})
	f := openFleet(t, time.Minute, probetest.Node("main", 0, &nodeConfig{Sentinel: &sentinelConfig{Master: "mymaster", Addresses: []string{sentinel}}}))
	for range 2 {
		probetest.WantNames(t, probetest.SurveyFleet(t, f, 5*time.Second))
		wantGroup(t, "the primary is dead", f, 0, 1)
		if g := f.Groups()[0]; g.Err == nil || !strings.Contains(g.Err.Error(), strings.Join(dead, ":")) {
			t.Errorf("%v", g.Err)
		}
	}
}

// A server without run_id under two addresses is one node, also while its offset moves; a second one is another.
func TestServersWithoutRunID(t *testing.T) {
	servers.NoLeaks(t)
	const info = "dragonfly_version:df-v1.21.2\nrole:master\nmaster_replid:%s\nmaster_repl_offset:%d\nuptime_in_seconds:100\n"
	for _, c := range []struct {
		what          string
		first, second []string // what the two say in each survey
		nodes         []int
	}{
		{"one that is idle", []string{fmt.Sprintf(info, "x", 5)}, []string{fmt.Sprintf(info, "x", 5)}, []int{1, 1}},
		{
			"one that is written to",
			[]string{fmt.Sprintf(info, "x", 5), fmt.Sprintf(info, "x", 9)},
			[]string{fmt.Sprintf(info, "x", 7), fmt.Sprintf(info, "x", 9)},
			[]int{2, 1},
		},
		{
			"one that is written to all the time",
			[]string{fmt.Sprintf(info, "x", 5), fmt.Sprintf(info, "x", 8)},
			[]string{fmt.Sprintf(info, "x", 7), fmt.Sprintf(info, "x", 10)},
			[]int{2, 1},
		},
		{"two primaries", []string{fmt.Sprintf(info, "x", 5)}, []string{fmt.Sprintf(info, "y", 5)}, []int{2, 2}},
		{
			"a copy of the other that goes its own way",
			[]string{fmt.Sprintf(info, "x", 5), fmt.Sprintf(info, "x", 6)},
			[]string{fmt.Sprintf(info, "x", 500), fmt.Sprintf(info, "x", 501)},
			[]int{2, 2},
		},
		{
			"another process",
			[]string{fmt.Sprintf(info, "x", 5)},
			[]string{strings.Replace(fmt.Sprintf(info, "x", 5), "uptime_in_seconds:100", "uptime_in_seconds:9000", 1)},
			[]int{2, 2},
		},
		{
			"two replicas of one primary",
			[]string{"role:slave\nmaster_replid:x\nslave_repl_offset:5\nmaster_link_status:up\n"},
			[]string{"role:slave\nmaster_replid:x\nslave_repl_offset:5\nmaster_link_status:up\n"},
			[]int{2, 2},
		},
	} {
		a, b := newScriptedRedis(t, c.first[0]), newScriptedRedis(t, c.second[0])
		f := openFleet(t, time.Minute, pair(a.addr, b.addr))
		for i, want := range c.nodes {
			a.say(c.first[min(i, len(c.first)-1)])
			b.say(c.second[min(i, len(c.second)-1)])
			got := probetest.SurveyFleet(t, f, 5*time.Second)
			if len(got) != want || got["pair/"+a.addr].Err != nil {
				t.Errorf("%s, survey %d: %v, want %d nodes", c.what, i+1, got.Names(), want)
			}
		}
	}
}

// KeyDB's active replicas follow each other, and take writes; a broken link of several is told.
func TestActiveReplicas(t *testing.T) {
	servers.NoLeaks(t)
	a, b, c := newScriptedRedis(t, ""), newScriptedRedis(t, ""), newScriptedRedis(t, "")
	info := func(run string, first, second *scriptedRedis, link string) string {
		host := func(s *scriptedRedis) string { return strings.Split(s.addr, ":")[0] }
		port := func(s *scriptedRedis) string { return strings.Split(s.addr, ":")[1] }
		return fmt.Sprintf("redis_version:6.3.4\nrun_id:%s\nrole:active-replica\nmaster_global_link_status:%s\nconnected_masters:2\n"+
			"master_host:%s\nmaster_port:%s\nmaster_link_status:up\nmaster_1_host:%s\nmaster_1_port:%s\nmaster_1_link_status:%s\n"+
			"slave_repl_offset:7\nslave_read_only:0\nconnected_slaves:0\nmaster_replid:%s\nmaster_repl_offset:9\n",
			run, link, host(first), port(first), host(second), port(second), link, run)
	}
	a.say(info("a", b, c, "up"))
	b.say(info("b", a, c, "down"))
	c.say(info("c", a, b, "up"))
	f := openFleet(t, time.Minute, pair(a.addr))
	for range 2 {
		got := probetest.SurveyFleet(t, f, 5*time.Second)
		probetest.WantNames(t, got, "pair/"+a.addr, "pair/"+b.addr, "pair/"+c.addr)
		for _, s := range []*scriptedRedis{a, b, c} {
			k := got["pair/"+s.addr]
			if k.Err != nil || k.Role != "replica" || !k.Active || k.Follows() || k.Replication.LinkUp != (s != b) {
				t.Errorf("%s: %+v %+v", s.addr, k, k.Replication)
			}
		}
		wantGroup(t, "active replicas", f, 3, 0)
	}
	server, err := serverOf(f, "pair", "any")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Do(probetest.Within(t, 5*time.Second), func(ctx context.Context, c redis.Cmdable) (uint64, uint64, error) {
		return 0, 0, c.Set(ctx, "written", "on one that takes writes", 0).Err()
	}); err != nil {
		t.Error(err)
	}
}

// A replica that lets us not in has answered: it is a node that is down.
func TestReplicaThatRefusesTheLogin(t *testing.T) {
	servers.NoLeaks(t)
	refusing := servers.RedisSaying(t, func(command []string) string {
		if command[0] == "AUTH" {
			return "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
		}
		return "-NOAUTH Authentication required.\r\n"
	})
	host, port, _ := strings.Cut(refusing, ":")
	primary := newScriptedRedis(t, "run_id:p\nrole:master\nmaster_replid:x\nslave0:ip="+host+",port="+port+",state=online,offset=1,lag=0\n")
	f := openFleet(t, time.Minute, probetest.Node("pair", 0, &nodeConfig{Replication: []string{primary.addr}, Credentials: form.Credentials{Password: "old"}}))
	for range 2 {
		got := probetest.SurveyFleet(t, f, 5*time.Second)
		probetest.WantNames(t, got, "pair/"+primary.addr, "pair/"+refusing)
		if got["pair/"+refusing].Err == nil || got["pair/"+primary.addr].Err != nil {
			t.Errorf("%+v", got)
		}
		wantGroup(t, "one refuses", f, 2, 0)
	}
}

// An announced address at which another kind of server answers is no node; a seed is one that is reached.
func TestReplicaThatIsNoRedis(t *testing.T) {
	servers.NoLeaks(t)
	other := servers.Memcached(t).Addr
	host, port, _ := strings.Cut(other, ":")
	primary := newScriptedRedis(t, "run_id:p\nrole:master\nmaster_replid:x\nslave0:ip="+host+",port="+port+",state=online,offset=1,lag=0\n")
	f := openFleet(t, time.Minute, pair(primary.addr), probetest.Node("single", 0, &nodeConfig{Address: other}))
	for range 2 {
		got := probetest.SurveyFleet(t, f, 5*time.Second)
		probetest.WantNames(t, got, "pair/"+primary.addr, "single")
		if err := got["single"].Err; !errors.Is(err, probes.ErrRefused) || !strings.Contains(err.Error(), "is not RESP; is its address that of a Redis") {
			t.Error(err)
		}
		wantGroup(t, "another kind of server", f, 1, 1)
	}
}
