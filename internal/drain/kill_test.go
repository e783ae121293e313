package drain_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/audit"
	"github.com/cacheinv/cacheinv_exporter/internal/drain"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// The tests' binary is, begun with childConfig, a run that is killed. childFolder gets its audit log.
const (
	childConfig, childFolder = "CACHEINV_DRAIN_CONFIG", "CACHEINV_DRAIN_FOLDER"
	childRate, childBatch    = 3000, 50
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childConfig); path != "" {
		if err := child(path, os.Getenv(childFolder)); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child drains, and says so on stdout before its first batch. It does no more than its share, and waits to be killed then: the
// others must have something left, however late the kill comes.
func child(path, folder string) error {
	yaml, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	d, done, err := open(string(yaml))
	if err != nil {
		return err
	}
	defer done()
	log, err := audit.Open(folder, "audit", time.Now())
	if err != nil {
		return err
	}
	begun, share := 0, batches()
	r, err := d.Apply(context.Background(), drain.Options{Audit: log, DeadLetters: folder, Rate: childRate, Batch: childBatch, Before: func(context.Context) error {
		if begun == 0 {
			fmt.Println("begun")
		}
		if begun++; begun > share {
			time.Sleep(time.Hour)
		}
		return nil
	}})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// scale is how many messages wait, and how often a run is killed meanwhile.
func scale() (messages, kills int) {
	if os.Getenv("CACHEINV_SOAK") != "" {
		return 15_000, 100
	}
	return 750, 5
}

// batches that each run does at most.
func batches() int {
	messages, kills := scale()
	return messages / childBatch / (kills + 1)
}

// killed begins a run and kills it after a random time, in which it may do its share.
func killed(t *testing.T, path, folder string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childConfig+"="+path, childFolder+"="+folder)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "begun\n" {
		t.Errorf("a run said %q: %v", line, err)
	}
	longest := time.Duration(batches()+1) * childBatch * time.Second / childRate
	time.Sleep(rand.N(longest)) // the point at which it is killed: any
	_ = cmd.Process.Kill()      // that it was still running is checked by what is left
	_ = cmd.Wait()              // killed, and that is its error
}

// begins and ends of a run's part in a queue, from its audit log.
type account struct {
	before               int64
	removed, settled     int64
	dead                 int
	appliedKeys, allKeys map[string]bool
}

// accounts of the runs in a folder, in the order in which they began.
func accounts(t *testing.T, folder string) []account {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "audit-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	var out []account
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		a := account{appliedKeys: map[string]bool{}, allKeys: map[string]bool{}}
		begins := false
		var taken []string
		for line := range strings.Lines(string(b)) {
			var e struct {
				Event                                              string
				Waiting, Processing, Removed, Applied, DeadLetters int64
				Keys, KeptKeys                                     []string
			}
			line = strings.NewReplacer(`"dead_letters"`, `"DeadLetters"`, `"kept_keys"`, `"KeptKeys"`).Replace(line)
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%s: %v\n%s", p, err, line)
			}
			switch e.Event {
			case "queue_begins":
				begins, a.before = true, e.Waiting+e.Processing
			case "batch_taken":
				taken = e.Keys
			case "batch_applied":
				a.settled += e.Applied + e.DeadLetters
				for _, k := range taken {
					if !slices.Contains(e.KeptKeys, k) {
						a.appliedKeys[k] = true
					}
				}
			case "batch_removed":
				a.removed += e.Removed
			case "dead_letter":
				a.dead++
			}
		}
		if begins {
			out = append(out, a)
		}
	}
	return out
}

// wantAccounts checks that the audit logs agree with each other and with what there was.
func wantAccounts(t *testing.T, folder string, messages, kills int, all []string) {
	t.Helper()
	runs := accounts(t, folder)
	if len(runs) != kills+1 || runs[0].before != int64(messages) {
		t.Fatalf("%d runs are on record, and the first saw %d messages", len(runs), runs[0].before)
	}
	applied := map[string]bool{}
	for i, a := range runs {
		after := int64(0)
		if i+1 < len(runs) {
			after = runs[i+1].before
			if after == 0 {
				t.Errorf("run %d left nothing to the runs after it", i)
			}
		}
		if gone := a.before - after; a.removed > gone || gone > a.settled {
			t.Errorf("run %d: of %d messages %d are left; by its log it removed at least %d, at most %d", i, a.before, after, a.removed, a.settled)
		}
		for k := range a.appliedKeys {
			applied[k] = true
		}
	}
	for _, k := range all {
		if !applied[k] {
			t.Errorf("no log says that %s was applied", k)
		}
	}
}

