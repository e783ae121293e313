package backends_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// writableFleet has a Redis, its replica and a memcached.
func writableFleet(t *testing.T) (f *probes.Fleet, layer []string, r, replica *servers.RedisServer, nodes []probes.Writable) {
	t.Helper()
	r, replica = servers.Redis(t), servers.Redis(t)
	replica.Follow(t, r)
	m := servers.Memcached(t)
	layer = []string{node("a", "redis", r.Addr), node("b", "redis", replica.Addr), node("c", "memcached", m.Addr)}
	f = openAll(t, layer...)
	for _, n := range f.Nodes() {
		nodes = append(nodes, n.(probes.Writable))
	}
	return f, layer, r, replica, nodes
}

func TestWritable(t *testing.T) {
	_, _, r, replica, nodes := writableFleet(t)
	ctx := t.Context()
	if err := nodes[1].Put(ctx, "k", []byte("v"), time.Minute); !errors.Is(err, probes.ErrReplica) {
		t.Errorf("a replica says %v", err)
	}
	values := [][]byte{[]byte("v"), []byte("w"), []byte("v"), []byte("other")}
	keys := []string{"k", "k", "none", "k"}
	for _, i := range []int{0, 2} {
		n := nodes[i]
		if err := n.Put(ctx, "k", []byte("v"), time.Minute); err != nil {
			t.Fatal(err)
		}
		before, err := n.Survey(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := n.Watch(ctx, keys, values)
		if want := []probes.Seen{probes.Served, probes.Changed, probes.Gone, probes.Changed}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%v: %v, want %v (%v)", n.Identity(), got, want, err)
		}
		if err := n.Remove(ctx, []string{"k", "none"}); err != nil {
			t.Error(err)
		}
		if got, err := n.Watch(ctx, keys[:1], values[:1]); err != nil || got[0] != probes.Gone {
			t.Errorf("%v is left (%v)", got, err)
		}
		after, err := n.Survey(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if after.Hits.Value-before.Hits.Value != 3 || float64(after.OwnHits) != after.Hits.Value || float64(after.OwnMisses) != after.Misses.Value {
			t.Errorf("hits %v, our own %d; misses %v, our own %d", after.Hits, after.OwnHits, after.Misses, after.OwnMisses)
		}
	}
	r.Must(t, "rpush", "list", "x")
	if got, err := nodes[0].Watch(ctx, []string{"list"}, values[:1]); err != nil || got[0] != probes.Changed {
		t.Errorf("a list is %v (%v)", got, err)
	}
	replica.Freeze(t)
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if got, err := nodes[1].Watch(short, []string{"k"}, values[:1]); err == nil || got[0] != probes.NotTold {
		t.Errorf("a frozen node tells %v", got)
	}
	replica.Thaw(t)
}

func TestPublishers(t *testing.T) {
	f, layer, r, _, _ := writableFleet(t)
	k := servers.Kafka(t)
	k.Tool(t, servers.KafkaTopics, "--create", "--topic", "inv", "--partitions", "1")
	status, body := http.StatusAccepted, ""
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		data, _ := io.ReadAll(q.Body)
		body = fmt.Sprint(q.Method, " ", q.Header.Get("Content-Type"), " ", q.Header.Get("X-A"), " ", string(data))
		w.WriteHeader(status)
	}))
	t.Cleanup(web.Close)
	publish := func(block string) error {
		t.Helper()
		cfg, err := read(layer, fmt.Sprintf(`invalidation_probes: [{name: p, layers: [l2], key: "p:{id}", publish: {%s, message: "{key}"}}]`, block))
		if err != nil {
			return err
		}
		p, err := cfg.RoundTrips[0].Publish.Open(f, probetest.Env())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return p.Publish(ctx, "key", []byte("message"))
	}
	for _, c := range []string{
		fmt.Sprintf("kafka: {brokers: [%q], topic: inv}", k.Addr),
		"redis: {node: a, list: list}",
		"redis: {node: a, stream: stream}",
		fmt.Sprintf("http: {url: %q, method: PUT, headers: {X-A: b}}", web.URL+"/inv"),
	} {
		if err := publish(c); err != nil {
			t.Errorf("%s: %v", c, err)
		}
	}
	if got := r.LRange(t.Context(), "list", 0, -1).Val(); !slices.Equal(got, []string{"message"}) {
		t.Errorf("the list holds %v", got)
	}
	if got := r.XRange(t.Context(), "stream", "-", "+").Val(); len(got) != 1 || got[0].Values["message"] != "message" {
		t.Errorf("the stream holds %v", got)
	}
	if body != "PUT application/json b message" {
		t.Errorf("the request was %s", body)
	}
	consumer, err := kgo.NewClient(kgo.SeedBrokers(k.Addr), kgo.ConsumeTopics("inv"))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	if got := consumer.PollFetches(t.Context()).Records(); len(got) != 1 || string(got[0].Key) != "key" || string(got[0].Value) != "message" {
		t.Errorf("the topic holds %v", got)
	}

	status = http.StatusServiceUnavailable
	for want, c := range map[string]string{
		"may not be written": fmt.Sprintf("kafka: {brokers: [%q], topic: none}", k.Addr),
		"is of another type": "redis: {node: a, list: stream}",
		"not a stream":       "redis: {node: a, stream: list}",
		"READONLY":           "redis: {node: b, list: list}",
		"status 503":         fmt.Sprintf("http: {url: %q}", web.URL),
		"connection refused": fmt.Sprintf("http: {url: %q}", "http://"+servers.FreeAddr(t)),
	} {
		if err := publish(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := publish("redis: {node: c, list: list}"); err == nil {
		t.Error("a memcached takes messages")
	}
}
