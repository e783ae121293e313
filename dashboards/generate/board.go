package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/prometheus/common/model"

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
	uid, title, about string
	variables         []string
	panels            []dashboard.PanelOrRowPanel
	id, x, y, rowEnd  uint32
	err               error
}

// query of a panel. In expr, <class,layer> stands for matchers of these variables and of the cluster.
type query struct {
	expr, legend string
	// colour of its series where the legend is one name; empty: the panel's way.
	colour string
	dashed bool
}

// panel as it is written here; build makes Grafana's own of it.
type panel struct {
	title string
	// What the panel shows, what it looks like when all is well, and what to do where it does not.
	shows, healthy, otherwise string
	unit                      string
	w, h                      uint32
	queries                   []query
	// limits are the thresholds; colour is that below the first, green where there are limits.
	limits []limit
	colour string
	// maps gives values a text and a colour of their own.
	maps []mapping
	// alerts that look at the same, besides those of limits.
	alerts []string
	// colours of series by name, before all else.
	colours  map[string]string
	decimals *float64
	min, max *float64
	stacked  bool
	// links of a value, from title to URL.
	links map[string]string
	// hide and rename columns of a table; sort by this column, up unless down.
	hide   []string
	rename map[string]string
	order  []string
	sort   string
	down   bool
	// noValue is what stands where there is no data; unknown if empty.
	noValue string
}

// limit is one threshold, from an alert.
type limit struct {
	value  float64
	colour string
	alert  string
}

// mapping of one value, or of "nothing" (null and NaN).
type mapping struct{ value, text, colour string }

var (
	upDown     = []mapping{{"0", "down", page}, {"1", "up", good}}
	yesNo      = []mapping{{"0", "failed", page}, {"1", "ok", good}}
	zeroIsGood = []mapping{{"0", "", good}}
)

func (b *board) fail(err error) {
	if err != nil && b.err == nil {
		b.err = err
	}
}

// at is a threshold that the alert compares the metric with; the metric may be empty where there is one number.
func (b *board) at(alert, metric string) limit {
	value, err := b.rules.Threshold(alert, metric)
	b.fail(err)
	return limit{value: value, colour: b.severityColour(alert, metric), alert: alert}
}

// severityColour of an alert; of one with several tiers, of the tier that reads the metric.
func (b *board) severityColour(alert, metric string) string {
	found, err := b.rules.Alerts(alert)
	if err != nil {
		b.fail(err)
		return page
	}
	for _, r := range found {
		if metric == "" || slices.Contains(rules.Metrics(r.Expr), metric) {
			if r.Labels["severity"] == "page" {
				return page
			}
			return ticket
		}
	}
	b.fail(fmt.Errorf("%s does not read %s", alert, metric))
	return page
}

// factor that the alert multiplies the metric with.
func (b *board) factor(alert, metric string) float64 {
	f, err := b.rules.Factor(alert, metric)
	b.fail(err)
	return f
}

// newest of a backend's fact or a verdict, as any exporter saw it; a missed scrape is bridged as in the rules.
func newest(by, selector string) string {
	return "max by (cluster, " + by + ") (last_over_time(" + selector + "[2m]))"
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

// series draws lines over time.
func (b *board) series(p panel) {
	style := common.GraphThresholdsStyleModeOff
	if len(p.limits) > 0 {
		style = common.GraphThresholdsStyleModeDashed
	}
	fill, stack := 8.0, common.StackingModeNone
	if p.stacked {
		fill, stack = 40, common.StackingModeNormal
	}
	built, err := timeseries.NewPanelBuilder().
		DrawStyle(common.GraphDrawStyleLine).LineInterpolation(common.LineInterpolationLinear).LineWidth(2).FillOpacity(fill).
		ShowPoints(common.VisibilityModeAuto).PointSize(4).
		// A gap is a time without data, so it is drawn as one.
		SpanNulls(common.BoolOrFloat64{Bool: cog.ToPtr(false)}).
		Stacking(common.NewStackingConfigBuilder().Mode(stack).Group("A")).
		ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(style)).
		AxisSoftMin(0).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeTable).
			Placement(common.LegendPlacementBottom).Calcs([]string{"lastNotNull", "max"}).SortBy("Last *").SortDesc(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending)).
		Build()
	b.fail(err)
	b.add(built, p, dashboard.FieldColorModeIdPaletteClassicByName, false)
}