// killing drains a backlog by runs that are killed, and a last one that is not, and checks what came of it.
func killing(t *testing.T, s *site, queue string, send func(messages []string)) (folder string, last *drain.Report) {
	t.Helper()
	messages, kills := scale()
	all := keys(0, messages-2)
	s.fill(t, all)
	send(append(messagesOf(all), "no JSON", `{"id":1}`))
	folder = t.TempDir()
	path := filepath.Join(folder, "config.yml")
	if err := os.WriteFile(path, []byte(s.yaml(queue)), 0o600); err != nil {
		t.Fatal(err)
	}
	for range kills {
		killed(t, path, folder)
	}
	log, err := audit.Open(folder, "audit", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	last = apply(t, s.yaml(queue), drain.Options{Audit: log, DeadLetters: folder})
	if last.Incomplete || *last.Queues[0].Left != 0 {
		t.Errorf("%+v", last)
	}
	s.wantGone(t, all)
	wantAccounts(t, folder, messages, kills, all)
	return folder, last
}

func TestKilledList(t *testing.T) {
	s := newSite(t)
	killing(t, s, listQueue, func(messages []string) { push(t, s.queueOn, "inv", messages...) })
	dead := s.queueOn.LRange(t.Context(), "inv:dead-letter", 0, -1).Val()
	if slices.Sort(dead); !slices.Equal(dead, []string{"no JSON", `{"id":1}`}) { // in any order: runs begin with what others left
		t.Errorf("dead letters %q", dead)
	}
	if names := s.queueOn.Keys(t.Context(), "inv*").Val(); len(names) != 1 {
		t.Errorf("left behind: %q", names)
	}
}

func TestKilledStream(t *testing.T) {
	s := newSite(t)
	s.queueOn.Must(t, "xgroup", "create", "inv", "processors", "0", "mkstream")
	killing(t, s, `{name: inv, redis: {node: redis-1, stream: inv, groups: [processors]}, message: {key: "$.message.key"}}`, func(messages []string) {
		p := s.queueOn.Pipeline()
		for _, m := range messages {
			p.XAdd(t.Context(), &redis.XAddArgs{Stream: "inv", Values: []any{"message", m}})
		}
		if _, err := p.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		// A processor read some, and was killed.
		if err := s.queueOn.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "processors", Consumer: "gone", Streams: []string{"inv", ">"}, Count: 20}).Err(); err != nil {
			t.Fatal(err)
		}
	})
	if p := s.queueOn.XPending(t.Context(), "inv", "processors").Val(); p.Count != 0 {
		t.Errorf("%d entries are pending", p.Count)
	}
	dead := s.queueOn.LRange(t.Context(), "inv:dead-letter", 0, -1).Val()
	for _, want := range []string{`"no JSON"`, `{\"id\":1}`} {
		if !slices.ContainsFunc(dead, func(d string) bool { return strings.Contains(d, want) }) {
			t.Errorf("%s is not among the dead letters %q", want, dead)
		}
	}
}

func TestKilledKafka(t *testing.T) {
	s, k := newSite(t), servers.Kafka(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Addr), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	queue := fmt.Sprintf(`{name: inv, kafka: {brokers: [%q], topics: [inv], groups: [processors]}, message: {key: "$.key"}}`, k.Addr)
	folder, last := killing(t, s, queue, func(messages []string) { sendKafka(t, client, admin, messages) })
	files, err := filepath.Glob(filepath.Join(folder, "dead-letter-*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatal("no file of dead letters: ", err)
	}
	var dead strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		dead.Write(b)
	}
	if text := dead.String(); !strings.Contains(text, "no JSON") || !strings.Contains(text, `{\"id\":1}`) || strings.Contains(text, "user:") {
		t.Errorf("dead letters:\n%s", text)
	}
	if last.Queues[0].DeadFile != "" && !slices.Contains(files, last.Queues[0].DeadFile) {
		t.Errorf("the report names %s", last.Queues[0].DeadFile)
	}
}

// sendKafka makes a topic of three partitions, of which the group has read nothing yet, with these messages.
func sendKafka(t *testing.T, client *kgo.Client, admin *kadm.Client, messages []string) {
	t.Helper()
	if r, err := admin.CreateTopic(t.Context(), 3, 1, nil, "inv"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	commits := kadm.Offsets{}
	for p := range int32(3) {
		commits.AddOffset("inv", p, 0, -1)
	}
	servers.Eventually(t, "the group has commits", func() bool { return admin.CommitAllOffsets(t.Context(), "processors", commits) == nil })
	var records []*kgo.Record
	for _, m := range messages {
		records = append(records, &kgo.Record{Topic: "inv", Value: []byte(m)})
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}
