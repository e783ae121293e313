package alerts_test

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

// sameJob is why a second matcher of the job changes nothing.
const sameJob = "the other side of the operator has that job alone, and the job is compared; it spares Prometheus all other targets"

// allZero is why the sum of what is 0 or 1 tells as much as the larger.
const allZero = "of 0 and 1 both are 0 where all are"

// neverBelow is why it is all one how counts are taken together that only have to be above 0.
const neverBelow = "of what is never below 0 both are above it where one is"

// longAgo is why a queue that was ill before half an hour changes nothing.
const longAgo = "what was not ill within half an hour is left out by the last condition"

// oneSeries is why it is all one how the series of an instance are taken together.
const oneSeries = "an instance has one series"

// oneGone is why a longer look back at one of two factors changes nothing.
const oneGone = "the other factor is gone by then"

// equivalent mutants do what the rule does, so no test can tell them: by name, with the reason.
var equivalent = map[string]string{
	"CacheInvalWatchdog: 1 becomes 2 in vector(1)":                                                                                                                     "the watchdog tells no value",
	"CacheInvalWatchdog: 1 becomes 0 in vector(1)":                                                                                                                     "the watchdog tells no value",
	`CacheInvalExporterDown: job="cacheinv_exporter" is dropped in up{job="cacheinv_exporter"}`:                                                                        sameJob,
	`CacheInvalExporterDown: job="cacheinv_exporter" is dropped in up{job="cacheinv_exporter"} #2`:                                                                     sameJob,
	`CacheInvalExporterSlow: job="cacheinv_exporter" is dropped in up{job="cacheinv_exporter"}`:                                                                        sameJob,
	`CacheInvalExporterSlow: job="cacheinv_exporter" is dropped in up{job="cacheinv_exporter"} #2`:                                                                     sameJob,
	`job_shard:cacheinv_exporter_renamed:bool: job="cacheinv_exporter" is dropped in up{job="cacheinv_exporter"} offset 15m`:                                           sameJob,
	`job_shard:cacheinv_exporter_renamed:bool: job="cacheinv_exporter" is dropped in up{job="cacheinv_exporter"}`:                                                      sameJob,
	`job_shard:cacheinv_exporter_renamed:bool: job="cacheinv_exporter" is dropped in up{job="cacheinv_exporter"} #2`:                                                   sameJob,
	`job_shard:cacheinv_exporter_renamed:bool: job="cacheinv_exporter" is dropped in up{job="cacheinv_exporter"} offset 15m #2`:                                        sameJob,
	"CacheInvalSourceDown: max becomes sum in max by (cluster, app, node) (last_over_time(cacheinv_app_up[4m]))":                                                       allZero,
	"CacheInvalSourceDown: max becomes sum in max by (cluster, history) (last_over_time(cacheinv_history_up[4m]))":                                                     allZero,
	"CacheInvalSourceDown: max becomes sum in max by (cluster, layer, node) (last_over_time(cacheinv_node_up[5m]))":                                                    allZero,
	"CacheInvalConsumerStalled: max becomes sum in max by (cluster, queue) (last_over_time(cacheinv_queue_up[5m]))":                                                    allZero,
	"probe_layer_node_reason:cacheinv_invalidation_probe_failures:increase5m: max becomes sum in max by (cluster, layer, node) (last_over_time(cacheinv_node_up[5m]))": allZero,
	"probe_layer_node:cacheinv_invalidation_probes:increase5m: max becomes sum in max by (cluster, layer, node) (last_over_time(cacheinv_node_up[5m]))":                allZero,
	"queue:cacheinv_queue_blamed:info: [30m] is doubled in queue:cacheinv_queue_ill:bool[30m]":                                                                         longAgo,
	"queue:cacheinv_queue_blamed:info: [30m] is doubled in queue:cacheinv_queue_ill:bool[30m] #2":                                                                      longAgo,
	"queue:cacheinv_queue_blamed:info: 0 becomes -1 in 0 * max_over_time(queue:cacheinv_queue_ill:bool[30m]) #2": "of queues whose messages " +
		"waited as long, one of unknown depth and one of none are alike, and topk takes either",
	"queue:cacheinv_queue_ill:bool: max becomes sum in max by (cluster, queue) (increase(cacheinv_queue_lost_messages_total[10m]))":                                                                                                    neverBelow,
	`class_window:cacheinv_event_within:info: [5m] is doubled in cacheinv_event_within_seconds[5m] #4`:                                                                                                                                 oneGone,
	`class_window:cacheinv_event_within:info: [5m] is doubled in cacheinv_event_within_seconds[5m] #5`:                                                                                                                                 oneGone,
	`class_window_result:cacheinv_event_checks:increase5m: [5m] is doubled in cacheinv_event_checks_total[5m] #3`:                                                                                                                      "its left side has what is older",
	`CacheInvalEventsUnchecked: max becomes sum in max by (cluster, queue) (increase(cacheinv_queue_enqueued_total[10m] offset 5m))`:                                                                                                   neverBelow,
	`CacheInvalEventsUnchecked: max becomes sum in max by (cluster, queue) (increase(cacheinv_events_seen_total[10m] offset 5m))`:                                                                                                      neverBelow,
	`CacheInvalEventsUnchecked: sum becomes max in sum by (cluster) (increase(cacheinv_event_checks_total{result!~"unknown|error"}[15m]))`:                                                                                             neverBelow,
	`class_result:cacheinv_event_checks:increase5m: sum becomes max in sum by (cluster, class, result) (class_window_result:cacheinv_event_checks:increase5m and on (cluster, class, window) class_window:cacheinv_event_within:info)`: "one window of a class has the age that is promised",
	`queue:cacheinv_events_taken:increase15m: max becomes min in max by (cluster, queue, shard, instance) (increase(cacheinv_events_seen_total[15m]))`:                                                                                 oneSeries,
	`queue:cacheinv_events_taken:increase15m: max becomes sum in max by (cluster, queue, shard, instance) (increase(cacheinv_events_seen_total[15m]))`:                                                                                 oneSeries,
	`queue:cacheinv_events_taken:increase15m: max becomes min in max by (cluster, queue, shard, instance) (increase(cacheinv_events_seen_total[15m])) #2`:                                                                              oneSeries,
	`queue:cacheinv_events_taken:increase15m: max becomes sum in max by (cluster, queue, shard, instance) (increase(cacheinv_events_seen_total[15m])) #2`:                                                                              oneSeries,
}

