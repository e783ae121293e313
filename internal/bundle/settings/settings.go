// Package settings has the numbers and names of the rules that belong to no subject of the configuration, and puts a user's own in
// their places.
//
// [All] is the table of them, [Values] what a user chose. [Values.Render] writes a file of the bundle with these: numbers on lines that
// name their setting ([Marks]), names wherever PromQL, YAML and templates hold them.
package settings

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

// Setting is one line of the table.
type Setting struct {
	Name, Default string
	// About says what it does, for --list-settings and docs/install.md.
	About string
	kind  kind
}

// kind of a setting's values.
type kind int

const (
	share    kind = iota // 0.01 or 1%
	budget               // the same, at most largestBudget
	latency              // 500ms, less than topBucket
	interval             // 30s, at most longestInterval
	severity             // value of the label severity
	word                 // a job's name
	label                // name of a label
	address              // URL
)

// Numbers, which files hold on marked lines.
var (
	StaleShare         = &Setting{"stale_share", "0.01", "Share of a class's copies that are overdue, or outlived a delete, from which on users are harmed: CacheInvalHighStaleDataRate pages.", share}
	Budget             = &Setting{"budget", "0.001", "Share of reads that may be overdue in the long run. Its burning at 14.4 and 6 times pages, at 3 times and once is a ticket. At most 6.9%, of which 14.4 times are nearly all.", budget}
	EventBudget        = &Setting{"event_budget", "0.001", "Share of invalidations that may miss their promise in the long run, which is three nines: CacheInvalNotEffective, in the tiers of budget. At most 6.9%.", budget}
	FailureShare       = &Setting{"failure_share", "0.05", "Share of invalidations that fail, from which on CacheInvalFailureRatio pages.", share}
	FailureShareTicket = &Setting{"failure_share_ticket", "0.01", "The same for its ticket.", share}
	Latency            = &Setting{"latency", "500ms", "Time within which an invalidation has to reach the copies: CacheInvalLatencyHigh. Less than 1m, the top bucket of the probes' times.", latency}
	ScrapeInterval     = &Setting{"scrape_interval", "30s", "Longest scrape interval that is in order, and that of the ServiceMonitor if it is longer than usual. At most 2m, which is as far as the rules look back for two scrapes.", interval}
)

// Names, which files hold wherever PromQL, YAML or a template speaks of them.
var (
	SeverityPage   = &Setting{"severity_page", "page", "Value of the label severity of what pages.", severity}
	SeverityTicket = &Setting{"severity_ticket", "ticket", "Value of the label severity of what can wait for the day.", severity}
	Job            = &Setting{"job", "cacheinv_exporter", "Name of the job that scrapes the exporters.", word}
	ClusterLabel   = &Setting{"cluster_label", "cluster", "Name of the label that tells clusters apart.", label}
	RunbooksURL    = &Setting{"runbooks_url", "https://github.com/cacheinv/cacheinv_exporter/blob/main/docs/runbooks", "Where annotations and links find the runbooks; --runbooks.url is the same.", address}
	GrafanaURL     = &Setting{"grafana_url", "http://localhost:3000", "Where annotations and links find Grafana; --grafana.url is the same.", address}
)

// All settings, in the order in which they are listed.
var All = []*Setting{
	StaleShare, Budget, EventBudget, FailureShare, FailureShareTicket, Latency, ScrapeInterval,
	SeverityPage, SeverityTicket, Job, ClusterLabel, RunbooksURL, GrafanaURL,
}

