package settings

import (
	"regexp"
	"strings"
)

// Where rules, dashboards, Alertmanager's file, templates, tests and runbooks hold the names. Quotes may be escaped, as in JSON.
var (
	// severity="page", severity=~"page|ticket", severity: page, and "severity page" in a text.
	severityValue = regexp.MustCompile("\\bseverity(\\s*(?:=~|!~|!=|=|:)?\\s*\\\\?[\"'`]?)((?:[a-z]+\\|)*[a-z]+)\\b")
	// job="cacheinv_exporter", job: cacheinv_exporter, and .labels.job == "cacheinv_exporter" of jq.
	jobValue = regexp.MustCompile("\\bjob(\\s*(?:=~|!~|!=|==|=|:)?\\s*\\\\?[\"'`]?)cacheinv_exporter\\b")

	// by (cluster, class), on (cluster), group_by: [cluster, queue], equal: [cluster]
	clusterInList = regexp.MustCompile(`\b(?:by|on|ignoring|without|group_left|group_right) ?\([^()]*\)|\b(?:group_by|equal): *\[[^\]]*\]`)
	// label_values(up, cluster)
	clusterValues = regexp.MustCompile(`(label_values\([^()]*, *)cluster( *\))`)
	// {cluster="shop"}, and cluster=shop of amtool; the dashboards' variable, as in var-cluster=, is not the label.
	clusterMatcher = regexp.MustCompile(`([^\w$.-]|^)cluster( ?(?:=~|!~|!=|=))`)
	// {{ $labels.cluster }}, .CommonLabels.cluster, and a legend's {{cluster}}
	clusterTemplate = regexp.MustCompile(`((?i:labels)\.|\{\{ ?)cluster\b`)
	// cluster: shop in YAML, and "cluster": in JSON, where columns are called by labels.
	clusterKey = regexp.MustCompile(`(?m)(^\s*(?:- )?|[{,]\s*)(\\?"?)cluster(\\?"?: )`)
	// "cluster" as an argument of label_replace, in YAML and in JSON.
	clusterArgument = regexp.MustCompile(`(,\s*\\?")cluster(\\?"\s*[,)])`)
	// `cluster` in Markdown.
	clusterCode = regexp.MustCompile("`cluster`")
	clusterWord = regexp.MustCompile(`\bcluster\b`)
)

// Render writes a file of the bundle with the values; lines have marks of their own by number, from 1, where a file cannot hold them.
func (v Values) Render(text string, lines map[int][]Mark) (string, error) {
	text, err := v.numbers(text)
	if err == nil {
		text, err = v.markedLines(text, lines)
	}
	if err != nil {
		return "", err
	}
	text = strings.NewReplacer(
		GrafanaURL.Default+"/d/", v.Text(GrafanaURL)+"/d/",
		RunbooksURL.Default+"/", v.Text(RunbooksURL)+"/",
	).Replace(text)
	return v.clusters(v.jobs(v.severities(text))), nil
}

func (v Values) markedLines(text string, marks map[int][]Mark) (string, error) {
	if len(marks) == 0 {
		return text, nil
	}
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		var err error
		if lines[i], err = v.Replace(line, marks[i+1]); err != nil {
			return "", err
		}
	}
	return strings.Join(lines, ""), nil
}

// severities are replaced in one pass, so that page may become ticket and ticket page.
func (v Values) severities(text string) string {
	return severityValue.ReplaceAllStringFunc(text, func(match string) string {
		parts := severityValue.FindStringSubmatch(match)
		values := strings.Split(parts[2], "|")
		for i, value := range values {
			switch value {
			case SeverityPage.Default:
				values[i] = v.Text(SeverityPage)
			case SeverityTicket.Default:
				values[i] = v.Text(SeverityTicket)
			}
		}
		return "severity" + parts[1] + strings.Join(values, "|")
	})
}

func (v Values) jobs(text string) string {
	return jobValue.ReplaceAllString(text, "job${1}"+v.Text(Job))
}

func (v Values) clusters(text string) string {
	name := v.Text(ClusterLabel)
	if name == ClusterLabel.Default {
		return text
	}
	text = clusterInList.ReplaceAllStringFunc(text, func(list string) string {
		return clusterWord.ReplaceAllString(list, name)
	})
	text = clusterValues.ReplaceAllString(text, "${1}"+name+"${2}")
	text = clusterMatcher.ReplaceAllString(text, "${1}"+name+"${2}")
	text = clusterTemplate.ReplaceAllString(text, "${1}"+name)
	text = clusterKey.ReplaceAllString(text, "${1}${2}"+name+"${3}")
	text = clusterArgument.ReplaceAllString(text, "${1}"+name+"${2}")
	return clusterCode.ReplaceAllString(text, "`"+name+"`")
}
