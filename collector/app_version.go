package collector

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
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
	sample func(context.Context) ([]probes.AppInstance, error)
}

// appVersionCollector tells which versions of the caching code run.
type appVersionCollector struct {
	apps []appVersions
	// learned by the last Update.
	learned []diagnosis.App
}

func (*appVersionCollector) Name() string { return "app_version" }

func (c *appVersionCollector) Update(ctx context.Context, ch chan<- prometheus.Metric) error {
	answers, unsure := make([][]probes.AppInstance, len(c.apps)), make([]error, len(c.apps))
	var wait sync.WaitGroup
	for i, a := range c.apps {
		wait.Go(func() { answers[i], unsure[i] = a.sample(ctx) })
	}
	wait.Wait()
	var errs []error
	c.learned = nil
	for i, a := range c.apps {
		if unsure[i] != nil {
			errs = append(errs, fmt.Errorf("application %s: %w", a.name, unsure[i]))
		}
		versions := map[string]bool{}
		told := diagnosis.App{Name: a.name, Versions: map[string]string{}}
		for _, n := range answers[i] {
			appUp.send(ch, number(n.Err == nil), a.name, n.Node)
			if n.Err != nil {
				errs = append(errs, fmt.Errorf("application %s, node %s: %w", a.name, n.Node, n.Err))
				if !n.Left { // a deployment takes instances away
					told.Down = append(told.Down, n.Node)
				}
				continue
			}
			appVersionInfo.send(ch, 1, a.name, n.Node, n.Version)
			versions[n.Version] = true
			told.Versions[n.Node] = n.Version
		}
		c.learned = append(c.learned, told)
		if len(versions) > 0 {
			appDistinctVersions.send(ch, float64(len(versions)), a.name)
		}
	}
	return errors.Join(errs...)
}

// testify implements witness.
func (c *appVersionCollector) testify(e *diagnosis.Evidence) { e.Apps = c.learned }