// Named gives the setting of that name.
func Named(name string) (*Setting, error) {
	var names []string
	for _, s := range All {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	if near := form.Nearest(name, names); near != "" {
		return nil, fmt.Errorf("there is no setting %q; did you mean %s?", name, near)
	}
	return nil, fmt.Errorf("there is no setting %q; --list-settings has all of them", name)
}

// Numeric tells whether files hold it as a number, on marked lines.
func (s *Setting) Numeric() bool { return s.isShare() || s.isDuration() }

func (s *Setting) isShare() bool { return s.kind == share || s.kind == budget }

func (s *Setting) isDuration() bool { return s.kind == latency || s.kind == interval }

// longestInterval between scrapes for which the rules are written: windows of five minutes hold two of them, and a lost one hides nothing.
const longestInterval = model.Duration(2 * time.Minute)

// largestBudget is just below 1/14.4: no share is more than 14.4 times a larger one, and nothing could page.
const largestBudget = 0.069

// topBucket of cacheinv_invalidation_probe_duration_seconds: no quantile of it is more.
const topBucket = model.Duration(time.Minute)

// Values are what a user chose; the others have their defaults. The zero value has nothing but defaults.
type Values struct{ chosen map[*Setting]string }

// With gives the values with one more choice; an empty value takes the default again. The error says what the value is, and what to
// write instead.
func (v Values) With(s *Setting, value string) (Values, error) {
	w := Values{maps.Clone(v.chosen)}
	if w.chosen == nil {
		w.chosen = map[*Setting]string{}
	}
	if value == "" {
		delete(w.chosen, s)
		return w, nil
	}
	plain, err := s.parse(value)
	if err != nil {
		return v, fmt.Errorf("is %q; %w", value, err)
	}
	w.chosen[s] = plain
	return w, nil
}

// Valid tells what the values cannot be together.
func (v Values) Valid() error {
	if page := v.Text(SeverityPage); page == v.Text(SeverityTicket) {
		return fmt.Errorf("severity_page and severity_ticket are both %q; write two names", page)
	}
	if v.Number(FailureShareTicket) > v.Number(FailureShare) {
		return fmt.Errorf("failure_share_ticket is %s and failure_share %s; the ticket comes first, so write the smaller number for it",
			v.Text(FailureShareTicket), v.Text(FailureShare))
	}
	return nil
}

// Text of a setting's value, as files hold it.
func (v Values) Text(s *Setting) string {
	if text, ok := v.chosen[s]; ok {
		return text
	}
	return s.Default
}

// Number of a setting that is one: a share, or seconds.
func (v Values) Number(s *Setting) float64 {
	text := v.Text(s)
	if s.isDuration() {
		d, _ := model.ParseDuration(text) // parsed before
		return float64(d) / 1e9
	}
	number, _ := strconv.ParseFloat(text, 64)
	return number
}

// Chosen are the settings that have another value than their default, in the order of the table.
func (v Values) Chosen() []*Setting {
	return slices.DeleteFunc(slices.Clone(All), func(s *Setting) bool { return v.Text(s) == s.Default })
}

var (
	// plainURL has nothing that YAML, JSON, a template, or a regular expression in them would read otherwise.
	plainURL  = regexp.MustCompile(`^https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9._~+@=-]*)*$`)
	plainWord = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)
	labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

// ours are labels that series have beside the cluster's.
var ours = []string{
	"alertname", "alertstate", "app", "branch", "cause", "class", "collector", "eviction_policy", "family", "goarch", "goos", "goversion", "group",
	"history", "instance", "job", "key", "kind", "layer", "le", "limit", "name", "node", "origin", "outcome", "part", "partition", "pod", "probe", "queue",
	"reason", "reference", "result", "revision", "role", "setting", "severity", "shard", "source", "state", "strategy", "tags", "topic", "version", "window",
}

// parse gives the value as files hold it.
func (s *Setting) parse(value string) (string, error) {
	switch s.kind {
	case share:
		return parseShare(value)
	case budget:
		plain, err := parseShare(value)
		if number, _ := strconv.ParseFloat(plain, 64); number > largestBudget {
			return "", fmt.Errorf("write a share of at most 6.9%%, such as 0.1%%: 14.4 times a larger one is more than all there is, so that its alert could never page")
		}
		return plain, err
	case interval:
		return s.parseDuration(value, longestInterval, "at most 2m")
	case latency:
		return s.parseDuration(value, topBucket-model.Duration(time.Millisecond),
			"less than 1m, the top bucket of cacheinv_invalidation_probe_duration_seconds: with more, CacheInvalLatencyHigh could never fire")
	case severity:
		if !plainWord.MatchString(value) || value == "info" || value == "none" {
			return "", fmt.Errorf("write a word of letters, digits, _ and -, other than info and none, which the rules have for themselves")
		}
	case word:
		if !plainWord.MatchString(value) {
			return "", fmt.Errorf("write a word of letters, digits, _ and -")
		}
	case label:
		if !labelName.MatchString(value) || strings.HasPrefix(value, "__") {
			return "", fmt.Errorf("write the name of a label, such as cluster")
		}
		if slices.Contains(ours, value) {
			return "", fmt.Errorf("series of the exporter and of the rules have this label for something else; write another")
		}
	case address:
		if !plainURL.MatchString(value) {
			return "", fmt.Errorf("write a URL such as https://grafana.example/path, without user, query and fragment")
		}
		return strings.TrimRight(value, "/"), nil
	}
	return value, nil
}

// parseDuration of at most the longest; words say how long that is, and why.
func (s *Setting) parseDuration(value string, longest model.Duration, words string) (string, error) {
	d, err := model.ParseDuration(value)
	if err != nil || d <= 0 || d > longest {
		return "", fmt.Errorf("write a duration such as %s, of %s", s.Default, words)
	}
	return d.String(), nil
}

// parseShare reads 0.02 or 2%.
func parseShare(value string) (string, error) {
	text, percent := strings.CutSuffix(value, "%")
	number, err := strconv.ParseFloat(text, 64)
	if percent {
		number /= 100
	}
	if err != nil || !(number >= 1e-6 && number < 1) || strings.ContainsAny(text, "xXpP_") {
		return "", fmt.Errorf("write a share between 0 and 1, such as 0.02 or 2%%")
	}
	return decimal(number), nil
}

// decimal writes a number without an exponent, and without the last digits, which are those of binary fractions.
func decimal(number float64) string {
	text := strconv.FormatFloat(number, 'f', 10, 64)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}
