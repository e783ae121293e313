// Package dashboards carries Grafana's dashboards.
//
// [Files] is what dashboards/generate wrote last. A test fails where that is not what it writes now.
package dashboards

import "embed"

//go:generate go run ./generate -out .

// Files are *.json, one a dashboard, as the generator wrote them, and marks.txt: which of their lines hold which setting of the rules,
// as JSON has no comments.
//
//go:embed *.json marks.txt
var Files embed.FS