// stat shows the newest values large.
func (b *board) stat(p panel) {
	colour := common.BigValueColorModeBackground
	if len(p.limits) == 0 && len(p.maps) == 0 && p.colour == "" {
		colour = common.BigValueColorModeValue
		p.colour = neutral
	}
	built, err := stat.NewPanelBuilder().
		ColorMode(colour).GraphMode(common.BigValueGraphModeNone).TextMode(common.BigValueTextModeValueAndName).
		JustifyMode(common.BigValueJustifyModeAuto).Orientation(common.VizOrientationAuto).WideLayout(true).ShowPercentChange(false).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Values(false).Calcs([]string{"lastNotNull"}).Fields("")).
		Build()
	b.fail(err)
	b.add(built, p, dashboard.FieldColorModeIdThresholds, true)
}

// bars shows the newest values beside each other, on one scale.
func (b *board) bars(p panel) {
	built, err := bargauge.NewPanelBuilder().
		DisplayMode(common.BarGaugeDisplayModeBasic).ValueMode(common.BarGaugeValueModeColor).
		NamePlacement(common.BarGaugeNamePlacementLeft).ShowUnfilled(true).Sizing(common.BarGaugeSizingAuto).
		MinVizWidth(8).MinVizHeight(16).MaxVizHeight(300).Orientation(common.VizOrientationHorizontal).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(false).DisplayMode(common.LegendDisplayModeList).
			Placement(common.LegendPlacementBottom).Calcs([]string{})).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Values(false).Calcs([]string{"lastNotNull"}).Fields("")).
		Build()
	b.fail(err)
	b.add(built, p, dashboard.FieldColorModeIdThresholds, true)
}

// table lists the newest series with their labels as columns.
func (b *board) table(p panel) {
	builder := table.NewPanelBuilder().ShowHeader(true).CellHeight(common.TableCellHeightSm)
	if p.sort != "" {
		builder.SortBy([]cog.Builder[common.TableSortByFieldState]{common.NewTableSortByFieldStateBuilder().DisplayName(p.sort).Desc(p.down)})
	}
	built, err := builder.Build()
	b.fail(err)
	exclude, index := map[string]any{"Time": true}, map[string]any{}
	for _, name := range p.hide {
		exclude[name] = true
	}
	for i, name := range p.order {
		index[name] = i
	}
	rename := map[string]any{}
	for from, to := range p.rename {
		rename[from] = to
	}
	built.Transformations = []dashboard.DataTransformerConfig{{
		Id:      "organize",
		Options: map[string]any{"excludeByName": exclude, "indexByName": index, "renameByName": rename},
	}}
	b.add(built, p, dashboard.FieldColorModeIdThresholds, true)
}

