package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

func TestGroupsAreRead(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "valid", "groups.yml"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("groups.yml", data)
	if err != nil {
		t.Fatal(err)
	}
	type group struct {
		DNS      *form.DNSName
		Servers  []PoolServer
		Hashing  string
		MinNodes int
	}
	got := map[string]group{}
	for _, l := range c.Layers {
		for _, n := range l.Nodes {
			g := group{MinNodes: n.MinNodes}
			switch {
			case n.Redis != nil:
				g.DNS = n.Redis.DNS
			case n.Memcached != nil:
				g.DNS, g.Servers, g.Hashing = n.Memcached.DNS, n.Memcached.Servers, n.Memcached.Hashing
			default:
				g.DNS = n.HTTP.DNS
			}
			got[n.Name] = g
		}
	}
	want := map[string]group{
		"app":         {DNS: &form.DNSName{Host: "app-headless", Port: "8080"}, MinNodes: 3},
		"app-by-port": {DNS: &form.DNSName{Host: "_app._tcp.example.org", SRV: true}},
		"other-app":   {DNS: &form.DNSName{Host: "other", Port: "8080"}},
		"headless":    {DNS: &form.DNSName{Host: "redis-headless", Port: "6379"}, MinNodes: 2},
		"by-srv":      {DNS: &form.DNSName{Host: "_redis._tcp.example.org", SRV: true}},
		"pair":        {MinNodes: 2},
		"pool":        {Servers: []PoolServer{{"a:11211", 1}, {"b:11211", 2}, {"[::1]:11211", 1}}, Hashing: HashingKetama, MinNodes: 3},
		"twice":       {Servers: []PoolServer{{"c:11211", 1}, {"d:11211", 1}, {"c:11211", 1}}, Hashing: HashingGomemcache},
		"some":        {Servers: []PoolServer{{"e:11211", 1}, {"f:11211", 1}}, Hashing: HashingAny},
		"router":      {DNS: &form.DNSName{Host: "mc-headless", Port: "11211"}, Hashing: HashingAny},
		"router-too":  {DNS: &form.DNSName{Host: "mc-other", Port: "11211"}, Hashing: HashingAny},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	app, http := c.Versions[0], c.Layers[0].Nodes[0].HTTP
	if app.DNS == nil || app.URL.String() != "http://{host}:{port}/cache/version" || len(app.Nodes) > 0 {
		t.Errorf("the application is %+v", app)
	}
	if http.Stats.URL != "http://{host}:9090/stats?of={host}" || http.HealthURL != "https://{host}/health" {
		t.Errorf("the node is %+v", http)
	}
}
