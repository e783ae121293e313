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

// TestCheckComparesNothing: where none of the paths of compare is there, copies are not alike: nothing was compared.
func TestCheckComparesNothing(t *testing.T) {
	var addresses []string
	for i := range 2 {
		r := servers.Redis(t)
		r.Must(t, "set", "product:1", fmt.Sprintf(`{"unit_price":%d,"v":1}`, i), "ex", 3600)
		r.Must(t, "hset", "stock:1", "units", fmt.Sprint(i))
		r.Must(t, "set", "text:1", fmt.Sprintf("no JSON %d", i))
		addresses = append(addresses, r.Addr)
	}
	layers := "layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n" + redisNodes(addresses...) + "canaries:\n"
	for name, c := range map[string]struct{ class, why string }{
		"path":  {`{class: c, keys: ["product:1"], layers: [l2], compare: ["$.price", "$.offers[*].price"]}`, "compare: the content has none of the paths"},
		"field": {`{class: c, keys: ["stock:1"], layers: [l2], type: hash, compare: [count]}`, "compare: the hash has none of the fields"},
		"text":  {`{class: c, keys: ["text:1"], layers: [l2], compare: ["$.price"]}`, "compare: the content is not JSON"},
	} {
		code, r := checkJSON(t, "--config.file", writeFile(t, "cacheinv.yml", layers+"  - "+c.class+"\n"))
		if code != 2 || len(r.Classes) != 1 || r.Classes[0].Compared != 0 || r.Classes[0].Stale != 0 {
			t.Fatalf("%s: code %d: %+v", name, code, r)
		}
		for i, n := range r.Classes[0].Layers[0].Nodes {
			if n.States["error"] != 1 {
				t.Errorf("%s: node %d: %v", name, i, n.States)
			}
		}
		if u := r.Classes[0].Unreadable; len(u) != 2 || u[0].Error != c.why {
			t.Errorf("%s: %+v", name, u)
		}
	}
	// The same classes, once what they compare is there.
	cfg := writeFile(t, "cacheinv.yml", layers+`  - {class: c, keys: ["product:1"], layers: [l2], compare: ["$.price", "$.v"]}`+"\n")
	if code, r := checkJSON(t, "--config.file", cfg); code != 0 || r.Classes[0].Compared != 2 {
		t.Errorf("a path that is there: code %d: %+v", code, r)
	}
}

// TestUnversionedOnRealRedis: a version's path that nobody has is told by the metric, and once on the log.
func TestUnversionedOnRealRedis(t *testing.T) {
	first, second := servers.Redis(t), servers.Redis(t)
	for _, r := range []*servers.RedisServer{first, second} {
		r.Must(t, "set", "user:1", `{"version":1}`)
	}
	e := start(t, "layers:\n  - name: l2\n    ttl: none\n    nodes:\n"+redisNodes(first.Addr, second.Addr)+
		`canaries: [{class: user, keys: ["user:1"], layers: [l2], version: {json: "$.revision"}}]`+"\n")
	for _, step := range []struct {
		set      string
		one, two float64
		warnings int
	}{
		{"", 1, 1, 1},
		{"", 1, 1, 1},
		{`{"version":1,"revision":7}`, 0, 1, 1},
		{`{"version":1}`, 1, 1, 2},
	} {
		if step.set != "" {
			first.Must(t, "set", "user:1", step.set)
		}
		p := e.scrape(10 * time.Second)
		one := p.one("canary_unversioned_copies", "class", "user", "layer", "l2", "node", "redis-1")
		two := p.one("canary_unversioned_copies", "class", "user", "layer", "l2", "node", "redis-2")
		if one != step.one || two != step.two {
			t.Errorf("%q: %v and %v", step.set, one, two)
		}
		if n := strings.Count(e.log.String(), "no copy gives a version"); n != step.warnings {
			t.Errorf("%q: %d warnings, not %d", step.set, n, step.warnings)
		}
	}
}