// A mutant is a rule with one fault put in.
type mutant struct {
	name string
	rule rules.Rule
}

// mutation is one way to change a node of an expression, in place.
type mutation struct {
	what  string
	apply func()
}

// mutations of one node. Of numbers 0 and 1 change by one, as half a copy is none, and others by half.
func mutations(n parser.Node) []mutation {
	var found []mutation
	add := func(apply func(), format string, args ...any) {
		found = append(found, mutation{fmt.Sprintf(format, args...), apply})
	}
	switch n := n.(type) {
	case *parser.NumberLiteral:
		v := n.Val
		for _, other := range []float64{v * 1.5, v * 0.5} {
			if math.Abs(v) <= 1 && v == math.Trunc(v) {
				other = v + math.Copysign(1, other-v)
				if v == 0 && len(found) == 0 {
					other = -1
				}
			}
			other, _ = strconv.ParseFloat(strconv.FormatFloat(other, 'g', 9, 64), 64) // 0.9, and not 0.8999999999999999
			add(func() { n.Val = other }, "%v becomes %v", v, other)
		}
	case *parser.BinaryExpr:
		op := n.Op
		other, ok := map[parser.ItemType]parser.ItemType{
			parser.GTR: parser.LSS, parser.LSS: parser.GTR, parser.GTE: parser.LTE, parser.LTE: parser.GTE, parser.EQLC: parser.NEQ, parser.NEQ: parser.EQLC,
			parser.LAND: parser.LOR, parser.LOR: parser.LAND, parser.LUNLESS: parser.LAND,
		}[op]
		if ok {
			add(func() { n.Op = other }, "%s becomes %s", op, other)
		}
	case *parser.AggregateExpr:
		op := n.Op
		if other, ok := map[parser.ItemType]parser.ItemType{parser.MAX: parser.MIN, parser.MIN: parser.MAX, parser.SUM: parser.MAX}[op]; ok {
			add(func() { n.Op = other }, "%s becomes %s", op, other)
		}
		if op == parser.MAX {
			add(func() { n.Op = parser.SUM }, "max becomes sum")
		}
	case *parser.MatrixSelector:
		add(func() { n.Range *= 2 }, "[%s] is doubled", model.Duration(n.Range))
	case *parser.SubqueryExpr:
		add(func() { n.Range *= 2 }, "[%s:] is doubled", model.Duration(n.Range))
	case *parser.VectorSelector:
		if n.OriginalOffset != 0 {
			add(func() { n.OriginalOffset = 0 }, "offset %s is dropped", model.Duration(n.OriginalOffset))
		}
		for i, m := range n.LabelMatchers {
			if m.Name == labels.AlertName || m.Name == model.MetricNameLabel {
				continue
			}
			add(func() { n.LabelMatchers[i] = labels.MustNewMatcher(m.Type, m.Name, "x"+m.Value) }, "%s asks for another value", m)
			add(func() { n.LabelMatchers = slices.Delete(n.LabelMatchers, i, i+1) }, "%s is dropped", m)
		}
	}
	return found
}

