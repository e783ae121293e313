package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/tools/grafana"
)

const (
	pageWidth = 1280
	column    = float64(pageWidth-8) / 24
	rowHeight = 34
)

// colours that dashboards name, and those of series without one.
var (
	colours = map[string]string{
		"green": "#56a64b", "red": "#e02f44", "orange": "#ff9830", "blue": "#5794f2", "purple": "#b877d9", "yellow": "#fade2a",
	}
	seriesColours = []string{"#73bf69", "#5794f2", "#f2cc0c", "#ff9830", "#b877d9", "#37872d", "#8ab8ff", "#ff7383", "#c0d8ff", "#e0b400", "#ffa6b0", "#a352cc"}
)

func colour(name string) string {
	if c, ok := colours[name]; ok {
		return c
	}
	return name
}

// shown is a series of a panel, with its legend and its query.
type shown struct {
	line
	name, ref, colour string
	// fixed: the colour is the query's own, whatever the value.
	fixed, dashed bool
	// unnamed: it is not in the legend.
	unnamed bool
	// newest and most of its own values, also where it is drawn on top of others.
	newest, most float64
}

// page draws the dashboard; it also gives the page's height in pixels.
func page(ctx context.Context, d *grafana.Dashboard, s source) (string, int, error) {
	var b strings.Builder
	height := 0
	fmt.Fprintf(&b, `<!doctype html><meta charset="utf-8"><title>%s</title><style>%s</style><h1>%s <small>%s to %s UTC</small></h1>`,
		html.EscapeString(d.Title), style, html.EscapeString(d.Title), s.from.UTC().Format("15:04:05"), s.to.UTC().Format("15:04:05"))
	var marks []mark
	for _, a := range d.Annotations.List {
		lines, err := s.ask(ctx, grafana.Fill(a.Expr, nil), false)
		if err != nil {
			return "", 0, err
		}
		for _, l := range lines {
			marks = append(marks, mark{l.points[0].at, map[bool]string{true: "red", false: "orange"}[a.Name == "Pages"]})
		}
	}
	for _, p := range d.Panels {
		g := p.GridPos
		x, y, w, h := float64(g.X)*column+6, float64(g.Y*rowHeight)+38, float64(g.W)*column-6, float64(g.H*rowHeight-6)
		height = max(height, int(y+h)+8)
		if p.Type == "row" {
			fmt.Fprintf(&b, `<div class="row" style="left:%.0fpx;top:%.0fpx;width:%.0fpx;height:%.0fpx">%s</div>`, x, y, w, h, html.EscapeString(p.Title))
			continue
		}
		lines, err := ask(ctx, p, s)
		if err != nil {
			return "", 0, fmt.Errorf("%s: %w", p.Title, err)
		}
		fmt.Fprintf(&b, `<div class="panel" style="left:%.0fpx;top:%.0fpx;width:%.0fpx;height:%.0fpx"><h2>%s</h2>`, x, y, w, h, html.EscapeString(p.Title))
		inner := h - 24
		switch {
		case len(lines) == 0:
			fmt.Fprintf(&b, `<div class="nothing" style="line-height:%.0fpx">%s</div>`, inner-8, html.EscapeString(p.FieldConfig.Defaults.NoValue))
		case p.Type == "stat":
			drawStat(&b, p, lines, w-8, inner-4)
		case p.Type == "bargauge":
			drawBars(&b, p, lines, inner)
		case p.Type == "table":
			drawTable(&b, p, lines, inner)
		default:
			drawSeries(&b, p, lines, s, marks, w, inner)
		}
		b.WriteString("</div>")
	}
	return b.String(), height, nil
}

const style = `body{margin:0;background:#111217;color:#ccccdc;font:11px "DejaVu Sans",sans-serif;position:relative}
h1{font-size:15px;margin:0;padding:10px 8px}h1 small{font-weight:normal;color:#8e8e8e;padding-left:12px}
.row{position:absolute;font-size:13px;font-weight:bold;line-height:28px}
.panel{position:absolute;background:#181b1f;border:1px solid #2a2d33;box-sizing:border-box;overflow:hidden}
h2{font-size:11px;margin:0;padding:4px 6px;height:14px;white-space:nowrap}
.nothing{text-align:center;color:#8e8e8e;font-size:16px}
.stats{display:flex;gap:3px;padding:0 4px}.stat{flex:1;min-width:0;text-align:center;border-radius:2px;color:#fff;overflow:hidden;white-space:nowrap;text-overflow:ellipsis}
.stat b{display:block}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:2px 6px;white-space:nowrap;border-bottom:1px solid #2a2d33}th{color:#8ab8ff}
td.c{color:#fff}.bar{display:flex;align-items:center;padding:0 8px}.bar span{min-width:62px;padding-right:8px}.bar i{height:60%;display:block}.bar u{flex:1;background:#24272c;height:60%;display:block;text-decoration:none}.bar u i{height:100%}.bar b{width:44px;text-align:right}
.legend{padding:0 8px}.legend div{display:flex;white-space:nowrap;line-height:14px}.legend s{width:12px;height:3px;margin:6px 6px 0 0;flex:none}.legend span{flex:1;overflow:hidden;text-overflow:ellipsis}.legend b{font-weight:normal;width:64px;text-align:right}
svg{display:block}svg text{fill:#8e8e8e;font-size:9px}`

