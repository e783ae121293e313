package redis

import (
	"slices"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

func surveyOf(info string) probes.Survey {
	var s probes.Survey
	parseInfo(strings.ReplaceAll(info, "\n", "\r\n"), &s)
	return s
}

// What servers say of their part in replication, and what is left of it where a line is odd.
func TestInfoReplication(t *testing.T) {
	const online = "slave0:ip=10.0.0.2,port=6379,state=online,offset=7,lag=0\n"
	one := []probes.Replica{{Address: "10.0.0.2:6379", Online: true, Offset: 7, HasOffset: true}}
	for name, c := range map[string]struct {
		info      string
		role      string
		active    bool
		linkUp    bool
		primaries []probes.PrimaryLink
		replicas  []probes.Replica
		offset    int64 // 0: unknown
	}{
		"a primary":       {"role:master\nmaster_repl_offset:9\n" + online, "primary", false, false, nil, one, 9},
		"a replica":       {"role:slave\nmaster_host:a\nmaster_port:6379\nmaster_link_status:up\nmaster_repl_offset:9\nslave_repl_offset:8\n", "replica", false, true, []probes.PrimaryLink{{Address: "a:6379", LinkUp: true}}, nil, 8},
		"an old replica":  {"role:replica\nmaster_host:a\nmaster_port:6379\nmaster_link_status:down\n", "replica", false, false, []probes.PrimaryLink{{Address: "a:6379"}}, nil, 0},
		"KeyDB, active":   {"role:active-replica\nmaster_global_link_status:up\nmaster_host:a\nmaster_port:6379\nmaster_link_status:up\nslave_repl_offset:8\n" + online, "replica", true, true, []probes.PrimaryLink{{Address: "a:6379", LinkUp: true}}, one, 8},
		"several, one is": {"role:active-replica\nmaster_global_link_status:down\nmaster_host:a\nmaster_port:6379\nmaster_link_status:up\nmaster_1_host:b\nmaster_1_port:6380\nmaster_1_link_status:down\n", "replica", true, false, []probes.PrimaryLink{{Address: "a:6379", LinkUp: true}, {Address: "b:6380"}}, nil, 0},
		"several, up":     {"role:slave\nmaster_1_host:b\nmaster_1_port:6380\nmaster_1_link_status:up\nmaster_host:a\nmaster_port:6379\nmaster_link_status:up\n", "replica", false, true, []probes.PrimaryLink{{Address: "a:6379", LinkUp: true}, {Address: "b:6380", LinkUp: true}}, nil, 0},
		"a global word":   {"role:active-replica\nmaster_global_link_status:down\nmaster_host:a\nmaster_port:6379\nmaster_link_status:up\n", "replica", true, false, []probes.PrimaryLink{{Address: "a:6379", LinkUp: true}}, nil, 0},
		"none of its own": {"role:slave\nmaster_host:?\nmaster_port:6379\nmaster_link_status:up\n", "replica", false, true, nil, nil, 0},
		"numbers":         {"role:slave\nmaster_99999_host:b\nmaster_x_host:c\nmaster_host:a\nmaster_port:x\nmaster_link_status:up\nslave_repl_offset:-1\nmaster_repl_offset:x\n", "replica", false, true, nil, nil, 0},
		"an odd offset":   {"role:slave\nmaster_host:a\nmaster_port:6379\nmaster_link_status:up\nmaster_repl_offset:9\nslave_repl_offset:-1\n", "replica", false, true, []probes.PrimaryLink{{Address: "a:6379", LinkUp: true}}, nil, 0},
		"beyond 64 bits":  {"role:master\nmaster_repl_offset:99999999999999999999\n" + online, "primary", false, false, nil, one, 0},
		"another role":    {"role:sentinel\nmaster_host:a\n", "", false, false, nil, nil, 0},
		"nothing":         {"", "", false, false, nil, nil, 0},
		"odd replicas": {
			"role:master\nslave:ip=10.0.0.9,port=1\nslavex:ip=10.0.0.9,port=1\nslave1:\nslave2:ip=10.0.0.9\nslave3:ip=10.0.0.9,port=70000\nslave4:port=1\nslave5:ip=0.0.0.0,port=1\nslave_expires:ip=10.0.0.9,port=1\n" + online,
			"primary", false, false, nil, one, 0,
		},
		"no online offset": {"role:master\nslave0:ip=10.0.0.2,port=6379,state=online,offset=99999999999999999999,lag=x\n", "primary", false, false, nil, []probes.Replica{{Address: "10.0.0.2:6379", Online: true}}, 0},
		"two channels":     {"role:master\nslave1:ip=10.0.0.2,port=6379,state=send_bulk,offset=0,lag=0,type=rdb-channel\n" + online, "primary", false, false, nil, one, 0},
		"two channels, the stream first": {
			"role:master\n" + online + "slave1:ip=10.0.0.2,port=6379,state=wait_bgsave,offset=0,lag=0,type=rdb-channel\n", "primary", false, false, nil, one, 0,
		},
		"other names": {"role:primary\nreplica0:ip=10.0.0.2,port=6379,state=online,offset=7,lag=0\n", "primary", false, false, nil, one, 0},
	} {
		s := surveyOf("redis_version:7\n" + c.info + "run_id:r\nkeyspace_hits:5\n")
		if s.Version != "7" || s.RunID != "r" || s.Hits.Value != 5 {
			t.Errorf("%s: the rest is lost: %+v", name, s)
		}
		if s.Role != c.role || s.Active != c.active {
			t.Errorf("%s: role %q, active %v", name, s.Role, s.Active)
		}
		if c.role == "" {
			if s.Replication != nil {
				t.Errorf("%s: %+v", name, s.Replication)
			}
			continue
		}
		r := s.Replication
		if r.LinkUp != c.linkUp || r.HasOffset != (c.offset > 0) || r.Offset != c.offset || !slices.Equal(r.Primaries, c.primaries) || !slices.Equal(r.Replicas, c.replicas) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// The items are those of all databases, or unknown.
func TestInfoItems(t *testing.T) {
	for info, want := range map[string]probes.Count{
		"# Keyspace\n": {Known: true},
		"# Keyspace\ndb0:keys=3,expires=0\ndb15:keys=4,expires=0\n": {Value: 7, Known: true},
		"# Keyspace\ndb0:keys=-5,expires=0\ndb1:keys=7,expires=0\n": {},
		"# Keyspace\ndb0:keys=abc,expires=0\ndb1:keys=7\n":          {},
		"# Keyspace\ndb0:keys=99999999999999999999999\n":            {},
		"# Keyspace\ndb0:\ndb1:keys=7\n":                            {},
		"# Keyspace\ndb0:keys=7\ndbx:keys=x\ndb:keys=x\n":           {Value: 7, Known: true},
		"db0:keys=7\n": {},
	} {
		if s := surveyOf("role:master\n" + info + "run_id:r\n"); s.Items != want || s.RunID != "r" {
			t.Errorf("%q: %+v", info, s.Items)
		}
	}
}

// Texts of any length are kept as they are shown.
func TestInfoLongTexts(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	s := surveyOf("role:master\nredis_version:" + long + "\nrun_id:" + long + "r\nmaxmemory_policy:" + long + "p\nmaster_replid:" + long + "i\nmaster_replid2:" + long + "j\n")
	texts := []string{s.Version, s.RunID, s.EvictionPolicy, s.Replication.ReplID, s.Replication.ReplID2}
	for _, text := range texts {
		if text == "" || len(text) > probes.LongestShown {
			t.Errorf("%d bytes", len(text))
		}
	}
	slices.Sort(texts)
	if got := slices.Compact(slices.Clone(texts)); len(got) != len(texts) {
		t.Errorf("other texts are one: %q", texts)
	}
	if s := surveyOf("valkey_version:" + long + "\n"); len(s.Version) != probes.LongestShown {
		t.Errorf("%d bytes", len(s.Version))
	}
}

// FuzzInfo puts anything between lines that are in order: those are read.
func FuzzInfo(f *testing.F) {
	f.Add("slave1:ip=,port=\nslave2:ip=a,port=1,offset=-\nmaster_1_host\nmaster__host:x\nmaster_-1_port:1")
	f.Add("role:\nrun_id:\ndb0:keys=\ndb:keys=x,y\n:::\n")
	f.Add("master_65535_link_status:up\nmaster_0_host:b")
	f.Fuzz(func(t *testing.T, text string) {
		for line := range strings.Lines(text) {
			name, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
			switch name {
			case "role", "run_id", "keyspace_hits", "master_replid":
				return // it says otherwise
			}
		}
		s := surveyOf("run_id:r\nrole:master\n" + text + "\nmaster_replid:x\nkeyspace_hits:5\nslave7:ip=10.0.0.7,port=7,state=online,offset=7\n")
		if s.RunID != "r" || s.Role != "primary" || s.Hits.Value != 5 || s.Replication.ReplID != "x" ||
			!slices.ContainsFunc(s.Replication.Replicas, func(r probes.Replica) bool { return r.Address == "10.0.0.7:7" }) {
			t.Errorf("%+v %+v", s, s.Replication)
		}
	})
}