// bracketed prints as it is built: an operator that changes must not bind otherwise.
func bracketed(expr parser.Expr) parser.Expr {
	wrap := func(e parser.Expr) parser.Expr {
		if _, ok := e.(*parser.BinaryExpr); ok {
			return &parser.ParenExpr{Expr: e}
		}
		return e
	}
	expr = rules.Copy(expr)
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if b, ok := n.(*parser.BinaryExpr); ok {
			b.LHS, b.RHS = wrap(b.LHS), wrap(b.RHS)
		}
		return nil
	})
	return rules.Copy(expr)
}

// nodes of an expression, always in the same order.
func nodes(expr parser.Expr) []parser.Node {
	var all []parser.Node
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if n != nil {
			all = append(all, n)
		}
		return nil
	})
	return all
}

// context is the smallest readable expression around a node.
func context(expr parser.Expr, node parser.Node) string {
	around := expr.String()
	parser.Inspect(expr, func(n parser.Node, path []parser.Node) error {
		if n != node {
			return nil
		}
		around = n.String()
		if _, ok := n.(*parser.NumberLiteral); ok && len(path) > 0 {
			around = path[len(path)-1].String()
		}
		return nil
	})
	if len(around) > 160 {
		around = around[:80] + " … " + around[len(around)-75:]
	}
	return around
}

// mutants of a rule, each with one fault; names are unique.
func mutants(r rules.Rule) []mutant {
	var all []mutant
	named := map[string]int{}
	name := ruleName(r)
	add := func(what string, changed rules.Rule) {
		full := name + ": " + what
		if named[full]++; named[full] > 1 {
			full += " #" + strconv.Itoa(named[full])
		}
		all = append(all, mutant{full, changed})
	}
	base := bracketed(r.Expr)
	for i, n := range nodes(base) {
		for j, m := range mutations(n) {
			where := context(base, n)
			changed := rules.Copy(base)
			mutations(nodes(changed)[i])[j].apply()
			mutated := r
			mutated.Expr = rules.Copy(changed) // what can not be parsed is no mutant, and panics
			add(m.what+" in "+where, mutated)
		}
	}
	if r.For > 0 {
		longer := r
		longer.For *= 2
		add("for is doubled", longer)
	}
	if r.KeepFiringFor > 0 {
		shorter := r
		shorter.KeepFiringFor = 0
		add("keep_firing_for is dropped", shorter)
	}
	return all
}

// ruleName tells the tiers of one alert apart.
func ruleName(r rules.Rule) string {
	if r.Labels["long"] != "" {
		return r.Name() + "/" + r.Labels["long"]
	}
	return r.Name()
}

// graph of which rule reads which, by name.
type graph map[string][]string

func readersOf(files rules.Files) graph {
	g := graph{}
	for _, r := range files.Rules() {
		g[r.Name()] = append(g[r.Name()], asked(r.Expr)...)
	}
	return g
}

// below are the names and all that they read, through recordings.
func (g graph) below(names ...string) map[string]bool {
	seen := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		if !seen[name] {
			seen[name] = true
			for _, read := range g[name] {
				visit(read)
			}
		}
	}
	for _, name := range names {
		visit(name)
	}
	return seen
}

