package main

import (
	"cmp"
	"fmt"
	"html"
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/tools/grafana"
)

func drawTable(b *strings.Builder, p grafana.Panel, lines []shown, h float64) {
	columns := tableColumns(p, lines)
	sortRows(p, columns, lines)
	b.WriteString("<table><tr>")
	for _, name := range columns {
		fmt.Fprintf(b, "<th>%s</th>", html.EscapeString(columnTitle(p, name)))
	}
	b.WriteString("</tr>")
	for _, l := range lines[:min(len(lines), int(h/18)-1)] {
		b.WriteString("<tr>")
		for _, name := range columns {
			text, shade, _ := cell(p, l, name)
			if shade != "" {
				fmt.Fprintf(b, `<td class="c" style="background:%s">%s</td>`, shade, html.EscapeString(text))
				continue
			}
			fmt.Fprintf(b, "<td>%s</td>", html.EscapeString(text))
		}
		b.WriteString("</tr>")
	}
	b.WriteString("</table>")
}

// tableColumns are the labels and the value, but those that the panel hides, in the panel's order.
func tableColumns(p grafana.Panel, lines []shown) []string {
	o := p.Transformations[0].Options
	var columns []string
	for _, l := range lines {
		for name := range l.labels {
			if !o.ExcludeByName[name] && !slices.Contains(columns, name) {
				columns = append(columns, name)
			}
		}
	}
	if !o.ExcludeByName["Value"] {
		columns = append(columns, "Value")
	}
	place := func(name string) int {
		if i, ok := o.IndexByName[name]; ok {
			return i
		}
		return len(o.IndexByName)
	}
	slices.SortFunc(columns, func(x, y string) int { return cmp.Or(cmp.Compare(place(x), place(y)), cmp.Compare(x, y)) })
	return columns
}

func columnTitle(p grafana.Panel, name string) string {
	if t, ok := p.Transformations[0].Options.RenameByName[name]; ok {
		return t
	}
	return name
}

// cell of a column: its text, its colour where it has one, and the key by which its row is sorted.
func cell(p grafana.Panel, l shown, name string) (text, shade, key string) {
	if name == "Value" {
		text, shade = look(p.FieldConfig.Defaults, l.last())
		return text, shade, fmt.Sprintf("%020.6f", l.last())
	}
	text = l.labels[name]
	return text, "", text
}

// sortRows by the column that the panel names.
func sortRows(p grafana.Panel, columns []string, lines []shown) {
	by := p.Options.SortBy[0]
	i := slices.IndexFunc(columns, func(name string) bool { return columnTitle(p, name) == by.DisplayName })
	if i < 0 {
		return
	}
	slices.SortStableFunc(lines, func(x, y shown) int {
		_, _, kx := cell(p, x, columns[i])
		_, _, ky := cell(p, y, columns[i])
		switch { // as the table does: without a value last
		case kx == ky:
		case kx == "":
			return 1
		case ky == "":
			return -1
		}
		if by.Desc {
			return cmp.Compare(ky, kx)
		}
		return cmp.Compare(kx, ky)
	})
}
