package collector

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

var update = flag.Bool("update", false, "write docs/metrics.md and testdata anew")

func allNames() []string {
	var names []string
	for _, f := range Families() {
		names = append(names, f.Name)
	}
	return names
}

// kinds of nodes and queues, as the backends have them.
func kinds() string {
	var nodes, queues []string
	for _, b := range backends.All {
		if b.Node != nil {
			nodes = append(nodes, b.Name)
		}
		switch {
		case b.QueueKinds != nil:
			queues = append(queues, b.QueueKinds...)
		case b.Queue != nil:
			queues = append(queues, b.Name)
		}
	}
	return "of nodes `" + strings.Join(nodes, "`, `") + "`; of queues `" + strings.Join(queues, "`, `") + "`"
}

// metricsPage is docs/metrics.md.
func metricsPage() string {
	var b strings.Builder
	b.WriteString("# Metrics\n\nGenerated from the code by `go test ./collector -update`; do not edit.\n\n" +
		"Units are base units. What a server does not report is absent, never 0. No label holds a value from a cache, and a key only in\n" +
		"`cacheinv_canary_key_consistent`, for keys that the configuration names. Beside these, `/metrics` has the usual `go_` and\n" +
		"`process_` families of the exporter's own process.\n\n")
	b.WriteString("| label | values |\n|---|---|\n" +
		"| state | of copies `fresh`, `stale`, `missing`, `error`, `undecided`, `unverified` ([what they mean](verdict.md)); of brokers `up`, `down`; of groups as Kafka writes them |\n" +
		"| reference | what decided: `origin`, `version`, `primary`, `majority`, `none`; what convicted: these but `none`, or `age` (`max_age`) |\n" +
		"| window | `0s`, `1m`, `5m`, `10m`: at least so long; of event checks the ages as `events.windows` has them |\n" +
		"| reason | why a missing copy is no surprise: `loading`, `restart`, `resharding`, `eviction`; for at most the layer's `ttl`; of failed probes `lost`, `publish`, `setup`; of messages that were left out `budget`, `no_class`, `too_old`, `unreadable` |\n" +
		"| result | of origins `ok`, `not_found`, `error`; of own reads `hit`, `miss`; of event checks `gone`, `current`, `rewritten`, `waiting`, `survived`, `restored`, `superseded`, `unknown`, `error` ([what they mean](event-checks.md#what-a-look-finds)) |\n" +
		"| strategy | of repairs `" + strings.Join(repairStrategies, "`, `") + "` |\n" +
		"| outcome | of repairs `" + strings.Join(repairOutcomes, "`, `") + "` ([what they mean](repair.md#what-came-of-it)) |\n" +
		"| kind | " + kinds() + " |\n\n")
	b.WriteString("| family | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range Families() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Type, strings.Join(f.Labels, ", "), strings.ReplaceAll(f.Help, "|", "\\|"))
	}
	return b.String()
}

func TestMetricsPage(t *testing.T) {
	const path = "../docs/metrics.md"
	if *update {
		if err := os.WriteFile(path, []byte(metricsPage()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != metricsPage() {
		t.Errorf("%s does not say what the code does; run go test ./collector -update", path)
	}
}

func TestHelpIsASentence(t *testing.T) {
	for _, f := range Families() {
		if f.Name == "cacheinv_build_info" {
			continue
		}
		if !strings.HasSuffix(f.Help, ".") || len(f.Help) < 20 {
			t.Errorf("%s: %q", f.Name, f.Help)
		}
	}
}
