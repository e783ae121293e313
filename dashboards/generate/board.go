package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/bundle/settings"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

const (
	runbooks = "https://github.com/cacheinv/cacheinv_exporter/blob/main/docs/runbooks/"
	// schema is that of Grafana 10.0; later ones migrate it.
	schema = 38
	// width of the grid.
	width = 24
	// unknown is what stands where there is no data: an empty panel is no healthy one.
	unknown = "unknown"
)

// Colours that mean something. Those of states are the same on all panels.
const (
	good    = "green"
	ticket  = "orange"
	page    = "red"
	neutral = "blue"
	faint   = "#8e8e8e"
)

var stateColours = map[string]string{
	"fresh": "green", "stale": "red", "undecided": "orange", "missing": faint, "error": "purple", "unverified": "blue",
}

// board is a dashboard that is being drawn. The first fault stays in err.
type board struct {
	rules             rules.Files
	settings          settings.Values
	uid, title, about string
	variables         []string
	panels            []dashboard.PanelOrRowPanel
	id, x, y, rowEnd  uint32
	err               error
}

func (b *board) fail(err error) {
	if err != nil && b.err == nil {
		b.err = err
	}
}

// pages gives what the alert compares the metric with where it pages; the metric may be empty where there is one number.
func (b *board) pages(alert, metric string) limit { return b.thresholdOf(alert, "page", page, metric) }

// tickets is the same where the alert is a ticket.
func (b *board) tickets(alert, metric string) limit {
	return b.thresholdOf(alert, "ticket", ticket, metric)
}

func (b *board) thresholdOf(alert, severity, colour, metric string) limit {
	value, err := b.rules.Threshold(alert, severity, metric)
	b.fail(err)
	value = math.Round(value*1e10) / 1e10 // 14.4 * 0.002 is none of binary fractions
	return limit{value: value, colour: colour, alert: alert}
}

// factor that the alert multiplies the metric with.
func (b *board) factor(alert, metric string) float64 {
	f, err := b.rules.Factor(alert, metric)
	b.fail(err)
	return f
}

// newest of a backend's fact or a verdict, as any exporter saw it; a missed scrape is bridged as in the rules.
func newest(by, selector string) string {
	return "max by (cluster, " + by + ") (last_over_time(" + selector + "[5m]))"
}

// sharded is the sum of what exporters tell by class and more: of those side by side the one that says most, and all shards together.
func sharded(by, each, selector string) string {
	return "sum by (cluster, " + by + ") (max by (cluster, class, " + each + ", shard) (last_over_time(" + selector + "[5m])))"
}

var filters = regexp.MustCompile(`<([a-z]+(?:,[a-z]+)*)>`)

// filter puts matchers of variables in.
func filter(expr string) string {
	return filters.ReplaceAllStringFunc(expr, func(m string) string {
		out := []string{`cluster=~"$cluster"`}
		for _, name := range strings.Split(strings.Trim(m, "<>"), ",") {
			if name != "cluster" {
				out = append(out, fmt.Sprintf(`%s=~"$%s"`, name, name))
			}
		}
		return strings.Join(out, ",")
	})
}

func source() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}

// row begins a new row of panels under a title.
func (b *board) row(title string) {
	b.id++
	b.y, b.x = b.rowEnd, 0
	row := dashboard.NewRowPanel()
	row.Type, row.Title, row.Id = "row", cog.ToPtr(title), b.id
	row.GridPos = &dashboard.GridPos{H: 1, W: width, X: 0, Y: b.y}
	row.Panels = []dashboard.Panel{}
	b.panels = append(b.panels, dashboard.PanelOrRowPanel{RowPanel: row})
	b.y++
	b.rowEnd = b.y
}

// place gives the next panel its id and position: from left to right, and below where it does not fit.
func (b *board) place(w, h uint32) (uint32, *dashboard.GridPos) {
	b.id++
	if b.x+w > width {
		b.x, b.y = 0, b.rowEnd
	}
	pos := &dashboard.GridPos{X: b.x, Y: b.y, W: w, H: h}
	b.x += w
	b.rowEnd = max(b.rowEnd, b.y+h)
	return b.id, pos
}

// others are the dashboards that each links to.
var others = []struct{ uid, path, title string }{
	{"cacheinv-overview", "cacheinv-overview/overview", "Incident overview"},
	{"cacheinv-consistency", "cacheinv-consistency/consistency", "Consistency explorer"},
	{"cacheinv-queues", "cacheinv-queues/queues", "Queues and consumers"},
	{"cacheinv-exporter", "cacheinv-exporter/exporter-health", "Exporter health"},
}

// build gives the dashboard's JSON.
func (b *board) build() ([]byte, error) {
	if b.err != nil {
		return nil, b.err
	}
	builder := dashboard.NewDashboardBuilder(b.title) //nolint:staticcheck // the newer schema is that of Grafana 12 alone
	builder.Uid(b.uid).Description(b.about).Tags([]string{"cacheinv"}).
		Time("now-1h", "now").Refresh("30s").Timezone("browser").Tooltip(dashboard.DashboardCursorSyncCrosshair).Version(1)
	for _, o := range others {
		if o.uid != b.uid {
			builder.Link(dashboard.NewDashboardLinkBuilder(o.title).Type(dashboard.DashboardLinkTypeLink).Icon("dashboard").
				Tooltip(o.title).Url("/d/" + o.path).Tags([]string{}).IncludeVars(true).KeepTime(true))
		}
	}
	builder.Link(dashboard.NewDashboardLinkBuilder("Runbooks").Type(dashboard.DashboardLinkTypeLink).Icon("doc").
		Tooltip("What to do for each alert").Url(runbooks).Tags([]string{}).TargetBlank(true))
	builder.Variables(variables(b.variables))
	builder.Annotation(annotation("Pages", "page", "red")).Annotation(annotation("Tickets", "ticket", "orange"))
	d, err := builder.Build()
	if err != nil {
		return nil, err
	}
	d.SchemaVersion, d.Panels = schema, b.panels
	if err := d.Validate(); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(d, "", "  ")
	return append(data, '\n'), err
}

