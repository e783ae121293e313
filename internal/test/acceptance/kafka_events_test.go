package acceptance

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

// TestEventsOnKafka: what the exporter's binary tells of the invalidations in a real Kafka and of their copies on three Redis servers.
func TestEventsOnKafka(t *testing.T) {
	k := servers.Kafka(t)
	nodes := []*servers.RedisServer{servers.Redis(t), servers.Redis(t), servers.Redis(t)}
	for name, test := range map[string]func(*eventStand){
		"a processor that stands still":         testStoppedProcessor,
		"a fill that comes late":                testDelayedFill,
		"a node that hears nothing":             testDeafNode,
		"a rebalance, a rewind, a log cut off":  testGroupsAndLogs,
		"a topic that is made anew":             testTopicMadeAnew,
		"messages that are lost":                testLostMessages,
		"messages of several keys, and of none": testOddMessages,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(newEventStand(t, k, nodes))
		})
	}
}

// eventStand is a topic, a group that processes it, and keys on three nodes that the subtest has to itself.
type eventStand struct {
	*testing.T
	broker *servers.KafkaServer
	client *kgo.Client
	admin  *kadm.Client
	nodes  []*servers.RedisServer
	// topic is the group's name and the beginning of all keys, too.
	topic string
	p     *program
}

func newEventStand(t *testing.T, k *servers.KafkaServer, nodes []*servers.RedisServer) *eventStand {
	t.Helper()
	s := &eventStand{T: t, broker: k, nodes: nodes, topic: fmt.Sprintf("t%d", time.Now().UnixNano()), admin: kafkaAdmin(t, k.Addr)}
	s.connect()
	s.create()
	return s
}

// connect a producer; one that was connected before a topic was made anew looks for the old one.
func (s *eventStand) connect() {
	s.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.broker.Addr), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(client.Close)
	s.client = client
}

// create the topic, of two partitions.
func (s *eventStand) create() {
	s.Helper()
	servers.Eventually(s, "the topic is made", func() bool {
		r, err := s.admin.CreateTopic(s.Context(), 2, 1, nil, s.topic)
		return err == nil && r.Err == nil
	})
}

// start the exporter over these classes, lines of YAML that name the keys by %s. Nobody but the test scrapes it.
func (s *eventStand) start(message, classes string) {
	s.Helper()
	var addresses []string
	for _, n := range s.nodes {
		addresses = append(addresses, n.Addr)
	}
	s.p = run(s, "--scrape.min-interval", "0s", "--config.file", writeFile(s, "cacheinv.yml",
		"layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n"+redisNodes(addresses...)+
			fmt.Sprintf("queues:\n  - {name: inv, kafka: {brokers: [%q], topics: [%s], groups: [%[2]s]}, message: {%s}}\n", s.broker.Addr, s.topic, message)+
			"canaries:\n"+strings.ReplaceAll(classes, "%s", s.topic)))
	s.p.scrape()
}

const (
	keyAndVersion = `key: "$.key", version: "$.version"`
	userClass     = `  - {class: user, layers: [l2], match: "^%s:", version: {json: "$.version"}, events: {queue: inv, within: 2s, windows: [1s, 2s]}}` + "\n"
)

// key number i of the subtest.
func (s *eventStand) key(i int) string { return fmt.Sprintf("%s:%d", s.topic, i) }

// set a key on a node.
func (s *eventStand) set(node int, key, value string) {
	s.Helper()
	expires := time.Now().Add(time.Hour).Truncate(time.Second).UnixMilli() + 7 // one on a whole second may be a date that each store sets
	s.nodes[node].Must(s, "set", key, value, "pxat", expires)
}

// fill keys from..to with their first version on all nodes.
func (s *eventStand) fill(from, to int) {
	s.Helper()
	for i := from; i < to; i++ {
		for n := range s.nodes {
			s.set(n, s.key(i), `{"version":1}`)
		}
	}
}

// publish a message each for keys from..to, that there is a second version.
func (s *eventStand) publish(from, to int) {
	s.Helper()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{Partition: int32(i % 2), Value: fmt.Appendf(nil, `{"key":%q,"version":2}`, s.key(i))})
	}
	s.produce(records...)
}

func (s *eventStand) produce(records ...*kgo.Record) {
	s.Helper()
	for _, r := range records {
		r.Topic = s.topic
	}
	if err := s.client.ProduceSync(s.Context(), records...).FirstErr(); err != nil {
		s.Fatal(err)
	}
}

