package http

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/shell"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/group"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
)

// application is an application whose instances report the version of their caching code.
type application struct {
	client *httpclient.Client
	env    *probes.Env
	// names finds the instances, with their URL after template; nil: they are configured.
	names    *group.Resolver
	template form.Template
	// instances by name; those found belong to whoever samples.
	instances []instance
	// path of the version; nil: the whole body is it.
	path *content.Path
}

// instance of an application.
type instance struct {
	name string
	url  *url.URL
	// gone is since when the DNS name no longer has it; zero: it has.
	gone time.Time
}

// A version becomes a label, and so must not be whatever a wrong URL answers.
var versionText = regexp.MustCompile(`^[\w.+-]{1,64}$`)

var (
	errNoVersion = probes.Refusal(errors.New(
		"the answer is no version of 1 to 64 letters, digits, _ . + or -; fix the URL, or write json: the path of the version"))
	errLoginRepeated = probes.Refusal(errors.New("the answer repeats the token or the password that it was asked with; fix the URL"))
)

// Command implements probes.ApplicationSource.
func (c *applicationConfig) Command() string {
	const most = 8 // more would be a command that nobody reads
	var urls []string
	for _, u := range slices.Sorted(maps.Values(c.Nodes)) {
		urls = append(urls, shell.Quote(withoutLogin(u)))
	}
	if len(urls) == 0 {
		return ""
	}
	return "for url in " + strings.Join(urls[:min(len(urls), most)], " ") + `; do echo "$url: $(curl -sS -m 5 "$url")"; done`
}

// Open implements probes.ApplicationSource.
func (c *applicationConfig) Open(name string, env *probes.Env) (probes.Application, error) {
	return newApplication(name, *c, env)
}

func newApplication(name string, c applicationConfig, env *probes.Env) (*application, error) {
	client := httpclient.New(c.Client, nil, "", env)
	client.Site = group.ServerName(c.DNS)
	a := &application{client: client, env: env, template: c.URL}
	if c.JSON != "" {
		p, err := content.ParsePath(c.JSON, false)
		if err != nil {
			return nil, fmt.Errorf("json: %w", err)
		}
		a.path = &p
	}
	for _, name := range slices.Sorted(maps.Keys(c.Nodes)) {
		u, err := client.Parse(c.Nodes[name])
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", name, err)
		}
		a.instances = append(a.instances, instance{name: name, url: u})
	}
	if c.DNS != nil {
		if _, err := a.at(group.Address{Host: "192.0.2.1", Port: "80"}); err != nil {
			return nil, err
		}
		a.names = group.NewResolver(*c.DNS, env, env.Log.With("app", name))
	}
	return a, nil
}

// at gives the instance at an address.
func (a *application) at(p group.Address) (instance, error) {
	u, err := a.client.Parse(filledText(a.template.String(), p))
	return instance{name: p.HostPort(), url: u}, err
}

var errManyInstances = fmt.Errorf("the name stands for more than %d servers, and the rest is left out; look who answers for it", group.MostMembers)

// find follows the DNS name. An instance that it no longer has stays for a while: a crashed one must not just vanish.
func (a *application) find(ctx context.Context) error {
	addresses, err := a.names.Addresses(ctx)
	if len(addresses) > group.MostMembers {
		addresses, err = addresses[:group.MostMembers], errors.Join(err, errManyInstances)
	}
	known := map[string]bool{}
	for _, i := range a.instances {
		known[i.name] = true
	}
	has := map[string]bool{}
	for _, p := range addresses {
		has[p.HostPort()] = true
		if known[p.HostPort()] {
			continue
		}
		i, bad := a.at(p)
		if bad != nil {
			err = errors.Join(err, fmt.Errorf("instance %s: %w", p.HostPort(), bad))
			continue
		}
		a.instances = append(a.instances, i)
	}
	a.markGone(has)
	slices.SortFunc(a.instances, func(a, b instance) int { return cmp.Compare(a.name, b.name) })
	return err
}

// markGone marks the instances that the name has no longer, and forgets those that have been gone for too long, or before too many
// others.
func (a *application) markGone(has map[string]bool) {
	now := time.Now()
	var left []time.Time
	for i := range a.instances {
		switch at := &a.instances[i]; {
		case has[at.name]:
			at.gone = time.Time{}
		case at.gone.IsZero():
			at.gone = now
			left = append(left, now)
		default:
			left = append(left, at.gone)
		}
	}
	before := probes.ForgottenBefore(left)
	a.instances = slices.DeleteFunc(a.instances, func(i instance) bool {
		return !i.gone.IsZero() && (now.Sub(i.gone) > a.env.ForgetAfter || i.gone.Before(before))
	})
}

// Sample asks all instances at once, and gives their answers by name. The error says that which instances there are is
// not known, or no longer surely. It returns soon after ctx ends; one Sample runs at a time.
func (a *application) Sample(ctx context.Context) ([]probes.AppInstance, error) {
	var unsure error
	if a.names != nil {
		unsure = a.find(ctx)
	}
	out := make([]probes.AppInstance, len(a.instances))
	var wait sync.WaitGroup
	for i, at := range a.instances {
		wait.Go(func() {
			version, err := a.ask(ctx, at.url)
			out[i] = probes.AppInstance{Node: at.name, Version: version, Err: err, Left: !at.gone.IsZero()}
		})
	}
	wait.Wait()
	return out, unsure
}

func (a *application) ask(ctx context.Context, u *url.URL) (version string, err error) {
	err = a.client.Content(ctx, u, func(body []byte) error {
		text, ok := strings.TrimSpace(string(body)), true
		if a.path != nil {
			text, ok = content.Lookup(body, *a.path)
		}
		if !ok || !versionText.MatchString(text) {
			return errNoVersion
		}
		if a.client.RepeatsLogin(text) {
			return errLoginRepeated
		}
		version = text
		return nil
	})
	return version, err
}

// Close ends all requests and connections.
func (a *application) Close() {
	if a.names != nil {
		a.names.Close()
	}
	a.client.Close()
}
