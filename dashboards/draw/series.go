package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/tools/grafana"
)

// mark is a time at which an alert began to fire.
type mark struct {
	at     float64
	colour string
}

func drawSeries(b *strings.Builder, p grafana.Panel, lines []shown, s source, marks []mark, w, h float64) {
	f := p.FieldConfig.Defaults
	if f.Custom.Stacking.Mode == "normal" {
		lines = stack(lines)
	}
	named := slices.DeleteFunc(slices.Clone(lines), func(l shown) bool { return l.unnamed })
	rows := min(len(named), int(max(2, (h-90)/14)))
	c := newChart(f, lines, s, w, h-float64(rows)*14)
	fmt.Fprintf(b, `<svg width="%.0f" height="%.0f">`, w, c.height+chartBottom+8)
	c.drawAxes(b)
	for _, m := range marks {
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="6" y2="%.1f" stroke="%s" stroke-dasharray="2 3"/>`, c.x(m.at), c.x(m.at), c.y(c.low), colour(m.colour))
	}
	c.drawThresholds(b)
	for _, l := range lines {
		c.drawLine(b, l)
	}
	b.WriteString("</svg>")
	drawLegend(b, f, named, rows)
}

// chartLeft and chartBottom are the room for the texts of the axes.
const chartLeft, chartBottom = 52.0, 16.0

// chart is the part of a panel that has axes.
type chart struct {
	field         grafana.Field
	source        source
	width, height float64
	// low and high are the ends of the axis of values, step the distance of its lines.
	low, high, step float64
	// from and to are those of the source, in seconds since the epoch.
	from, to float64
}

// newChart has room for the lines in a width and a height.
func newChart(f grafana.Field, lines []shown, s source, w, h float64) *chart {
	c := &chart{
		field: f, source: s, width: w - chartLeft - 10, height: h - chartBottom - 26,
		from: float64(s.from.UnixMilli()) / 1000, to: float64(s.to.UnixMilli()) / 1000,
	}
	for _, l := range lines {
		for _, pt := range l.points {
			if !math.IsInf(pt.value, 0) {
				c.low, c.high = min(c.low, pt.value), max(c.high, pt.value)
			}
		}
	}
	if f.Max != nil {
		c.high = *f.Max
	}
	c.step = nice((c.high - c.low) / 4)
	c.high = c.step * math.Max(1, math.Ceil(c.high/c.step-1e-9))
	return c
}

func (c *chart) x(at float64) float64 { return chartLeft + c.width*(at-c.from)/(c.to-c.from) }
func (c *chart) y(v float64) float64  { return 6 + c.height*(1-(v-c.low)/(c.high-c.low)) }

func (c *chart) drawAxes(b *strings.Builder) {
	for v := c.low; v <= c.high*1.0001; v += c.step {
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#2a2d33"/><text x="%.1f" y="%.1f" text-anchor="end">%s</text>`,
			chartLeft, chartLeft+c.width, c.y(v), c.y(v), chartLeft-4, c.y(v)+3, format(v, c.field.Unit, nil))
	}
	s := c.source
	for i := range 4 {
		at := s.from.Add(s.to.Sub(s.from) * time.Duration(i+1) / 5)
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, c.x(float64(at.Unix())), c.height+chartBottom+2, at.UTC().Format("15:04:05"))
	}
}

func (c *chart) drawThresholds(b *strings.Builder) {
	if c.field.Custom.ThresholdsStyle.Mode == "off" {
		return
	}
	for _, t := range c.field.Thresholds.Steps {
		if t.Value != nil && *t.Value >= c.low && *t.Value <= c.high {
			fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="%s" stroke-dasharray="8 5"/>`,
				chartLeft, chartLeft+c.width, c.y(*t.Value), c.y(*t.Value), colour(t.Color))
		}
	}
}

func (c *chart) drawLine(b *strings.Builder, l shown) {
	var path strings.Builder
	before := math.Inf(-1)
	for _, pt := range l.points {
		if math.IsInf(pt.value, 0) {
			continue
		}
		verb := "L"
		if pt.at-before > 2*c.source.step.Seconds() { // a gap
			verb = "M"
		}
		before = pt.at
		fmt.Fprintf(&path, "%s%.1f %.1f", verb, c.x(pt.at), c.y(min(pt.value, c.high)))
	}
	dash := ""
	if l.dashed {
		dash = ` stroke-dasharray="6 4"`
	}
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.6"%s/>`, path.String(), l.colour, dash)
}

// drawLegend lists the lines, those whose newest value is highest first, in at most so many rows.
func drawLegend(b *strings.Builder, f grafana.Field, lines []shown, rows int) {
	b.WriteString(`<div class="legend"><div style="color:#8ab8ff"><s></s><span>Name</span><b>Last</b><b>Max</b></div>`)
	legend := slices.Clone(lines)
	slices.SortStableFunc(legend, func(a, c shown) int { return cmp.Compare(c.newest, a.newest) })
	for i, l := range legend {
		if i == rows-1 && len(legend) > rows {
			fmt.Fprintf(b, `<div><s></s><span>and %d more</span></div>`, len(legend)-i)
			break
		}
		fmt.Fprintf(b, `<div><s style="background:%s"></s><span>%s</span><b>%s</b><b>%s</b></div>`,
			l.colour, html.EscapeString(l.name), format(l.newest, f.Unit, f.Decimals), format(l.most, f.Unit, f.Decimals))
	}
	b.WriteString("</div>")
}

// stack puts each series on top of those before it.
func stack(lines []shown) []shown {
	below := map[float64]float64{}
	var out []shown
	for _, l := range lines {
		up := l
		up.points = nil
		for _, pt := range l.points {
			below[pt.at] += pt.value
			up.points = append(up.points, point{pt.at, below[pt.at]})
		}
		out = append(out, up)
	}
	slices.Reverse(out)
	return out
}

// nice is the smallest of 1, 2, 2.5 and 5 times a power of ten that is no less.
func nice(v float64) float64 {
	if v <= 0 {
		return 0.25
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if v <= m*power {
			return m * power
		}
	}
	return 10 * power
}