// asked are the rules that an expression looks at. One that looks at every alert but some is of none of them.
func asked(expr parser.Expr) []string {
	names := rules.Metrics(expr)
	for _, s := range rules.Selectors(expr) {
		for _, m := range s.LabelMatchers {
			if m.Name == labels.AlertName && m.Type == labels.MatchEqual { // of ALERTS
				names = append(names, m.Value)
			}
		}
	}
	return names
}

func parsed(t *testing.T, expr string) parser.Expr {
	t.Helper()
	e, err := rules.PromQL.ParseExpr(expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return e
}

// narrowed is the test file with only the tests that reach the rule, those that name it or those that do not, and the names of the
// rules that these need; false: there is none.
func (g graph) narrowed(t *testing.T, f testFile, rule string, direct bool) (testFile, map[string]bool, bool) {
	narrow := f
	narrow.Tests = nil
	need := map[string]bool{}
	keep := func(names ...string) bool {
		below := g.below(names...)
		if !below[rule] || slices.Contains(names, rule) != direct {
			return false
		}
		maps.Copy(need, below)
		return true
	}
	for _, group := range f.Tests {
		group.Alerts = slices.DeleteFunc(slices.Clone(group.Alerts), func(a alertTest) bool { return !keep(a.Alert) })
		group.Expressions = slices.DeleteFunc(slices.Clone(group.Expressions), func(e exprTest) bool { return !keep(asked(parsed(t, e.Expr))...) })
		if len(group.Alerts)+len(group.Expressions) > 0 {
			narrow.Tests = append(narrow.Tests, group)
		}
	}
	return narrow, need, len(narrow.Tests) > 0
}

// narrowedFile is a test file with the tests that reach a rule alone, and the names of the rules that these need.
type narrowedFile struct {
	file testFile
	need map[string]bool
}

// steps are the tests that a mutant meets, one step after the other until one tells it: those named after the rule tell most and cost
// least, then come others that name it, then those that reach it through others, file by file, the short ones first.
func (g graph) steps(t *testing.T, tests []testFile, r rules.Rule) [][]narrowedFile {
	var own, direct []narrowedFile
	var indirect [][]narrowedFile
	for _, f := range tests {
		if narrow, need, ok := g.narrowed(t, f, r.Name(), true); !ok {
		} else if f.name == "tests/"+strings.ReplaceAll(ruleName(r), "/", "_")+".yml" {
			own = append(own, narrowedFile{narrow, need})
		} else {
			direct = append(direct, narrowedFile{narrow, need})
		}
		if narrow, need, ok := g.narrowed(t, f, r.Name(), false); ok {
			indirect = append(indirect, []narrowedFile{{narrow, need}})
		}
	}
	slices.SortStableFunc(indirect, func(a, b []narrowedFile) int { return len(a[0].file.Tests) - len(b[0].file.Tests) })
	return slices.DeleteFunc(append([][]narrowedFile{own, direct}, indirect...), func(step []narrowedFile) bool { return len(step) == 0 })
}

// place writes the test with the rules that it needs, one of them changed, into a folder of its own, and gives the test's path.
func place(t *testing.T, folder string, files rules.Files, f testFile, need map[string]bool, rule int, changed rules.Rule) string {
	t.Helper()
	write := func(name string, data []byte, err error) string {
		path := filepath.Join(folder, name)
		if err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	var names []string
	number := 0
	for _, file := range files {
		kept := rules.File{Name: file.Name}
		for _, g := range file.Groups {
			group := rules.Group{Name: g.Name, Interval: g.Interval}
			for _, r := range g.Rules {
				if number == rule {
					r = changed
				}
				number++
				if need[r.Name()] {
					group.Rules = append(group.Rules, r)
				}
			}
			if len(group.Rules) > 0 {
				kept.Groups = append(kept.Groups, group)
			}
		}
		if len(kept.Groups) > 0 && slices.Contains(f.RuleFiles, "../"+file.Name) {
			data, err := kept.YAML()
			write(file.Name, data, err)
			names = append(names, file.Name)
		}
	}
	f.RuleFiles = names
	data, err := yaml.Marshal(f)
	return write("test.yml", data, err)
}

// Output of promtool: a file's section, and what it says of a test that failed. Any other failure is a fault of the mutant or of the
// harness, and proves nothing about the tests.
var (
	section   = regexp.MustCompile(`(?m)^(?:Unit Testing:|Processing test file:) +(.+)$`)
	notAsWant = regexp.MustCompile(`(?m)^ +(alertname: .+, time: |expr: |rule: .+, time: .+, err: )`)
)

// fail runs the tests, and tells which failed, and how.
func fail(t *testing.T, paths []string) map[string]string {
	t.Helper()
	cmd := exec.Command("promtool", append([]string{"test", "rules"}, paths...)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=1000") // many run beside each other
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	text := out.String()
	failed := map[string]string{}
	at := section.FindAllStringSubmatchIndex(text, -1)
	if len(at) != len(paths) {
		t.Fatalf("promtool ran %d of %d tests:\n%s", len(at), len(paths), text)
	}
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		name, said := text[m[2]:m[3]], text[m[1]:end]
		switch {
		case strings.Contains(said, "FAILED"):
			if !notAsWant.MatchString(said) {
				t.Errorf("%s could not be tested:\n%s", name, said)
			}
			failed[name] = said
		case !strings.Contains(said, "SUCCESS"):
			t.Errorf("%s: neither SUCCESS nor FAILED:\n%s", name, said)
		}
	}
	return failed
}

// playAll says whether to play all mutants: CACHEINV_SOAK and CACHEINV_MUTANTS=all ask for it.
func playAll() bool {
	return os.Getenv("CACHEINV_SOAK") != "" || os.Getenv("CACHEINV_MUTANTS") == "all"
}

// played says whether the mutant is played: in an ordinary run one in twenty is, always the same.
func played(name string) bool {
	if playAll() {
		return true
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32()%20 == 0
}

// A fault in a rule makes a test of the rule fail: each number, operator, matcher, window, offset and duration counts. Of one file or
// one rule: -run 'TestMutants/queue.yml/CacheInvalLoop'. With all mutants each rule is tested unchanged too, so that it is the fault
// that fails.
func TestMutants(t *testing.T) {
	files, tests := ruleFiles(t), testFiles(t)
	readers := readersOf(files)
	known := map[string]bool{}
	for _, r := range files.Rules() {
		for _, m := range mutants(r) {
			known[m.name] = true
		}
	}
	for name := range equivalent {
		if !known[name] {
			t.Errorf("equivalent: no mutant is named %q", name)
		}
	}
	began := time.Now()
	number := 0
	t.Cleanup(func() {
		t.Logf("%d rules with %d mutants in %v", number, len(known), time.Since(began).Round(time.Second))
	})
	for _, file := range files {
		for _, g := range file.Groups {
			for _, r := range g.Rules {
				rule := number
				number++
				t.Run(file.Name+"/"+ruleName(r), func(t *testing.T) {
					t.Parallel()
					testMutants(t, files, tests, readers, rule, r)
				})
			}
		}
	}
}

func testMutants(t *testing.T, files rules.Files, tests []testFile, readers graph, rule int, r rules.Rule) {
	t.Helper()
	play := []mutant{{"unchanged", r}}
	for _, m := range mutants(r) {
		if played(m.name) {
			play = append(play, m)
		}
	}
	if len(play) == 1 {
		return
	}
	folder := t.TempDir()
	reached := false
	killed := make([]bool, len(play))
	killed[0] = !playAll() // left out: make check-rules has the whole
	for step, met := range readers.steps(t, tests, r) {
		paths := map[string]int{}
		for i, m := range play {
			for j, n := range met {
				if !killed[i] {
					name := fmt.Sprintf("%d-%d-%d", step, i, j)
					paths[place(t, filepath.Join(folder, name), files, n.file, n.need, rule, m.rule)] = i
				}
			}
		}
		reached = true
		for path, said := range fail(t, slices.Sorted(maps.Keys(paths))) {
			killed[paths[path]] = true
			if paths[path] == 0 {
				t.Fatalf("its tests fail as it is:\n%s", said)
			}
		}
		if !slices.Contains(killed, false) {
			break
		}
	}
	if !reached {
		t.Errorf("no test reaches it")
		return
	}
	for i, m := range play[1:] {
		_, same := equivalent[m.name]
		switch {
		case !killed[i+1] && !same:
			t.Errorf("survives: %s", m.name)
		case killed[i+1] && same:
			t.Errorf("a test tells it, so it is not equivalent: %s", m.name)
		}
	}
}
