// Package dashboards carries Grafana's dashboards.
package dashboards

import "embed"

//go:generate go run ./generate -out .

// Files are *.json, one a dashboard, as the generator wrote them.
//
//go:embed *.json
var Files embed.FS
