package drain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/audit"
	"github.com/cacheinv/cacheinv_exporter/internal/drain"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

func TestList(t *testing.T) {
	servers.NoLeaks(t)
	s := newSite(t)
	all := keys(0, 1200)
	s.fill(t, all)
	others := []string{"user:other"}
	s.fill(t, others)
	push(t, s.queueOn, "inv", messagesOf(all[:1000])...)
	push(t, s.queueOn, "inv", "no JSON", message(all[1000:]...), `{"id":1}`, message("user:0"), `{"key":null}`, `{"key":[]}`)

	p := plan(t, s.yaml(listQueue))
	if q := p.Queues[0]; *q.Waiting != 1006 || *q.Processing != 0 || q.DistinctKeys != 200 || q.Error != "" || *q.DeadLetters != "inv:dead-letter" {
		t.Errorf("%+v", q)
	}
	if len(p.Nodes) != 6 || p.Incomplete {
		t.Errorf("%+v", p)
	}
	if n := s.queueOn.LLen(t.Context(), "inv").Val(); n != 1006 {
		t.Fatalf("a plan took messages: %d are left", n)
	}

	folder := t.TempDir()
	log, err := audit.Open(folder, "audit", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var last drain.Progress
	r := apply(t, s.yaml(listQueue), drain.Options{Audit: log, Progress: func(p drain.Progress) { last = p }})
	q := r.Queues[0]
	if q.Applied != 1002 || q.Dead != 4 || q.Kept != 0 || q.Removed != 1006 || *q.Left != 0 || r.Incomplete {
		t.Errorf("%+v", r)
	}
	if last != (drain.Progress{Queue: "inv", Taken: 1006, Total: 1006, Applied: 1002, Dead: 4}) {
		t.Errorf("progress %+v", last)
	}
	s.wantGone(t, all)
	if left := s.present(t, others); len(left) != 5 {
		t.Errorf("a key that no message names has gone: %v", left)
	}
	dead := s.queueOn.LRange(t.Context(), "inv:dead-letter", 0, -1).Val()
	if diff := cmp.Diff([]string{"no JSON", `{"id":1}`, `{"key":null}`, `{"key":[]}`}, dead); diff != "" {
		t.Error(diff)
	}
	if names := s.queueOn.Keys(t.Context(), "inv*").Val(); len(names) != 1 {
		t.Errorf("left behind: %q", names)
	}
	if text := auditText(t, folder); strings.Contains(text, "old") || strings.Count(text, `"dead_letter"`) != 4 {
		t.Errorf("the audit log:\n%.2000s", text)
	}
}
