package diagnosis

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// What refuses is reached: it is no network. And what was not learned is not well.
func TestRefusalIsNoNetwork(t *testing.T) {
	busy := probes.Refusal(errors.New("BUSY"))
	for name, c := range map[string]struct {
		change func(*Evidence)
		want   string
		says   string
	}{
		"a node refuses": {func(e *Evidence) { e.Result.Nodes[3].Up, e.Result.Nodes[3].Err = false, fmt.Errorf("survey: %w", busy) }, Nothing, "redis-1 answers, and refuses"},
		"a node is down": {func(e *Evidence) { e.Result.Nodes[3].Up, e.Result.Nodes[3].Err = false, errors.New("dial") }, string(Network), "does not answer: dial"},
		"a queue refuses": {func(e *Evidence) {
			e.Queues[0] = Queue{Name: "list", Kind: "redis_list", Err: busy}
		}, Nothing, "queue list could not be queried as a whole: BUSY"},
		"a queue is down":      {func(e *Evidence) { e.Queues[0] = Queue{Name: "list", Kind: "redis_list", Err: errors.New("dial")} }, string(Network), "queue list did not answer"},
		"a listing is refused": {func(e *Evidence) { e.Result.Nodes[3].Survey.ScanErr = busy }, Nothing, "redis-1 does not list its keys: BUSY"},
		"a group is refused": {func(e *Evidence) {
			e.Result.Groups = append(e.Result.Groups, probes.NodeGroup{Layer: "l2", Name: "main", Err: busy})
		}, Nothing, "l2 main: BUSY"},
		"no copy could be read": {func(e *Evidence) {
			n := &e.Result.Classes[0].Nodes[0]
			n.Why, n.Copies = errors.New("MGET was refused"), [verdict.NumStates]int{}
		}, Nothing, "none of its copies could be read: MGET was refused"},
		"a history is down":   {func(e *Evidence) { e.Histories[0].Up, e.Histories[0].Err = false, busy }, Nothing, "history history could not be queried: BUSY"},
		"an instance refuses": {func(e *Evidence) { e.Apps[0].Refused = map[string]error{"app-9": busy} }, Nothing, "app-9 answers, and does not report its version: BUSY"},
		"an instance is down": {func(e *Evidence) { e.Apps[0].Down = []string{"app-9"} }, string(Network), "app-9 does not answer"},
		"a probe is refused": {func(e *Evidence) {
			e.RoundTrips[0].Failed, e.RoundTrips[0].Refused, e.RoundTrips[0].Refusal = 3, 3, busy
		}, Nothing, "could not be published or set up for redis-1: BUSY"},
		"a probe is refused once, and not sent": {func(e *Evidence) {
			e.RoundTrips[0].Failed, e.RoundTrips[0].Refused = 3, 1
		}, string(Network), "could not be published or set up lately"},
		"a proxy without INFO": {func(e *Evidence) { e.Result.Nodes[3].Survey.Unasked, e.Result.Nodes[3].Survey.Refused = true, busy }, None, "redis-1 is read, and does not tell of itself: BUSY"},
	} {
		m := NewMemory()
		var d Diagnosis
		for i := range 3 {
			e := estate(start.Add(time.Duration(i) * time.Second))
			c.change(&e)
			d = m.Diagnose(&e)
		}
		if text := fmt.Sprint(d.Steps); d.Verdict != c.want || !strings.Contains(text, c.says) || c.want == Nothing && d.Scores == nil {
			t.Errorf("%s: %s, want %s and %q in\n%s", name, d.Verdict, c.want, c.says, text)
		}
	}
}
