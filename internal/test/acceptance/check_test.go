package acceptance

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// report is what machines read of check's JSON.
type report struct {
	Classes []struct {
		Class                 string
		Keys, Compared, Stale int
		Share, Low, High      *float64
		Layers                []struct {
			Layer string
			Nodes []struct {
				Node   string
				States map[string]int
			}
		}
		Differing []struct {
			Key, Reference string
			Copies         []struct {
				Layer, Node, State string
				Digest, Version    *string
				TTL                *float64 `json:"ttl_seconds"`
			}
		}
		Unreadable []struct{ Node, Error, Key string }
	}
}

// checkJSON runs check and reads its report.
func checkJSON(t *testing.T, args ...string) (int, report) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, append([]string{"check", "-o", "json"}, args...)...)
	out, err := cmd.Output()
	var r report
	if failed := json.Unmarshal(out, &r); failed != nil {
		t.Fatalf("%v: %v\n%s", err, failed, out)
	}
	return cmd.ProcessState.ExitCode(), r
}

// TestCheck: the report over an estate in a fixed state, with a node that can't be reached.
func TestCheck(t *testing.T) {
	path := writeFile(t, "cacheinv.yml", estate(t))
	code, r := checkJSON(t, "--config.file", path)
	if code != 1 || len(r.Classes) != 1 {
		t.Fatalf("code %d: %+v", code, r)
	}
	c := r.Classes[0]
	if c.Keys != 3 || c.Compared != 5 || c.Stale != 1 || c.Share == nil || *c.Share != 0.2 || *c.Low <= 0 || *c.High >= 1 {
		t.Errorf("%+v", c)
	}
	if len(c.Differing) != 1 || c.Differing[0].Key != "user:1:profile" || c.Differing[0].Reference != "version" || len(c.Differing[0].Copies) != 4 {
		t.Fatalf("differing: %+v", c.Differing)
	}
	for _, k := range c.Differing[0].Copies {
		switch {
		case k.Node == "redis-2" && (k.State != "stale" || *k.Version != "6" || *k.TTL <= 0):
			t.Errorf("%+v", k)
		case k.Node == "gone" && (k.State != "error" || k.Digest != nil || k.TTL != nil):
			t.Errorf("unknown is null: %+v", k)
		case (k.Node == "redis-1" || k.Node == "memcached-1") && k.State != "fresh":
			t.Errorf("%+v", k)
		}
	}
	if len(c.Unreadable) != 1 || c.Unreadable[0].Node != "gone" || !strings.Contains(c.Unreadable[0].Error, "connection refused") {
		t.Errorf("why it could not be read: %+v", c.Unreadable)
	}
}

// TestCheckPattern: the keys of a pattern are found, each is read once, and one that differs among them is told.
func TestCheckPattern(t *testing.T) {
	const keys = 5000
	var started []*servers.RedisServer
	var addresses []string
	for i := range 3 {
		r := servers.Redis(t)
		pipe := r.Pipeline()
		for k := range keys {
			value := "same"
			if k == 1234 && i == 2 {
				value = "other"
			}
			pipe.Set(t.Context(), fmt.Sprintf("cart:%d", k), value, time.Hour)
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		started, addresses = append(started, r), append(addresses, r.Addr)
	}
	path := writeFile(t, "cacheinv.yml", "layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n"+redisNodes(addresses...)+
		"canaries:\n  - {class: user, keys: [\"user:1\"], layers: [l2]}\n")
	code, r := checkJSON(t, "--config.file", path, "--pattern", "cart:*", "--limit", "10000")
	if code != 1 || len(r.Classes) != 1 || r.Classes[0].Keys != keys || r.Classes[0].Stale != 1 {
		t.Fatalf("code %d: %+v", code, r)
	}
	if d := r.Classes[0].Differing; len(d) != 1 || d[0].Key != "cart:1234" || d[0].Reference != "majority" {
		t.Errorf("differing: %+v", d)
	}
	for _, s := range started {
		stats := s.Info(t.Context(), "commandstats").Val()
		if n := calls(t, stats, "pttl"); n != keys+1 { // the one that differs, twice
			t.Errorf("%d keys were asked for their TTL, want %d", n, keys+1)
		}
	}
	if code, _ := checkJSON(t, "--config.file", path); code != 2 { // nothing is there to be compared
		t.Errorf("nothing compared gave code %d", code)
	}
}