// process by hand: delete keys from..to on the nodes, and commit to the end of the log.
func (s *eventStand) process(from, to int, nodes ...int) {
	s.Helper()
	for i := from; i < to; i++ {
		for _, n := range nodes {
			s.nodes[n].Must(s, "del", s.key(i))
		}
	}
	s.commitAll()
}

func (s *eventStand) commitAll() {
	s.Helper()
	var at map[int32]int64
	servers.Eventually(s, "the ends of both partitions are known", func() bool {
		at = map[int32]int64{} // one of a topic that the broker does not know yet is of no partition
		ends, err := s.admin.ListEndOffsets(s.Context(), s.topic)
		ends.Each(func(o kadm.ListedOffset) { at[o.Partition] = o.Offset })
		return err == nil && ends.Error() == nil && len(at) == 2
	})
	commit(s, s.broker.Addr, s.topic, s.topic, at)
}

// member of the group that deletes the keys of messages on all nodes.
func (s *eventStand) member() (stop func()) {
	return memberThat(s, s.broker.Addr, s.topic, s.topic, func(r *kgo.Record) {
		var m struct{ Key string }
		if json.Unmarshal(r.Value, &m) != nil || m.Key == "" {
			return
		}
		for _, n := range s.nodes {
			if err := n.Del(s.Context(), m.Key).Err(); err != nil && s.Context().Err() == nil {
				s.Error(err)
			}
		}
	})
}

// take scrapes until so many messages were seen, and lets the second pass that a processor is given once it is seen to have passed.
func (s *eventStand) take(seen float64) page {
	s.Helper()
	var p page
	servers.Eventually(s, "the messages are seen", func() bool { p = s.p.scrape(); return p.sum("events_seen_total") >= seen })
	s.pass(1200 * time.Millisecond)
	return p
}

// pass time of the exporter's.
func (*eventStand) pass(d time.Duration) { time.Sleep(d) }

// want of the results of copies at a window these numbers alone: "redis-1 gone" and so on.
func (s *eventStand) want(p page, class, window string, want map[string]float64) {
	s.Helper()
	got := map[string]float64{}
	p.each("event_copy_checks_total", func(l map[string]string, v float64) {
		if v > 0 {
			got[l["node"]+" "+l["result"]] = v
		}
	}, "class", class, "window", window)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.Errorf("%s at %s: %v, want %v", class, window, got, want)
	}
}

// onEach node as many of a result.
func onEach(result string, n float64) map[string]float64 {
	return map[string]float64{"redis-1 " + result: n, "redis-2 " + result: n, "redis-3 " + result: n}
}

// badLook is what /api/v1/status promises of a copy that was bad.
type badLook struct {
	Class         string  `json:"class"`
	Key           string  `json:"key"`
	Node          string  `json:"node"`
	Window        string  `json:"window"`
	Result        string  `json:"result"`
	VersionSeen   *string `json:"version_seen"`
	VersionWanted *string `json:"version_wanted"`
}

func (b badLook) String() string {
	text := func(s *string) string {
		if s == nil {
			return "-"
		}
		return *s
	}
	return strings.Join([]string{b.Class, b.Key, b.Node, b.Window, b.Result, text(b.VersionSeen), text(b.VersionWanted)}, " ")
}

