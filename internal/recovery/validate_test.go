package recovery

import (
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// What does not arrive is found: a replica that got the key and then hears nothing more, and one that never got it.
func TestValidationFindsWhatDoesNotArrive(t *testing.T) {
	s := newSite(t, "")
	r := &run{opt: Options{Apply: true, Env: testEnv()}, config: s.config(), report: newReport(Options{Apply: true})}
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	r.nodes = r.survey(t.Context())
	keys, faults := r.ownKeys()
	if len(keys) != 2 || len(faults) > 0 {
		t.Fatalf("%d keys, faults %v", len(keys), faults)
	}
	k := keys[0]
	s.replica.Must(t, "replicaof", "no", "one") // it is a replica for who looked before
	k.longest = 200 * time.Millisecond
	k.roundTrip(t.Context())
	for _, h := range k.nodes {
		name := h.Identity().Name
		if alone := name == "redis-2"; alone != (h.err != nil) || alone && !strings.Contains(h.err.Error(), "did not arrive") {
			t.Errorf("%s: %v", name, h.err)
		}
	}
	s.replica.Must(t, "set", k.name, string(k.value))
	other := alone(k, "redis-2")
	other.roundTrip(t.Context())
	for _, h := range other.nodes {
		if h.err == nil || !strings.Contains(h.err.Error(), "still there") {
			t.Errorf("a copy that outlived its delete: %v", h.err)
		}
	}
	if n := left(t, s.primary, "cacheinv:recover:*"); n > 0 {
		t.Errorf("%d keys are left", n)
	}
}

// alone gives a key that a node alone is asked for, as a replica to which nothing comes.
func alone(k *ownKey, name string) *ownKey {
	out := &ownKey{name: k.name, layer: k.layer, value: k.value, longest: k.longest}
	for _, h := range k.nodes {
		if h.Identity().Name == name {
			out.nodes = append(out.nodes, &holder{Writable: h.Writable, seen: h.seen})
		}
	}
	return out
}

// A node that is down is named, and the others are seen to all the same.
func TestValidationNamesNodesThatAreDown(t *testing.T) {
	s := newSite(t, "")
	s.replica.Stop()
	s.other.Stop()
	s.other = servers.RedisAt(t, s.other.Addr)
	r := s.recover(t.Context(), Options{Apply: true})
	if r.ExitCode != ExitFailed || statuses(r)[stepValidate] != Failed || !says(r, "l2: redis-2 does not answer") || !says(r, "l2: a delete arrives on 2 nodes") {
		t.Errorf("exit code %d, steps %v", r.ExitCode, statuses(r))
	}
}