// ask gives the panel's series in its own order: by query, then by name.
func ask(ctx context.Context, p grafana.Panel, s source) ([]shown, error) {
	var all []shown
	for _, q := range p.Targets {
		lines, err := s.ask(ctx, grafana.Fill(q.Expr, map[string]string{"__rate_interval": "1m"}), q.Instant)
		if err != nil {
			return nil, err
		}
		var own []shown
		for _, l := range lines {
			one := shown{line: l, name: grafana.Legend(q.LegendFormat, l.labels), ref: q.RefID, newest: l.last(), most: l.most()}
			for _, o := range p.FieldConfig.Overrides {
				if o.Matcher.ID == "byName" && o.Matcher.Options != one.name || o.Matcher.ID == "byFrameRefID" && o.Matcher.Options != q.RefID {
					continue
				}
				for _, property := range o.Properties {
					var value struct {
						FixedColor string `json:"fixedColor"`
					}
					switch property.ID {
					case "color":
						if json.Unmarshal(property.Value, &value) == nil {
							one.colour, one.fixed = colour(value.FixedColor), true
						}
					case "custom.lineStyle":
						one.dashed = true
					case "custom.hideFrom":
						one.unnamed = true
					}
				}
			}
			own = append(own, one)
		}
		slices.SortFunc(own, func(a, b shown) int { return cmp.Compare(a.name, b.name) })
		all = append(all, own...)
	}
	for i := range all {
		if all[i].colour == "" {
			all[i].colour = seriesColours[i%len(seriesColours)]
		}
	}
	return all, nil
}

// look is the text and the colour of a value, by mappings, then thresholds and unit.
func look(f grafana.Field, value float64) (text, shade string) {
	text = format(value, f.Unit, f.Decimals)
	for _, s := range f.Thresholds.Steps {
		if s.Value == nil || value >= *s.Value {
			shade = colour(s.Color)
		}
	}
	for _, m := range f.Mappings {
		var values map[string]struct{ Text, Color string }
		if m.Type != "value" || json.Unmarshal(m.Options, &values) != nil {
			continue
		}
		if r, ok := values[strconv.FormatFloat(value, 'g', -1, 64)]; ok {
			if r.Text != "" {
				text = r.Text
			}
			shade = colour(r.Color)
		}
	}
	return text, shade
}

func drawStat(b *strings.Builder, p grafana.Panel, lines []shown, w, h float64) {
	b.WriteString(`<div class="stats">`)
	for _, l := range lines {
		text, shade := look(p.FieldConfig.Defaults, l.last())
		if l.fixed {
			shade = l.colour
		}
		size := min(h*0.42, 1.25*(w/float64(len(lines)))/float64(max(4, len(text))))
		fmt.Fprintf(b, `<div class="stat" style="background:%s;height:%.0fpx"><b style="font-size:%.0fpx;line-height:%.0fpx">%s</b>%s</div>`,
			shade, h, size, h*0.68, html.EscapeString(text), html.EscapeString(l.name))
	}
	b.WriteString(`</div>`)
}

func drawBars(b *strings.Builder, p grafana.Panel, lines []shown, h float64) {
	f := p.FieldConfig.Defaults
	top := 0.0
	for _, l := range lines {
		top = max(top, l.last())
	}
	if f.Max != nil {
		top = *f.Max
	}
	if top <= 0 {
		top = 1
	}
	for _, l := range lines {
		text, shade := look(f, l.last())
		fmt.Fprintf(b, `<div class="bar" style="height:%.0fpx"><span>%s</span><u><i style="width:%.1f%%;background:%s"></i></u><b style="color:%s">%s</b></div>`,
			min(42, h/float64(len(lines))-2), html.EscapeString(l.name), 100*min(1, l.last()/top), shade, shade, text)
	}
}

// format writes a value in its unit, as Grafana does.
func format(v float64, unit string, decimals *int) string {
	if math.IsInf(v, 0) {
		return "∞"
	}
	plain := func(v float64) string {
		places := 2
		if decimals != nil {
			places = *decimals
		}
		text := strconv.FormatFloat(v, 'f', places, 64)
		if decimals == nil && strings.Contains(text, ".") {
			text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
		}
		return text
	}
	scaled := func(steps ...string) string {
		size := v
		for i, s := range steps {
			if math.Abs(size) < 1000 || i == len(steps)-1 {
				return plain(size) + s
			}
			size /= 1000
		}
		return ""
	}
	switch unit {
	case "percentunit":
		v *= 100
		return plain(v) + "%"
	case "cps":
		return scaled(" c/s", "k c/s", "M c/s")
	case "bytes":
		return scaled(" B", " kB", " MB", " GB")
	case "s":
		switch a := math.Abs(v); {
		case v == 0:
			return "0 s"
		case a < 0.001:
			return plain(v*1e6) + " µs"
		case a < 1:
			return plain(v*1000) + " ms"
		case a < 60:
			return plain(v) + " s"
		case a < 3600:
			return plain(v/60) + " min"
		case a < 86400:
			return plain(v/3600) + " hour"
		}
		return plain(v/86400) + " day"
	case "short":
		return scaled("", " K", " Mil", " Bil")
	}
	return plain(v)
}
