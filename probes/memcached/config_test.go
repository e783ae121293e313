package memcached

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/configfiles"
)

func TestNodesAreRead(t *testing.T) {
	dir := configfiles.Fixtures(t)
	const list = `
- {address: "cache-3:11211"}
- {address: "[2001:db8::1]:11211", username: exporter, password_file: redis.password, tls: {}}
- {address: "cache-1:11211", username: u, password: x}
- {servers: ["a:11211", "b:11211 2", "[::1]:11211"], hashing: ketama}
- {servers: ["c:11211", "d:11211", "c:11211"], hashing: gomemcache}
- {servers: ["e:11211", "f:11211"], hashing: any}
- {dns: "mc-headless:11211"}
- {dns: "mc-other:11211", hashing: any}
`
	got := configfiles.Blocks(t, dir, list, func(v form.Value) *nodeConfig { return readNode(v, func(form.Value, string) {}) })
	want := []*nodeConfig{
		{Address: "cache-3:11211"},
		{
			Address: "[2001:db8::1]:11211", TLS: &form.TLS{},
			Credentials: form.Credentials{Username: "exporter", PasswordFile: filepath.Join(dir, "redis.password")},
		},
		{Address: "cache-1:11211", Credentials: form.Credentials{Username: "u", Password: "x"}},
		{Servers: []poolServer{{"a:11211", 1}, {"b:11211", 2}, {"[::1]:11211", 1}}, Hashing: hashingKetama},
		{Servers: []poolServer{{"c:11211", 1}, {"d:11211", 1}, {"c:11211", 1}}, Hashing: hashingGomemcache},
		{Servers: []poolServer{{"e:11211", 1}, {"f:11211", 1}}, Hashing: hashingAny},
		{DNS: &form.DNSName{Host: "mc-headless", Port: "11211"}, Hashing: hashingAny},
		{DNS: &form.DNSName{Host: "mc-other", Port: "11211"}, Hashing: hashingAny},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}
