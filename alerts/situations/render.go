package situations

import (
	"bytes"
	"fmt"
	"time"

	"go.yaml.in/yaml/v4"
)

// RuleFiles are those that each situation plays, beside the folder of the tests.
var RuleFiles = []string{"application.yml", "canary.yml", "event.yml", "exporter.yml", "invalidation.yml", "node.yml", "queue.yml"}

// GroupOrder is that in which groups are evaluated: what is recorded before what reads it. Prometheus has no order, but looks again soon;
// where a test's evaluations are far apart, another order would be another result.
var GroupOrder = []string{
	"cacheinv-queue", "cacheinv-node", "cacheinv-exporter", "cacheinv-invalidation", "cacheinv-canary", "cacheinv-event", "cacheinv-application",
	"cacheinv-queue-history", "cacheinv-node-history", "cacheinv-exporter-history", "cacheinv-invalidation-history", "cacheinv-canary-history",
	"cacheinv-event-history",
}

// A file of promtool's tests.
type (
	file struct {
		RuleFiles []string `yaml:"rule_files"`
		Order     []string `yaml:"group_eval_order"`
		Interval  string   `yaml:"evaluation_interval"`
		Tests     []test   `yaml:"tests"`
	}
	test struct {
		Name        string  `yaml:"name"`
		Interval    string  `yaml:"interval"`
		Series      []input `yaml:"input_series"`
		Expressions []query `yaml:"promql_expr_test"`
	}
	input struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	}
	query struct {
		Expr    string   `yaml:"expr"`
		At      string   `yaml:"eval_time"`
		Samples []sample `yaml:"exp_samples,omitempty"`
	}
	sample struct {
		Labels string  `yaml:"labels"`
		Value  float64 `yaml:"value"`
	}
)

// Files are the situations under these settings, as tests for promtool: by the file's name, for the folder tests beside the rules.
func Files(s Settings) (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, c := range chapters(s) {
		f := file{Interval: short(c.evaluate), Order: GroupOrder}
		for _, name := range RuleFiles {
			f.RuleFiles = append(f.RuleFiles, "../"+name)
		}
		for _, one := range c.situations {
			f.Tests = append(f.Tests, one.test(s, c.evaluate))
		}
		var text bytes.Buffer
		fmt.Fprintf(&text, "# Situations of ordinary life: %s. Rendered from alerts/situations; do not edit.\n", c.about)
		encoder, err := yaml.NewDumper(&text, yaml.WithIndent(2), yaml.WithLineWidth(-1))
		if err != nil {
			return nil, err
		}
		if err := encoder.Dump(f); err != nil {
			return nil, err
		}
		if err := encoder.Close(); err != nil {
			return nil, err
		}
		all["situations_"+c.name+".yml"] = text.Bytes()
	}
	return all, nil
}

func (one situation) test(s Settings, evaluate time.Duration) test {
	step := one.scrape
	if step == 0 {
		step = s.ScrapeInterval
	}
	t := test{Name: one.name, Interval: short(step)}
	for _, x := range one.series {
		if values := samples(x.value, step, one.lasts); values != "" {
			t.Series = append(t.Series, input{Series: x.name + x.labels.String(), Values: values})
		}
	}
	for _, e := range one.expect {
		at := e.at
		if at == 0 || e.steady {
			at = one.lasts
		}
		t.Expressions = append(t.Expressions, query{Expr: e.query(one.lasts, evaluate) + " # " + one.name, At: short(at), Samples: e.samples()})
	}
	return t
}

// chapters are the table.
func chapters(s Settings) []chapter {
	return []chapter{
		copiesChapter(s), classesChapter(s), nodesChapter(s), queuesChapter(s), invalidationsChapter(s), exportersChapter(s), hoursChapter(s), daysChapter(s), incidentsChapter(s),
		eventsChapter(s),
	}
}