// annotation marks when alerts began to fire, in both the form of Grafana 10 and that of later ones.
func annotation(name, severity, colour string) *dashboard.AnnotationQueryBuilder {
	expr := filter(fmt.Sprintf(`ALERTS{alertname=~"CacheInval.*",alertstate="firing",severity=%q,<cluster>}`, severity))
	q := prometheus.NewDataqueryBuilder().Expr(expr).RefId("Anno").Range().Datasource(source())
	return dashboard.NewAnnotationQueryBuilder().Name(name).Enable(true).Hide(false).IconColor(colour).Datasource(source()).
		Target(q).Expr(expr).TitleFormat("{{alertname}}").TextFormat("{{severity}}, {{family}}").TagKeys("family").Step("30s").UseValueForTime(false)
}

// lists of values for each variable.
var lists = map[string]struct{ title, from string }{
	"cluster":  {"Cluster", `label_values(cacheinv_build_info, cluster)`},
	"class":    {"Class", `label_values(cacheinv_canary_copies{<cluster>}, class)`},
	"layer":    {"Layer", `label_values(cacheinv_layer_ttl_seconds{<cluster>}, layer)`},
	"node":     {"Node", `label_values(cacheinv_node_up{<layer>}, node)`},
	"queue":    {"Queue", `label_values(cacheinv_queue_up{<cluster>}, queue)`},
	"group":    {"Consumer group", `label_values(cacheinv_consumer_group_processed_total{<queue>}, group)`},
	"instance": {"Exporter", `label_values(up{job="cacheinv_exporter",<cluster>}, instance)`},
}

func variables(names []string) []cog.Builder[dashboard.VariableModel] {
	all := dashboard.VariableOption{
		Selected: cog.ToPtr(true),
		Text:     dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}},
		Value:    dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
	}
	out := []cog.Builder[dashboard.VariableModel]{
		dashboard.NewDatasourceVariableBuilder("datasource").Label("Prometheus").Type("prometheus").Multi(false).IncludeAll(false),
	}
	for _, name := range names {
		l := lists[name]
		expr := filter(l.from)
		out = append(out, dashboard.NewQueryVariableBuilder(name).Label(l.title).Datasource(source()).
			Query(dashboard.StringOrMap{Map: map[string]any{"qryType": 1, "query": expr, "refId": "PrometheusVariableQueryEditor-VariableQuery"}}).
			Definition(expr).Multi(true).IncludeAll(true).AllValue(".*").Current(all).
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc))
	}
	return out
}

// standing is the score above which a cause stands, as the diagnosis has it.
func (b *board) standing() float64 {
	for _, l := range diagnosis.Limits {
		if l.Name == "standing" {
			return l.Value
		}
	}
	b.fail(errors.New("the diagnosis has no limit standing"))
	return 0
}

// drain is the time until a queue is empty, and 0 where as few messages wait as the alert leaves alone: a message or two that
// were not processed yet would never drain at the rate of this moment. A queue has its own limit: beyond it the colour is another,
// and once more where the queue is deep, too.
func (b *board) drain() []query {
	few := number(b.tickets("CacheInvalQueueBacklog", depth).value)
	const limit, deep = "queue:cacheinv_queue_limit_drain:max", "queue:cacheinv_queue_limit_depth:max"
	slow := "queue:cacheinv_queue_drain_seconds:rate2m{<queue>} > " + limit
	return []query{
		{
			expr: "(queue:cacheinv_queue_drain_seconds:rate2m{<queue>} <= " + limit + " and " + depth + "{<queue>} > " + few + ")\n" +
				"or 0 * (" + depth + "{<queue>} <= " + few + ")",
			legend: "{{queue}}", colour: good,
		},
		{expr: "(" + slow + " and " + depth + "{<queue>} > " + few + ") unless " + depth + " > " + deep, legend: "{{queue}}", colour: ticket},
		{expr: slow + " and " + depth + " > " + deep, legend: "{{queue}}", colour: page},
	}
}

const (
	depth  = "queue:cacheinv_queue_depth:max"
	oldest = "queue:cacheinv_queue_oldest_message_age_seconds:max"
)

// depths are what waits, and each queue's own limits.
func depths() []query {
	return []query{
		{expr: depth + "{<queue>}", legend: "{{queue}}"},
		{expr: "queue:cacheinv_queue_limit_depth_ticket:max{<queue>}", legend: "{{queue}} ticket above", colour: ticket, dashed: true, unnamed: true},
		{expr: "queue:cacheinv_queue_limit_depth:max{<queue>}", legend: "{{queue}} page above, if it does not drain", colour: page, dashed: true, unnamed: true},
	}
}

// age of the oldest message, in the colour of the alert that its queue's own limit has fire.
func (b *board) age() []query {
	const limit = "queue:cacheinv_queue_limit_oldest:max"
	ticketAt := number(b.factor("CacheInvalQueueBacklog", limit)) + " * " + limit
	return []query{
		{expr: oldest + "{<queue>} <= " + ticketAt, legend: "{{queue}}", colour: good},
		{expr: oldest + "{<queue>} > " + ticketAt + " <= " + limit, legend: "{{queue}}", colour: ticket},
		{expr: oldest + "{<queue>} > " + limit, legend: "{{queue}}", colour: page},
	}
}
