package collector

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

var (
	appUp = gauge("app_up",
		"Whether the application instance told its version (1) or not (0).", "app", "node")
	appVersionInfo = gauge("app_version_info",
		"Version that the application instance runs, as a label; always 1.", "app", "node", "version")
	appDistinctVersions = gauge("app_distinct_versions",
		"Distinct versions among the application's instances that told theirs.", "app")
)

// appVersions asks the instances of one application.
type appVersions struct {
	name   string
	sample func(context.Context) []probes.AppInstance
}

// appVersionCollector tells which versions of the caching code run.
type appVersionCollector struct{ apps []appVersions }

func (appVersionCollector) Name() string { return "app_version" }

func (c appVersionCollector) Update(ctx context.Context, ch chan<- prometheus.Metric) error {
	answers := make([][]probes.AppInstance, len(c.apps))
	var wait sync.WaitGroup
	for i, a := range c.apps {
		wait.Go(func() { answers[i] = a.sample(ctx) })
	}
	wait.Wait()
	var errs []error
	for i, a := range c.apps {
		versions := map[string]bool{}
		for _, n := range answers[i] {
			appUp.send(ch, number(n.Err == nil), a.name, n.Node)
			if n.Err != nil {
				errs = append(errs, fmt.Errorf("application %s, node %s: %w", a.name, n.Node, n.Err))
				continue
			}
			appVersionInfo.send(ch, 1, a.name, n.Node, n.Version)
			versions[n.Version] = true
		}
		if len(versions) > 0 {
			appDistinctVersions.send(ch, float64(len(versions)), a.name)
		}
	}
	return errors.Join(errs...)
}
