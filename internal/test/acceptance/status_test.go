package acceptance

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/browser"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// keyed is what /api/v1/status promises of the keys of a class.
type keyed struct {
	Class         string `json:"class"`
	KeysRead      int    `json:"keys_read"`
	KeysDiffering int    `json:"keys_differing"`
	Keys          []struct {
		Key       string  `json:"key"`
		Reference *string `json:"reference"`
		Differs   bool    `json:"differs"`
		Copies    []struct {
			Layer        string   `json:"layer"`
			Node         string   `json:"node"`
			State        string   `json:"state"`
			Version      *string  `json:"version"`
			Digest       *string  `json:"digest"`
			TTLSeconds   *float64 `json:"ttl_seconds"`
			NoExpiry     *bool    `json:"no_expiry"`
			AgeSeconds   *float64 `json:"age_seconds"`
			SeenSeconds  *float64 `json:"seen_seconds"`
			StaleSeconds *float64 `json:"stale_seconds"`
			Overdue      *bool    `json:"overdue"`
		} `json:"copies"`
	} `json:"keys"`
}

func statusKeys(t *testing.T, p *program, query string) []keyed {
	t.Helper()
	var got struct{ Canaries []keyed }
	if err := json.Unmarshal([]byte(p.get("/api/v1/status"+query)), &got); err != nil {
		t.Fatal(err)
	}
	return got.Canaries
}

// TestStatusOfLargeEstate: 1,000 keys by 12 real nodes, key by key as the metrics count them, with what each copy says, and in
// Chromium without a word on the console. The time to the first paint, sampling included, is told and not asserted: the
// machine is shared.
func TestStatusOfLargeEstate(t *testing.T) {
	t.Parallel()
	const keys, wrong, gone = 1000, 50, 20
	const made = 1_700_000_000
	var nodes strings.Builder
	values := func(old int) map[string]string {
		v := map[string]string{}
		for i := range keys {
			version := 7
			if i < old {
				version = 6
			}
			v[fmt.Sprintf("user:%d", i)] = fmt.Sprintf(`{"version":%d,"made":%d,"name":"%s"}`, version, made, valueMarker)
		}
		return v
	}
	for i := range 6 {
		r, m := servers.Redis(t), servers.Memcached(t)
		fmt.Fprintf(&nodes, "      - {name: redis-%d, redis: {address: \"redis://%s\"}}\n      - {name: mc-%d, memcached: {address: %q}}\n", i, r.Addr, i, m.Addr)
		old := 0
		if i == 3 {
			old = wrong
		}
		pipe := r.Pipeline()
		for key, value := range values(old) {
			pipe.Set(t.Context(), key, value, 0)
			if i == 0 {
				pipe.Expire(t.Context(), key, 1800_000_000_000)
			}
		}
		if i == 5 {
			for k := range gone {
				pipe.Del(t.Context(), fmt.Sprintf("user:%d", 900+k))
			}
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		setMemcached(t, m.Addr, values(0))
	}
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprintf("%q", fmt.Sprintf("user:%d", i))
	}
	cfg := "layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n" + nodes.String() +
		"canaries:\n  - {class: user, keys: [" + strings.Join(names, ", ") + "], layers: [l2], version: {json: \"$.version\"}, cached_at: {json: \"$.made\", kind: timestamp}}\n"
	p := run(t, "--config.file", writeFile(t, "cacheinv.yml", cfg))
	p.scrape()

	class := statusKeys(t, p, "")[0]
	if class.KeysRead != keys || class.KeysDiffering != wrong || len(class.Keys) != keys {
		t.Fatalf("%d keys read, %d differ, %d told", class.KeysRead, class.KeysDiffering, len(class.Keys))
	}
	for i, k := range class.Keys {
		if k.Differs != (i < wrong) || k.Reference == nil || *k.Reference != "version" || len(k.Copies) != 12 {
			t.Fatalf("key %d is %+v", i, k)
		}
		for _, c := range k.Copies {
			switch {
			case c.Node == "redis-3" && k.Differs:
				if c.State != "stale" || c.Version == nil || *c.Version != "6" || c.StaleSeconds == nil || c.Overdue == nil || *c.Digest == *k.Copies[0].Digest {
					t.Fatalf("%s: %+v", k.Key, c)
				}
			case c.State == "missing":
				if c.Node != "redis-5" || c.Version != nil || c.Digest != nil || c.TTLSeconds != nil || c.NoExpiry != nil || c.Overdue != nil || c.AgeSeconds != nil {
					t.Fatalf("%s: %+v", k.Key, c)
				}
				continue
			case c.State != "fresh" || *c.Version != "7" || c.StaleSeconds != nil || *c.Digest != *k.Copies[0].Digest:
				t.Fatalf("%s: %+v", k.Key, c)
			}
			limited := c.Node == "redis-0" || strings.HasPrefix(c.Node, "mc-")
			if *c.NoExpiry == limited || (c.TTLSeconds != nil) != limited || c.AgeSeconds == nil || *c.AgeSeconds < 1e6 || c.SeenSeconds == nil {
				t.Fatalf("%s: %+v", k.Key, c)
			}
		}
	}
	if some := statusKeys(t, p, "?class=user&state=missing&sort=key"); len(some[0].Keys) != gone || some[0].Keys[0].Key != "user:900" {
		t.Errorf("%d keys have a missing copy", len(some[0].Keys))
	}
	if none := statusKeys(t, p, "?class=other"); len(none) != 0 {
		t.Errorf("of a class that there is not: %+v", none)
	}
	if status, text, err := fetch(p.url + "/api/v1/status?state=old"); status != 400 || err != nil || !strings.Contains(text, "write differs or one of stale") {
		t.Errorf("status %d, %v: %s", status, err, text)
	}

	b := browser.Start(t)
	for range 3 {
		page := b.Open(p.url+"/status", browser.Look{Width: 1400, Height: 900})
		t.Logf("first paint after %s", page.FirstPaint())
		var first []string
		page.Eval(`[...document.querySelectorAll("#classes .matrix tbody tr")].map(r => r.cells[0].textContent + " " + r.cells[1].textContent)`, &first)
		if len(first) != keys || slices.ContainsFunc(first[:wrong], func(s string) bool { return !strings.HasSuffix(s, "stale on redis-3 (by version)") }) {
			t.Errorf("%d keys, the first are %q", len(first), first[:min(wrong, len(first))])
		}
		for _, c := range page.Complaints() {
			t.Errorf("on the console: %s", c)
		}
	}
	if all := p.get("/status") + p.get("/api/v1/status"); strings.Contains(all, valueMarker) || strings.Contains(all, fmt.Sprint(made)) {
		t.Error("a value is told")
	}
}
