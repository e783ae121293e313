package diagnosis

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Count writes a number for people: 15,000; small ones with a digit after the point.
func Count(v float64) string {
	if v != math.Trunc(v) && math.Abs(v) < 100 {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(math.Abs(math.Round(v)), 'f', 0, 64)
	var b strings.Builder
	if v < 0 {
		b.WriteByte('-')
	}
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// Duration writes a number of seconds for people: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min, ever where it has no end.
func Duration(v float64) string {
	switch d := time.Duration(v * float64(time.Second)); {
	case math.IsNaN(v) || v > 100*365*24*3600:
		return "ever"
	case d < 10*time.Second:
		return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) + " s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", v)
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days", int(d.Hours())/24)
	}
}

func percent(part, whole float64) string {
	if whole == 0 {
		return "none compared"
	}
	return strconv.FormatFloat(100*part/whole, 'f', 1, 64) + "%"
}

// manyNames is how many names a line holds.
const manyNames = 8

// list of names, the first of many.
func list(names []string) string {
	if len(names) > manyNames {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:manyNames], ", "), len(names)-manyNames)
	}
	return strings.Join(names, ", ")
}
