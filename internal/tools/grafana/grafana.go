// Package grafana reads the JSON of Grafana's dashboards, as far as tests and pictures of ours need it.
//
// [Parse] gives a [Dashboard] with its [Panel]s and their queries.
package grafana

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Dashboard of Grafana.
type Dashboard struct {
	UID           string   `json:"uid"`
	Title         string   `json:"title"`
	Description   string   `json:"description"`
	Tags          []string `json:"tags"`
	SchemaVersion int      `json:"schemaVersion"`
	Panels        []Panel  `json:"panels"`
	Templating    struct {
		List []Variable `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []Annotation `json:"list"`
	} `json:"annotations"`
	Links []Link `json:"links"`
}

// Panel of a dashboard; a row is one of type "row".
type Panel struct {
	ID          int     `json:"id"`
	Type        string  `json:"type"`
	Title       string  `json:"title"`
	Description string  `json:"description"`
	GridPos     GridPos `json:"gridPos"`
	// Collapsed panels are in the row itself.
	Collapsed       bool             `json:"collapsed"`
	Panels          []Panel          `json:"panels"`
	Datasource      Source           `json:"datasource"`
	Targets         []Target         `json:"targets"`
	Links           []Link           `json:"links"`
	FieldConfig     FieldConfig      `json:"fieldConfig"`
	Options         Options          `json:"options"`
	Transformations []Transformation `json:"transformations"`
}

// GridPos is a place on a grid of 24 columns.
type GridPos struct{ X, Y, W, H int }

// Source of data.
type Source struct{ Type, UID string }

// Target is one query of a panel.
type Target struct {
	RefID        string `json:"refId"`
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
	Format       string `json:"format"`
	Instant      bool   `json:"instant"`
	Range        bool   `json:"range"`
	Datasource   Source `json:"datasource"`
}

// Link of a dashboard, a panel or a value.
type Link struct {
	Title       string `json:"title"`
	Type        string `json:"type"`
	URL         string `json:"url"`
	IncludeVars bool   `json:"includeVars"`
	KeepTime    bool   `json:"keepTime"`
}

// FieldConfig says how values are shown.
type FieldConfig struct {
	Defaults  Field      `json:"defaults"`
	Overrides []Override `json:"overrides"`
}

// Field is how one series or column is shown.
type Field struct {
	Unit       string     `json:"unit"`
	Decimals   *int       `json:"decimals"`
	Min        *float64   `json:"min"`
	Max        *float64   `json:"max"`
	NoValue    string     `json:"noValue"`
	Mappings   []Mapping  `json:"mappings"`
	Thresholds Thresholds `json:"thresholds"`
	Links      []Link     `json:"links"`
	Custom     struct {
		ThresholdsStyle struct{ Mode string } `json:"thresholdsStyle"`
		Stacking        struct{ Mode string } `json:"stacking"`
	} `json:"custom"`
}

// Thresholds in their order; the first has no value.
type Thresholds struct {
	Mode  string `json:"mode"`
	Steps []Step `json:"steps"`
}

// Step is one threshold: from Value on the colour is Color.
type Step struct {
	Value *float64 `json:"value"`
	Color string   `json:"color"`
}

// Mapping of values to texts and colours; Options depend on Type.
type Mapping struct {
	Type    string          `json:"type"`
	Options json.RawMessage `json:"options"`
}

// Override of a field's look.
type Override struct {
	Matcher struct {
		ID      string `json:"id"`
		Options string `json:"options"`
	} `json:"matcher"`
	Properties []struct {
		ID    string          `json:"id"`
		Value json.RawMessage `json:"value"`
	} `json:"properties"`
}

// Options of a panel, of all kinds.
type Options struct {
	Legend        *struct{ Calcs []string } `json:"legend"`
	Tooltip       *struct{ Mode string }    `json:"tooltip"`
	ReduceOptions *struct{ Calcs []string } `json:"reduceOptions"`
	SortBy        []struct {
		DisplayName string `json:"displayName"`
		Desc        bool   `json:"desc"`
	} `json:"sortBy"`
}

// Transformation of a table's columns, for id "organize".
type Transformation struct {
	ID      string `json:"id"`
	Options struct {
		ExcludeByName map[string]bool   `json:"excludeByName"`
		IndexByName   map[string]int    `json:"indexByName"`
		RenameByName  map[string]string `json:"renameByName"`
	} `json:"options"`
}

// Variable of a dashboard. Query is empty for a data source.
type Variable struct {
	Name       string `json:"name"`
	Type       string `json:"type"`
	Multi      bool   `json:"multi"`
	IncludeAll bool   `json:"includeAll"`
	AllValue   string `json:"allValue"`
	Definition string `json:"definition"`
	// RawQuery is a text for data sources, and holds Query for queries.
	RawQuery json.RawMessage `json:"query"`
}

// Annotation query.
type Annotation struct {
	Name        string `json:"name"`
	Enable      bool   `json:"enable"`
	Expr        string `json:"expr"`
	TitleFormat string `json:"titleFormat"`
	TextFormat  string `json:"textFormat"`
	TagKeys     string `json:"tagKeys"`
	Target      Target `json:"target"`
	Datasource  Source `json:"datasource"`
}

// Parse reads a dashboard.
func Parse(data []byte) (*Dashboard, error) {
	var d Dashboard
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, err
	}
	return &d, nil
}

// All panels of the dashboard but rows, those in collapsed rows too.
func (d *Dashboard) All() []Panel {
	var all []Panel
	for _, p := range d.Panels {
		if p.Type == "row" {
			all = append(all, p.Panels...)
			continue
		}
		all = append(all, p)
	}
	return all
}

// LabelValues of a variable: the selector that its query asks, and the label whose values it lists; false for a variable of
// another kind.
func (v Variable) LabelValues() (selector, label string, ok bool) {
	var query struct {
		Query string `json:"query"`
	}
	if v.Type != "query" || json.Unmarshal(v.RawQuery, &query) != nil {
		return "", "", false
	}
	m := labelValues.FindStringSubmatch(query.Query)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

var labelValues = regexp.MustCompile(`^label_values\((.+), *(\w+)\)$`)

// Query is something that the dashboard asks Prometheus.
type Query struct {
	// Where it stands, for messages: `panel 3 "Queue depth" A`, `variable class`, `annotation Pages`.
	Where string
	// Panel's id; 0 for variables and annotations.
	Panel  int
	RefID  string
	Expr   string // with variables put in
	Legend string
	// Instant queries are asked once, at the end of the time that is shown.
	Instant bool
	// Labels that the legend or the variable names.
	Labels []string
}

// Queries of the dashboard, all of them: panels', variables' and annotations'. Each $name in them is replaced by values[name], or
// by .* where that is not set; $__rate_interval is 2m, $__interval 15s and $__range 1h unless values says otherwise.
func (d *Dashboard) Queries(values map[string]string) []Query {
	var all []Query
	for _, p := range d.All() {
		for _, t := range p.Targets {
			all = append(all, Query{
				Where: fmt.Sprintf("panel %d %q %s", p.ID, p.Title, t.RefID), Panel: p.ID, RefID: t.RefID,
				Expr: Fill(t.Expr, values), Legend: t.LegendFormat, Instant: t.Instant, Labels: LegendLabels(t.LegendFormat),
			})
		}
	}
	for _, v := range d.Templating.List {
		if selector, label, ok := v.LabelValues(); ok {
			all = append(all, Query{Where: "variable " + v.Name, Expr: Fill(selector, values), Instant: true, Labels: []string{label}})
		}
	}
	for _, a := range d.Annotations.List {
		all = append(all, Query{
			Where: "annotation " + a.Name, Expr: Fill(a.Expr, values),
			Labels: append(LegendLabels(a.TitleFormat+a.TextFormat), strings.FieldsFunc(a.TagKeys, func(r rune) bool { return r == ',' || r == ' ' })...),
		})
	}
	return all
}

var variableReference = regexp.MustCompile(`\$(\w+)|\$\{(\w+)(?::\w+)?\}`)

// Fill puts the values of variables into a query, as Queries does.
func Fill(expr string, values map[string]string) string {
	return variableReference.ReplaceAllStringFunc(expr, func(m string) string {
		parts := variableReference.FindStringSubmatch(m)
		name := parts[1] + parts[2]
		if value, ok := values[name]; ok {
			return value
		}
		switch name {
		case "__rate_interval":
			return "2m"
		case "__interval":
			return "15s"
		case "__range":
			return "1h"
		case "1": // a group of a regular expression, as in label_replace
			return m
		}
		return ".*"
	})
}

var legendLabel = regexp.MustCompile(`{{\s*(\w+)\s*}}`)

// LegendLabels are the labels that a legend names.
func LegendLabels(legend string) []string {
	var names []string
	for _, m := range legendLabel.FindAllStringSubmatch(legend, -1) {
		names = append(names, m[1])
	}
	return names
}

// Legend of a series with these labels.
func Legend(format string, labels map[string]string) string {
	return legendLabel.ReplaceAllStringFunc(format, func(m string) string {
		return labels[legendLabel.FindStringSubmatch(m)[1]]
	})
}
