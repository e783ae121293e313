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
		"Whether the application instance reported its version (1) or not (0).", "app", "node")
	appVersionInfo = gauge("app_version_info",
		"Version that the application instance runs, as a label; always 1.", "app", "node", "version")
	appDistinctVersions = gauge("app_distinct_versions",
		"Distinct versions among the application's instances that reported theirs.", "app")
)

// appVersions asks the instances of one application.
type appVersions struct {
	name string
	// channels are the queues that each instance should have subscribed to.
	channels []string
	sample   func(context.Context) ([]probes.AppInstance, error)
}

func newAppVersionSignal(Options) Opener {
	return func(s *Setup) (Collector, error) {
		apps, err := s.Config.OpenApplications(s.Env)
		if err != nil {
			return nil, fmt.Errorf("opening the applications: %w", err)
		}
		c := &appVersionCollector{}
		for i, a := range apps {
			s.OnClose(a.Close)
			one := appVersions{name: s.Config.Versions[i].Name, sample: a.Sample}
			for _, q := range s.Config.Queues {
				if q.App == one.name {
					one.channels = append(one.channels, q.Name)
				}
			}
			c.apps = append(c.apps, one)
		}
		return c, nil
	}
}

// appVersionCollector reports which versions of the caching code run.
type appVersionCollector struct {
	apps []appVersions
	// evidence of the last Update.
	evidence []diagnosis.App
}

// Update implements Collector.
func (c *appVersionCollector) Update(ctx context.Context, _ *Sampling, ch chan<- prometheus.Metric) error {
	instances, unsure := make([][]probes.AppInstance, len(c.apps)), make([]error, len(c.apps))
	var wait sync.WaitGroup
	for i, a := range c.apps {
		wait.Go(func() { instances[i], unsure[i] = a.sample(ctx) })
	}
	wait.Wait()
	var errs []error
	c.evidence = nil
	for i, a := range c.apps {
		if unsure[i] != nil {
			errs = append(errs, fmt.Errorf("application %s: %w", a.name, unsure[i]))
		}
		versions := map[string]bool{}
		known := 0
		app := diagnosis.App{Name: a.name, Versions: map[string]string{}, Refused: map[string]error{}}
		for _, n := range instances[i] {
			if !n.Left {
				known++
			}
			appUp.send(ch, number(n.Err == nil), a.name, n.Node)
			if n.Err != nil {
				errs = append(errs, fmt.Errorf("application %s, node %s: %w", a.name, n.Node, n.Err))
				switch {
				case n.Left: // a deployment takes instances away
				case errors.Is(n.Err, probes.ErrRefused):
					app.Refused[n.Node] = n.Err
				default:
					app.Down = append(app.Down, n.Node)
				}
				continue
			}
			appVersionInfo.send(ch, 1, a.name, n.Node, n.Version)
			versions[n.Version] = true
			app.Versions[n.Node] = probes.Shown(n.Version) // it is quoted as evidence
		}
		app.Instances = probes.Count{Value: float64(known), Known: unsure[i] == nil}
		if app.Instances.Known {
			for _, queue := range a.channels {
				queueExpectedSubscribers.send(ch, app.Instances.Value, queue)
			}
		}
		c.evidence = append(c.evidence, app)
		if len(versions) > 0 {
			appDistinctVersions.send(ch, float64(len(versions)), a.name)
		}
	}
	return errors.Join(errs...)
}

// AddEvidence implements Evidencer.
func (c *appVersionCollector) AddEvidence(e *diagnosis.Evidence) { e.Apps = c.evidence }
