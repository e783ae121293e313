package main

import (
	"fmt"
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
)

// query of a panel. In expr, <class,layer> stands for matchers of these variables and of the cluster.
type query struct {
	expr, legend string
	// colour of its series where the legend is one name; empty: the panel's way.
	colour string
	dashed bool
	// unnamed: the line is not in the legend, only in the tooltip.
	unnamed bool
}

// panel as it is written here; add makes Grafana's own of it.
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
		if q.colour != "" || q.dashed || q.unnamed {
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
	if q.unnamed {
		out = append(out, dashboard.DynamicConfigValue{Id: "custom.hideFrom", Value: map[string]any{"legend": true, "tooltip": false, "viz": false}})
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
		var severities []string
		for _, r := range found {
			severities = append(severities, "severity "+r.Labels["severity"])
		}
		slices.Sort(severities)
		told = append(told, fmt.Sprintf("[%s](%s%s.md) (%s)", name, runbooks, name, strings.Join(slices.Compact(severities), " or ")))
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
