package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// Mark says that a line holds a setting, or a multiple of it: stale_share, budget*14.4.
type Mark struct {
	Setting *Setting
	Factor  float64
}

// ParseMark reads NAME or NAME*FACTOR.
func ParseMark(text string) (Mark, error) {
	name, times, multiple := strings.Cut(strings.TrimSpace(text), "*")
	s, err := Named(name)
	if err != nil {
		return Mark{}, err
	}
	m := Mark{s, 1}
	if multiple {
		if m.Factor, err = strconv.ParseFloat(times, 64); err != nil || m.Factor <= 0 || !s.Numeric() {
			return Mark{}, fmt.Errorf("%q is no setting and no multiple of one, such as budget*14.4", text)
		}
	}
	return m, nil
}

// String is what ParseMark reads.
func (m Mark) String() string {
	if m.Factor == 1 {
		return m.Setting.Name
	}
	return m.Setting.Name + "*" + decimal(m.Factor)
}

// renderings are the ways in which files write the value: a share as 0.01 and 1%, a duration as 0.5, 500ms, 0.5s and 500 ms.
func (m Mark) renderings(v Values) []string {
	if !m.Setting.Numeric() {
		return []string{v.Text(m.Setting)}
	}
	number := v.Number(m.Setting) * m.Factor
	if m.Setting.isShare() {
		return []string{decimal(number), decimal(number*100) + "%"}
	}
	spaced := decimal(number) + " s"
	if number < 1 {
		spaced = decimal(number*1000) + " ms"
	}
	return []string{decimal(number), model.Duration(time.Duration(number * 1e9).Round(time.Millisecond)).String(), decimal(number) + "s", spaced}
}

// Mark is written behind what YAML and PromQL take for a comment, to the end of the line; several are set apart by commas.
// In Markdown marks stand around the text: <!-- setting: NAME -->1%<!-- end -->.
var (
	lineMark = regexp.MustCompile(`# setting: (.+?)\s*$`)
	textMark = regexp.MustCompile(`(?s)<!-- setting: (.+?) -->(.*?)<!-- end -->`)
)

// Marks of a line of YAML or PromQL.
func Marks(line string) ([]Mark, error) {
	found := lineMark.FindStringSubmatch(line)
	if found == nil {
		return nil, nil
	}
	return parseMarks(found[1])
}

func parseMarks(text string) ([]Mark, error) {
	var marks []Mark
	for _, one := range strings.Split(text, ",") {
		m, err := ParseMark(one)
		if err != nil {
			return nil, err
		}
		marks = append(marks, m)
	}
	return marks, nil
}

// Replace puts the marked settings' values in the place of their defaults. A mark whose default the text does not hold is an error:
// the rest of the bundle would follow the setting, and this would not.
func (v Values) Replace(text string, marks []Mark) (string, error) {
	var defaults, values []string
	for _, m := range marks {
		was := m.renderings(Values{})
		if !slices.ContainsFunc(was, func(r string) bool { return holds(text, r) }) {
			return "", fmt.Errorf("the line is marked %s and holds none of %s: %s", m, strings.Join(was, ", "), strings.TrimSpace(text))
		}
		defaults, values = append(defaults, was...), append(values, m.renderings(v)...)
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		best := -1 // the longest, of 0.01 and 0.01s
		for j, r := range defaults {
			if at(text, i, r) && (best < 0 || len(r) > len(defaults[best])) {
				best = j
			}
		}
		if best < 0 {
			b.WriteByte(text[i])
			i++
			continue
		}
		b.WriteString(values[best])
		i += len(defaults[best])
	}
	return b.String(), nil
}

func holds(text, word string) bool {
	for i := range text {
		if at(text, i, word) {
			return true
		}
	}
	return false
}

// at tells whether the word stands there by itself, and not as a part of a longer number or name.
func at(text string, i int, word string) bool {
	if !strings.HasPrefix(text[i:], word) {
		return false
	}
	if i > 0 && (partOfWord(text[i-1]) || text[i-1] == '.') {
		return false
	}
	after := text[i+len(word):]
	switch {
	case after == "":
		return true
	case after[0] == '.': // of a sentence, or of a number
		return len(after) == 1 || !partOfWord(after[1])
	default:
		return !partOfWord(after[0]) && after[0] != '%'
	}
}

func partOfWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// numbers replaces what marks speak of, in lines of YAML and PromQL and in passages of Markdown.
func (v Values) numbers(text string) (string, error) {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		at := lineMark.FindStringIndex(line)
		if at == nil {
			continue
		}
		marks, err := Marks(line)
		if err == nil {
			lines[i], err = v.Replace(line[:at[0]], marks)
			lines[i] += line[at[0]:]
		}
		if err != nil {
			return "", fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	var fault error
	text = textMark.ReplaceAllStringFunc(strings.Join(lines, ""), func(passage string) string {
		parts := textMark.FindStringSubmatch(passage)
		marks, err := parseMarks(parts[1])
		changed := parts[2]
		if err == nil {
			changed, err = v.Replace(parts[2], marks)
		}
		if err != nil {
			fault = err
		}
		return "<!-- setting: " + parts[1] + " -->" + changed + "<!-- end -->"
	})
	return text, fault
}

// ParseLines reads the marks of files that cannot hold them, as JSON: lines FILE:LINE: MARK, MARK. It gives them by file and line.
func ParseLines(text string) (map[string]map[int][]Mark, error) {
	files := map[string]map[int][]Mark{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		where, names, _ := strings.Cut(line, ": ")
		name, number, _ := strings.Cut(where, ":")
		n, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("%q is not FILE:LINE: SETTING", line)
		}
		marks, err := parseMarks(names)
		if err != nil {
			return nil, err
		}
		if files[name] == nil {
			files[name] = map[int][]Mark{}
		}
		files[name][n] = marks
	}
	return files, nil
}

// MarkOf finds how a line follows a setting, of which it is written with the default, and once with other values.
func MarkOf(s *Setting, v Values, line, other string) (Mark, error) {
	factors := []float64{1}
	for _, number := range numberInText.FindAllString(line, -1) {
		n, err := strconv.ParseFloat(number, 64)
		if err != nil {
			continue
		}
		if base := (Values{}).Number(s); n > 0 {
			factors = append(factors, rounded(n/base), rounded(n/base/100))
		}
	}
	for _, factor := range factors {
		m := Mark{s, factor}
		if changed, err := v.Replace(line, []Mark{m}); err == nil && changed == other {
			return m, nil
		}
	}
	return Mark{}, fmt.Errorf("%s does not make this of it by itself: %s; %s", s.Name, strings.TrimSpace(line), strings.TrimSpace(other))
}

var numberInText = regexp.MustCompile(`[0-9]+(?:\.[0-9]+)?`)

func rounded(x float64) float64 {
	number, _ := strconv.ParseFloat(decimal(x), 64)
	return number
}

// Prose is the value as a text has it: 1%, 500 ms.
func (v Values) Prose(s *Setting) string {
	ways := Mark{s, 1}.renderings(v)
	return ways[len(ways)-1]
}
