package kafka

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// toolRow is a line of kafka-consumer-groups; a number that it does not know is -.
type toolRow struct{ commit, end, lag string }

// toolRows are what kafka-consumer-groups --describe prints.
func toolRows(t *testing.T, k *servers.KafkaServer, group string) map[probes.Partition]toolRow {
	t.Helper()
	out := map[probes.Partition]toolRow{}
	for line := range strings.Lines(k.Tool(t, servers.KafkaGroups, "--describe", "--group", group)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[0] != group {
			continue
		}
		id, err := strconv.ParseInt(f[2], 10, 32)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out[probes.Partition{Topic: f[1], ID: int32(id)}] = toolRow{f[3], f[4], f[5]}
	}
	return out
}

// toolState is what kafka-consumer-groups --describe --state prints: state and members.
func toolState(t *testing.T, k *servers.KafkaServer, group string) string {
	t.Helper()
	for line := range strings.Lines(k.Tool(t, servers.KafkaGroups, "--describe", "--state", "--group", group)) {
		if f := strings.Fields(line); len(f) > 3 && f[0] == group {
			return f[len(f)-2] + " " + f[len(f)-1]
		}
	}
	t.Fatalf("kafka-consumer-groups tells no state of %s", group)
	return ""
}

// likeTool compares with all that kafka-consumer-groups prints of a group.
func likeTool(t *testing.T, k *servers.KafkaServer, b probes.Backlog, group string) {
	t.Helper()
	g := probetest.GroupOf(t, b, group)
	rows := toolRows(t, k, group)
	for p, end := range b.Ends {
		ours := toolRow{"-", strconv.FormatInt(int64(end), 10), "-"}
		if at, ok := g.Positions[p]; ok {
			ours.commit = strconv.FormatInt(int64(at), 10)
		}
		if lag, ok := g.Lag[p]; ok {
			ours.lag = strconv.FormatInt(lag, 10)
		}
		theirs, answered := rows[p]
		if !answered { // it leaves out partitions that are neither committed nor assigned
			theirs = toolRow{"-", ours.end, "-"}
		}
		if ours != theirs {
			t.Errorf("group %s, %v: %+v, kafka-consumer-groups prints %+v", group, p, ours, theirs)
		}
	}
	if ours, theirs := fmt.Sprintf("%s %d", g.State, g.Members), toolState(t, k, group); ours != theirs || !g.HasMembers {
		t.Errorf("group %s is %s, kafka-consumer-groups prints %s", group, ours, theirs)
	}
}
