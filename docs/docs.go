// Package docs carries the runbooks. Its tests hold all pages for people to the code: commands, metrics, links, paths, and what
// architecture.md quotes.
package docs

import "embed"

// Files are runbooks/*.md, one for each alert and named as it is, and a page of checklists.
//
//go:embed runbooks/*.md
var Files embed.FS