// add completes a panel with what all kinds have.
func (b *board) add(built dashboard.Panel, p panel, mode dashboard.FieldColorModeId, instant bool) {
	id, pos := b.place(p.w, p.h)
	built.Id, built.GridPos = &id, pos
	built.Title, built.Datasource = &p.title, cog.ToPtr(source())
	built.Transparent = cog.ToPtr(false)

	if built.FieldConfig == nil {
		built.FieldConfig = dashboard.NewFieldConfigSource()
	}
	field := &built.FieldConfig.Defaults
	field.Unit, field.Decimals, field.Min, field.Max = &p.unit, p.decimals, p.min, p.max
	field.NoValue = cog.ToPtr(unknown)
	if p.noValue != "" {
		field.NoValue = &p.noValue
	}
	field.Color = &dashboard.FieldColor{Mode: mode}
	field.Mappings = mappings(p.maps)
	if p.colour == "" {
		p.colour = good
	}
	steps := []dashboard.Threshold{{Value: nil, Color: p.colour}}
	names := slices.Clone(p.alerts)
	for _, l := range p.limits {
		steps = append(steps, dashboard.Threshold{Value: cog.ToPtr(l.value), Color: l.colour})
		if l.alert != "" {
			names = append(names, l.alert)
		}
	}
	if !slices.IsSortedFunc(steps[1:], func(a, b dashboard.Threshold) int { return int(1000 * (*a.Value - *b.Value)) }) {
		b.fail(fmt.Errorf("%s: thresholds are not in their order", p.title))
	}
	field.Thresholds = &dashboard.ThresholdsConfig{Mode: dashboard.ThresholdsModeAbsolute, Steps: steps}

	built.FieldConfig.Overrides = []dashboard.DashboardFieldConfigSourceOverrides{}
	for i, q := range p.queries {
		ref := string(rune('A' + i))
		built.Targets = append(built.Targets, target(q, ref, instant, built.Type == "table"))
		if q.colour != "" || q.dashed {
			built.FieldConfig.Overrides = append(built.FieldConfig.Overrides, override("byFrameRefID", ref, queryStyle(q)))
		}
	}
	for _, name := range sorted(p.colours) {
		built.FieldConfig.Overrides = append(built.FieldConfig.Overrides, override("byName", name, []dashboard.DynamicConfigValue{fixed(p.colours[name])}))
	}
	for _, title := range sorted(p.links) {
		field.Links = append(field.Links, link(title, p.links[title]))
	}
	if built.Type == "table" {
		built.FieldConfig.Overrides = append(built.FieldConfig.Overrides, columns(p)...)
	}

	slices.Sort(names)
	names = slices.Compact(names)
	built.Description = cog.ToPtr(b.describe(p, names))
	for _, name := range names {
		built.Links = append(built.Links, link("Runbook: "+name, runbooks+name+".md"))
	}
	b.panels = append(b.panels, dashboard.PanelOrRowPanel{Panel: &built})
}

func target(q query, ref string, instant, asTable bool) variants.Dataquery {
	format := prometheus.PromQueryFormatTimeSeries
	if asTable {
		format = prometheus.PromQueryFormatTable
	}
	out := prometheus.NewDataquery()
	out.Datasource, out.EditorMode, out.RefId = cog.ToPtr(source()), cog.ToPtr(prometheus.QueryEditorModeCode), &ref
	out.Expr, out.LegendFormat, out.Format = filter(q.expr), &q.legend, &format
	out.Instant, out.Range, out.Exemplar = &instant, cog.ToPtr(!instant), cog.ToPtr(false)
	return out
}

func fixed(colour string) dashboard.DynamicConfigValue {
	return dashboard.DynamicConfigValue{Id: "color", Value: map[string]any{"mode": "fixed", "fixedColor": colour}}
}

func queryStyle(q query) []dashboard.DynamicConfigValue {
	var out []dashboard.DynamicConfigValue
	if q.colour != "" {
		out = append(out, fixed(q.colour))
	}
	if q.dashed {
		out = append(out,
			dashboard.DynamicConfigValue{Id: "custom.lineStyle", Value: map[string]any{"fill": "dash", "dash": []int{8, 6}}},
			dashboard.DynamicConfigValue{Id: "custom.fillOpacity", Value: 0})
	}
	return out
}

func override(matcher, name string, properties []dashboard.DynamicConfigValue) dashboard.DashboardFieldConfigSourceOverrides {
	return dashboard.DashboardFieldConfigSourceOverrides{Matcher: dashboard.MatcherConfig{Id: matcher, Options: name}, Properties: properties}
}

