// Package http asks whatever answers over HTTP: edges, applications' local caches, queues and processors that report their
// counters in JSON, origins that know the truth, and instances that report their version.
//
// Each role has a file and a type of its own: node, queue, history, publisher, origin, refresher and application. Package httpclient has
// what their requests share.
package http

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/shell"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Backend is HTTP.
var Backend = probes.Backend{
	Name:       backendName,
	Node:       func(block form.Value, in probes.Layer) probes.NodeSource { return readNode(block, in.Name, in.Once) },
	NodeTraits: probes.NodeTraits{Fills: true},
	Queue:      func(block form.Value, _ probes.Known) probes.QueueSource { return readQueue(block) },
	History:    func(block form.Value) probes.HistorySource { return readHistory(block) },
	Publisher:  func(block form.Value, _ probes.Known) probes.PublisherSource { return readPublisher(block) },
	Origin:     func(block form.Value, keyNames []string) probes.OriginSource { return readOrigin(block, keyNames) },
	Refresher: func(block form.Value, keyNames []string) probes.RefresherSource {
		return readRefresher(block, keyNames)
	},
	Application: func(fields *form.Block) probes.ApplicationSource { return readApplication(fields) },
	Health:      func(url form.Value) probes.HealthSource { return healthConfig{url.URL()} },
}

const backendName = "http"

// Group implements probes.NodeSource.
func (c *nodeConfig) Group() bool { return c.DNS != nil }

// Commands implements probes.NodeSource.
func (c *nodeConfig) Commands(member string) probes.NodeCommands {
	scheme, rest, _ := strings.Cut(c.URL.String(), "://")
	host, _, _ := strings.Cut(rest, "/")
	at := scheme + "://" + host[strings.LastIndexByte(host, '@')+1:] // a person needs no password to see whether it answers
	switch {
	case member != "":
		at = scheme + "://" + member + "/"
	case c.DNS != nil: // each of its servers has a host of its own
		return probes.NodeCommands{}
	}
	return probes.NodeCommands{Ask: fmt.Sprintf("curl -sS -m 5 -o /dev/null -w '%%{http_code} %%{time_total}s\\n' %s", shell.Quote(at))}
}

// Open implements probes.NodeSource.
func (c *nodeConfig) Open(id probes.Identity, least int, env *probes.Env) (probes.Members, error) {
	if c.DNS != nil {
		return newDNSGroup(id, *c, least, env, env.Log)
	}
	n, err := newNode(id, *c, env)
	if err != nil {
		return nil, err
	}
	return probes.Single(n), nil
}

// withoutLogin gives an address less its login and its query, which may hold secrets; empty where it is no URL.
func withoutLogin(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}
