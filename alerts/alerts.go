// Package alerts carries the alerting and recording rules, their tests, Alertmanager's routes and what Kubernetes loads of these.
package alerts

import "embed"

// Files are this folder's: rule files *.yml, alertmanager.yml and templates *.tmpl where there are any, tests/*.yml, and
// kubernetes/*.yml. A pattern of embed has to match something: *.[yt]m*l is *.yml and *.tmpl in one.
//
//go:embed *.[yt]m*l
var Files embed.FS
