// Package dashboards carries Grafana's dashboards.
package dashboards

import "embed"

// Files are *.json, one a dashboard, as the generator wrote them.
//
//go:embed *.json
var Files embed.FS