// columns of a table: values are coloured, and an alert's name leads to its runbook.
func columns(p panel) []dashboard.DashboardFieldConfigSourceOverrides {
	var out []dashboard.DashboardFieldConfigSourceOverrides
	value := "Value"
	if name, ok := p.rename["Value"]; ok {
		value = name
	}
	if !slices.Contains(p.hide, "Value") {
		out = append(out, override("byName", value, []dashboard.DynamicConfigValue{
			{Id: "custom.cellOptions", Value: map[string]any{"type": "color-background", "mode": "basic"}},
		}))
	}
	if name, ok := p.rename["alertname"]; ok {
		out = append(out, override("byName", name, []dashboard.DynamicConfigValue{
			{Id: "links", Value: []map[string]any{{"title": "Runbook", "url": runbooks + "${__value.raw}.md", "targetBlank": true}}},
		}))
	}
	return out
}

func mappings(maps []mapping) []dashboard.ValueMapping {
	values := dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: map[string]dashboard.ValueMappingResult{}}
	for i, m := range maps {
		result := dashboard.ValueMappingResult{Color: cog.ToPtr(m.colour), Index: cog.ToPtr(int32(i))}
		if m.text != "" {
			result.Text = cog.ToPtr(m.text)
		}
		values.Options[m.value] = result
	}
	nothing := dashboard.SpecialValueMap{
		Type: dashboard.MappingTypeSpecialValue,
		Options: dashboard.DashboardSpecialValueMapOptions{
			Match:  dashboard.SpecialValueMatchNullAndNan,
			Result: dashboard.ValueMappingResult{Text: cog.ToPtr(unknown), Color: cog.ToPtr(faint), Index: cog.ToPtr(int32(len(maps)))},
		},
	}
	out := []dashboard.ValueMapping{{SpecialValueMap: &nothing}}
	if len(maps) > 0 {
		out = append([]dashboard.ValueMapping{{ValueMap: &values}}, out...)
	}
	return out
}

// describe tells what the panel shows, what is healthy, what to do, and which alerts look at the same.
func (b *board) describe(p panel, names []string) string {
	if p.shows == "" || p.healthy == "" || p.otherwise == "" {
		b.fail(fmt.Errorf("%s: write what it shows, what is healthy and what to do otherwise", p.title))
	}
	lines := []string{p.shows, "**Healthy:** " + p.healthy, "**Otherwise:** " + p.otherwise}
	var told []string
	for _, name := range names {
		found, err := b.rules.Alerts(name)
		if err != nil {
			b.fail(err)
			continue
		}
		for _, r := range found {
			when := "at once"
			if r.For > 0 {
				when = "after " + model.Duration(r.For).String()
			}
			told = append(told, fmt.Sprintf("[%s](%s%s.md) (%s, %s)", name, runbooks, name, r.Labels["severity"], when))
		}
	}
	if len(told) > 0 {
		lines = append(lines, "**Alerts:** "+strings.Join(told, ", ")+".")
	}
	return strings.Join(lines, "\n\n")
}

func link(title, url string) dashboard.DashboardLink {
	return dashboard.DashboardLink{
		Title: title, Type: dashboard.DashboardLinkTypeLink, Icon: "external link", Tooltip: title, Url: &url, Tags: []string{}, TargetBlank: true,
	}
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
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
// were not processed yet would never drain at the rate of this moment.
func (b *board) drain() string {
	few, err := b.rules.Threshold("CacheInvalQueueDrainSlow", "queue:cacheinv_queue_depth:max")
	b.fail(err)
	return `(queue:cacheinv_queue_drain_seconds:rate2m{<queue>} and queue:cacheinv_queue_depth:max{<queue>} > ` + number(few) + `)
or 0 * (queue:cacheinv_queue_depth:max{<queue>} <= ` + number(few) + `)`
}