// wantBad are exactly these in /api/v1/status, in whatever order.
func (s *eventStand) wantBad(want ...string) {
	s.Helper()
	var status struct{ Events []badLook }
	if err := json.Unmarshal([]byte(s.p.get("/api/v1/status")), &status); err != nil {
		s.Fatal(err)
	}
	var got []string
	for _, b := range status.Events {
		got = append(got, b.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.Errorf("bad are %q, want %q", got, want)
	}
}

// While a processor stands still, what it should have deleted waits, with versions and without, on every node, and nothing else is said.
func testStoppedProcessor(s *eventStand) {
	const plain = `  - {class: plain, keys: ["%s:0", "%s:1"], layers: [l2], match: "^%s:", events: {queue: inv, within: 2s, windows: [1s, 2s]}}` + "\n"
	s.fill(0, 5)
	s.commitAll()
	s.start(keyAndVersion, userClass+plain)
	s.pass(1200 * time.Millisecond) // a look before the event is one that had ended by then
	s.p.scrape()
	s.publish(0, 5)
	s.take(5)
	s.want(s.p.scrape(), "user", "1s", onEach("waiting", 5))
	s.pass(time.Second)
	p := s.p.scrape()
	for _, window := range []string{"1s", "2s"} {
		s.want(p, "user", window, onEach("waiting", 5))
		p.want(5, "event_checks_total", "class", "user", "window", window, "result", "waiting")
		if n := p.sum("event_checks_total", "class", "plain", "window", window, "result", "survived") + p.sum("event_checks_total", "class", "plain", "window", window, "result", "restored"); n != 0 {
			s.Errorf("%v without a version survived a processor that stands still", n)
		}
	}
	p.want(2, "event_checks_total", "class", "plain", "window", "2s", "result", "waiting") // the canaries, which were seen before
	for _, class := range []string{"user", "plain"} {
		if age := p.one("event_oldest_ineffective_seconds", "class", class); age < 2 {
			s.Errorf("%s: the oldest without effect is %v s old", class, age)
		}
	}
	s.process(0, 5, 0, 1, 2)
	p = s.p.scrape()
	p.want(0, "event_oldest_ineffective_seconds", "class", "user")
	p.want(0, "event_oldest_ineffective_seconds", "class", "plain")
	p.want(0, "event_pending", "class", "user")
	s.fill(5, 8)
	s.publish(5, 8)
	s.process(5, 8, 0, 1, 2)
	s.take(8)
	p = s.p.scrape()
	p.want(3, "event_checks_total", "class", "user", "window", "1s", "result", "gone")
	p.want(0, "event_oldest_ineffective_seconds", "class", "user")
}

// A reader that had read the old value before the change puts it back after the delete.
func testDelayedFill(s *eventStand) {
	const events = `events: {queue: inv, within: 1s, windows: [1s, 8s]}}` + "\n"
	s.fill(0, 3)
	s.start(keyAndVersion,
		`  - {class: made, layers: [l2], match: "^%s:", version: {json: "$.version"}, cached_at: {json: "$.made", kind: timestamp_ms}, `+events+
			`  - {class: plain, layers: [l2], match: "^%s:", `+events)
	s.publish(0, 3)
	s.process(0, 3, 0, 1, 2)
	s.set(1, s.key(1), fmt.Sprintf(`{"version":1,"made":%d}`, time.Now().UnixMilli())) // it says when it was put there
	s.set(2, s.key(2), `{"version":1}`)                                                // nothing shows that it was put back
	s.take(3)
	s.want(s.p.scrape(), "made", "1s", map[string]float64{"redis-1 gone": 3, "redis-2 gone": 2, "redis-2 restored": 1, "redis-3 gone": 2, "redis-3 survived": 1})
	s.set(1, s.key(0), `{"version":1}`) // a look saw it missing
	var p page
	servers.Eventually(s, "they are looked at again", func() bool {
		p = s.p.scrape()
		return p.sum("event_checks_total", "class", "made", "window", "8s") == 3
	})
	s.want(p, "made", "8s", map[string]float64{"redis-1 gone": 3, "redis-2 gone": 1, "redis-2 restored": 2, "redis-3 gone": 2, "redis-3 survived": 1})
	// Without a version, what was stored after the event has taken effect, whatever it is.
	s.want(p, "plain", "8s", map[string]float64{"redis-1 gone": 3, "redis-2 gone": 1, "redis-2 rewritten": 1, "redis-2 unknown": 1, "redis-3 gone": 2, "redis-3 unknown": 1})
	s.wantBad(
		"made "+s.key(1)+" redis-2 1s restored 1 2", "made "+s.key(2)+" redis-3 1s survived 1 2",
		"made "+s.key(1)+" redis-2 8s restored 1 2", "made "+s.key(2)+" redis-3 8s survived 1 2",
		"made "+s.key(0)+" redis-2 8s restored 1 2",
	)
}

// deafAlert is the alert that names a node which the deletes do not reach.
const deafAlert = "CacheInvalNodeMissesInvalidations"

// One node of three is never told. Prometheus, which the repository's rules are given, names it, within three scrapes of the look. Time
// goes fifteen times as fast as there: it scrapes each second, and not each fifteen.
func testDeafNode(s *eventStand) {
	const missed = 10
	s.fill(0, missed)
	s.start(keyAndVersion, strings.ReplaceAll(userClass, "within: 2s, windows: [1s, 2s]", "within: 3s"))
	all, err := rules.Load(os.DirFS("../../../alerts"))
	if err != nil {
		s.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(f rules.File) bool { return f.Name != "event.yml" })
	if all, err = all.Scale(15); err != nil || len(all) != 1 {
		s.Fatal(len(all), err)
	}
	text, err := all[0].YAML()
	if err != nil {
		s.Fatal(err)
	}
	prom := servers.Prometheus(s, map[string]string{"rules.yml": string(text), "prometheus.yml": fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs: [{job_name: cacheinv_exporter, static_configs: [{targets: [%q], labels: {cluster: c}}]}]
`, strings.TrimPrefix(s.p.url, "http://"))})
	const survived = `sum by (node) (cacheinv_event_copy_checks_total{result="survived"})`
	servers.Eventually(s, "Prometheus has the counts from before", func() bool { return len(prom.Query(s, survived)) == 3 })
	s.publish(0, missed)
	s.process(0, missed, 0, 2)
	const firing = `ALERTS{alertname="` + deafAlert + `",alertstate="firing"}`
	servers.Eventually(s, "the alert fires", func() bool { return len(prom.Query(s, firing)) > 0 })
	for _, v := range prom.Query(s, firing) {
		if v.Metric["node"] != "redis-2" || v.Metric["layer"] != "l2" {
			s.Errorf("%v", v.Metric)
		}
	}
	p := s.p.scrape()
	s.want(p, "user", "3s", map[string]float64{"redis-1 gone": missed, "redis-2 survived": missed, "redis-3 gone": missed})
	looked, fired := time.Time{}, prom.Samples(s, firing+"[1m]")[0].Values[0].Timestamp.Time()
	for _, v := range prom.Samples(s, `cacheinv_event_copy_checks_total{node="redis-2",result="survived"}[1m]`)[0].Values {
		if v.Value > 0 {
			looked = v.Timestamp.Time()
			break
		}
	}
	scrapes := 0
	for _, v := range prom.Samples(s, "up[1m]")[0].Values {
		if at := v.Timestamp.Time(); !at.Before(looked) && !at.After(fired) {
			scrapes++
		}
	}
	s.Logf("it fired %s after the scrape that had the look, with %d scrapes", fired.Sub(looked), scrapes)
	if looked.IsZero() || scrapes < 1 || scrapes > 3 {
		s.Errorf("%d scrapes from the one that had the look, at %s, until the alert, at %s", scrapes, looked, fired)
	}
}

// makeAnew the topic.
func (s *eventStand) makeAnew() {
	s.Helper()
	if r, err := s.admin.DeleteTopic(s.Context(), s.topic); err != nil || r.Err != nil {
		s.Fatal(err, r.Err)
	}
	servers.Eventually(s, "the topic is gone", func() bool { return s.p.scrape().sum("queue_up") == 0 })
	s.create()
	servers.Eventually(s, "the queue is up", func() bool { return s.p.scrape().sum("queue_up") == 1 })
	s.connect()
}

// checkedWell publishes messages about three keys more, which a member processes, and wants them checked and nothing told that is bad.
func (s *eventStand) checkedWell(what string, from int) (to int) {
	s.Helper()
	to = from + 3
	s.fill(from, to)
	s.publish(from, to)
	servers.Eventually(s, what+": the keys are deleted", func() bool {
		left, err := s.nodes[2].Exists(s.Context(), s.key(from), s.key(from+1), s.key(from+2)).Result()
		return err == nil && left == 0
	})
	s.set(0, s.key(from), `{"version":2}`) // filled again
	before := s.p.scrape().sum("event_checks_total", "window", "1s")
	var p page
	servers.Eventually(s, what+": they are checked", func() bool {
		p = s.p.scrape()
		return p.sum("event_checks_total", "window", "1s") >= before+3
	})
	s.nothingBad(what, p)
	return to
}

// nothingBad was told yet.
func (s *eventStand) nothingBad(what string, p page) {
	s.Helper()
	for _, result := range []string{"survived", "restored", "waiting"} {
		if n := p.sum("event_copy_checks_total", "result", result); n > 0 {
			s.Errorf("%s: %v copies are %s:\n%s", what, n, result, s.p.get("/api/v1/status"))
		}
	}
}

// What a group and its log go through is no fault of a copy.
func testGroupsAndLogs(s *eventStand) {
	s.start(keyAndVersion, userClass)
	stop := s.member()
	n := s.checkedWell("one member", 0)
	second := s.member()
	members := func(want float64) {
		s.Helper()
		servers.Eventually(s, "the group has its members", func() bool {
			p := s.p.scrape()
			return p.sum("consumer_group_members") == want && p.number("consumer_group_state", "state", "Stable") == 1
		})
	}
	n = s.checkedWell("while a second member joins", n)
	members(2)
	n = s.checkedWell("two members", n)
	second()
	n = s.checkedWell("while it leaves", n)
	members(1)
	stop()
	commit(s, s.broker.Addr, s.topic, s.topic, map[int32]int64{0: 0, 1: 0})
	s.nothingBad("a rewind", s.p.scrape())
	stop = s.member()
	n = s.checkedWell("a rewind", n)
	ends, err := s.admin.ListEndOffsets(s.Context(), s.topic)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.admin.DeleteRecords(s.Context(), ends.Offsets()); err != nil {
		s.Fatal(err)
	}
	n = s.checkedWell("a log cut off", n)
	stop()
	if p := s.p.scrape(); p.sum("event_checks_total", "window", "1s") != float64(n) || p.sum("events_skipped_total") != 0 {
		s.Errorf("%v of %d messages were checked, and %v left out", p.sum("event_checks_total", "window", "1s"), n, p.sum("events_skipped_total"))
	}
}

// A topic that is deleted, and one of its name that is made.
func testTopicMadeAnew(s *eventStand) {
	s.start(keyAndVersion, userClass)
	stop := s.member()
	n := s.checkedWell("before", 0)
	stop()
	s.makeAnew()
	defer s.member()()
	n = s.checkedWell("made anew", n)
	if p := s.p.scrape(); p.sum("event_checks_total", "window", "1s") != float64(n) {
		s.Errorf("%v of %d messages were checked", p.sum("event_checks_total", "window", "1s"), n)
	}
}

// A message that is lost before it is processed was not passed by a group that goes on behind it, in this log or in the next one.
func testLostMessages(s *eventStand) {
	s.start(keyAndVersion, strings.ReplaceAll(userClass, "within: 2s, windows: [1s, 2s]", "within: 8s"))
	put := func(keys ...int) {
		s.Helper()
		for _, i := range keys {
			s.fill(i, i+1)
			s.publish(i, i+1)
		}
	}
	put(0)
	s.take(1)
	ends, err := s.admin.ListEndOffsets(s.Context(), s.topic)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.admin.DeleteRecords(s.Context(), ends.Offsets()); err != nil {
		s.Fatal(err)
	}
	put(2)
	s.process(2, 3, 0, 1, 2)
	s.take(2)
	put(4)
	s.take(3)
	s.makeAnew()
	put(6, 8, 10, 12)
	s.process(6, 13, 0, 1, 2)
	s.take(7)
	var p page
	servers.Eventually(s, "all are looked at", func() bool { p = s.p.scrape(); return p.sum("event_checks_total") == 7 })
	s.want(p, "user", "8s", map[string]float64{
		"redis-1 gone": 5, "redis-2 gone": 5, "redis-3 gone": 5, "redis-1 unknown": 2, "redis-2 unknown": 2, "redis-3 unknown": 2,
	})
}

// A message that names several keys is one event, a record without a value is one by its key, and what can't be read costs itself alone.
func testOddMessages(s *eventStand) {
	s.fill(0, 5)
	const byList = `  - {class: user, layers: [l2], match: "^%s:", version: {json: "$.version"}, events: {queue: inv, keys: ["%s:{id}"], vars: {id: "$.ids"}, within: 2s, windows: [1s, 2s]}}` + "\n"
	const byKey = `  - {class: by_key, layers: [l2], match: "^%s:", events: {queue: inv, within: 2s, windows: [1s, 2s]}}` + "\n"
	s.start(`version: "$.version"`, byList+byKey)
	s.produce(
		&kgo.Record{Value: []byte("\x00no JSON")},
		&kgo.Record{Value: []byte(`{"ids":[[1],{"a":2}]}`)},
		&kgo.Record{Key: []byte("others"), Value: []byte(`{"ids":null}`)},
		&kgo.Record{Key: fmt.Appendf(nil, "%s:%s", s.topic, strings.Repeat("x", 2000)), Value: []byte(`{}`)},
		&kgo.Record{Key: []byte("others"), Value: []byte(`{"ids":[0,1,2],"version":2}`)},
		&kgo.Record{Key: []byte(s.key(3)), Value: nil},
	)
	s.process(0, 5, 0, 1, 2)
	s.take(6)
	p := s.p.scrape()
	p.want(1, "event_checks_total", "class", "user", "window", "1s", "result", "gone")
	s.want(p, "user", "1s", onEach("gone", 3))
	p.want(1, "event_checks_total", "class", "by_key", "window", "1s", "result", "gone")
	s.want(p, "by_key", "1s", onEach("gone", 1))
	p.want(6, "events_seen_total", "queue", "inv")
	p.want(3, "events_skipped_total", "reason", "unreadable")
	p.want(1, "events_skipped_total", "reason", "no_class")
}
