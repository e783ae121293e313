package probes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// App is an application whose instances tell the version of their caching code.
type App struct {
	client    *httpClient
	instances []appURL
	// path of the version; nil: the whole body is it.
	path *content.Path
}

type appURL struct {
	node string
	url  *url.URL
}

// AppInstance is what one instance told: its Version, or why there is none.
type AppInstance struct {
	Node, Version string
	Err           error
}

// A version becomes a label, and so must not be whatever a wrong URL answers.
var appVersion = regexp.MustCompile(`^[\w.+-]{1,64}$`)

var errNoVersion = errors.New("the answer is no version of 1 to 64 letters, digits, _ . + or -; mend the URL, or write json: the path of the version")

// OpenApps opens the configuration's applications, in its order. Nothing is asked yet.
func OpenApps(cfg *config.Config, opt Options) ([]*App, error) {
	var apps []*App
	for _, c := range cfg.Versions {
		a, err := openApp(c, opt)
		if err != nil {
			for _, open := range apps {
				open.Close()
			}
			return nil, fmt.Errorf("application %s: %w", c.Name, err)
		}
		apps = append(apps, a)
	}
	return apps, nil
}

func openApp(c config.App, opt Options) (*App, error) {
	client, err := newHTTPClient(c.Client, nil, "", opt)
	if err != nil {
		return nil, err
	}
	a := &App{client: client}
	if c.JSON != "" {
		p, err := content.ParsePath(c.JSON, false)
		if err != nil {
			return nil, fmt.Errorf("json: %w", err)
		}
		a.path = &p
	}
	for _, node := range slices.Sorted(maps.Keys(c.Nodes)) {
		u, err := client.parse(c.Nodes[node])
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", node, err)
		}
		a.instances = append(a.instances, appURL{node, u})
	}
	return a, nil
}

// Sample asks all instances at once, and gives their answers by name. It returns soon after ctx ends.
func (a *App) Sample(ctx context.Context) []AppInstance {
	out := make([]AppInstance, len(a.instances))
	var wait sync.WaitGroup
	for i, at := range a.instances {
		wait.Go(func() {
			version, err := a.ask(ctx, at.url)
			out[i] = AppInstance{Node: at.node, Version: version, Err: err}
		})
	}
	wait.Wait()
	return out
}

func (a *App) ask(ctx context.Context, u *url.URL) (version string, err error) {
	err = a.client.content(ctx, u, func(body []byte) error {
		told, ok := strings.TrimSpace(string(body)), true
		if a.path != nil {
			told, ok = content.Lookup(body, *a.path)
		}
		if !ok || !appVersion.MatchString(told) {
			return errNoVersion
		}
		version = told
		return nil
	})
	return version, err
}

// Close ends all requests and connections.
func (a *App) Close() { a.client.close() }
