package redis

import (
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

func TestSlotsAreRedissOwn(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.RedisCluster(t, 1, 0).Shards[0][0]
	for _, key := range []string{"", "a", "user:1000", "{user}:1", "a{b}c{d}", "{}x", "a{}b{c}", "{", "}", "a{b", "{{x}}", "\x00\xff", strings.Repeat("k", 300)} {
		want, err := r.Do(t.Context(), "cluster", "keyslot", key).Int()
		if err != nil || slotOf(key) != want {
			t.Errorf("%q: %d, want %d, %v", key, slotOf(key), want, err)
		}
	}
}

func FuzzClusterNodes(f *testing.F) {
	f.Add("07c3 127.0.0.1:30004@31004,host slave e7d1 0 1426238317239 4 connected\n" +
		"e7d1 127.0.0.1:30001@31001 myself,master - 0 0 1 connected 0-5460 7000 [93->-292f] [77-<-e7d1]\n")
	f.Add("a :0@0 master,noaddr - 0 0 1 disconnected\nb ::1:7000@1 myself,master - 0 0 1 connected 16383")
	f.Add("a :1 myself,master - 0 0 1 connected 5-3 99999 [x-] -")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := parseClusterNodes(text)
		if (v == nil) == (err == nil) {
			t.Fatal(v, err)
		}
		if v == nil {
			return
		}
		v.fingerprint()
		for slot, owner := range v.owners {
			if owner != "" && v.shard(owner) == "" && v.nodes[owner].primary {
				t.Errorf("slot %d: %q", slot, owner)
			}
		}
	})
}
