// Package alerts carries the alerting and recording rules, their tests, Alertmanager's routes and what Kubernetes loads of these.
//
// [Files] is all of them, as the bundle writes them. Thresholds of dashboards are read from the same files.
package alerts

import "embed"

// Files are this folder's: rule files *.yml, alertmanager.yml and its templates *.tmpl, tests/*.yml, mixin.libsonnet, and of kubernetes
// what is not made from the others. Tests of situations are not among them: package situations renders them.
//
//go:embed *.yml *.tmpl *.libsonnet tests/[^s]*.yml kubernetes/kustomization.yaml kubernetes/servicemonitor.yaml
var Files embed.FS
