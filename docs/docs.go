// Package docs carries the runbooks.
package docs

import "embed"

// Files are runbooks/*.md, one for each alert and named as it is, and a page of checklists.
//
//go:embed runbooks/*.md
var Files embed.FS
