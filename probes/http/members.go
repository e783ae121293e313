package http

import (
	"log/slog"
	"net/url"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/group"
)

// filled gives a template with a server's {host} and {port} filled in, each escaped for where it stands. Other places stay.
func filled(t form.Template, at group.Address) (form.Template, error) {
	return form.ParseTemplate(filledText(t.String(), at))
}

// filledText gives a URL with {host} and {port} filled in.
func filledText(text string, at group.Address) string {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		scheme, rest = "", text
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	path, query, asks := strings.Cut(rest[end:], "?")
	host := at.Host
	if strings.Contains(host, ":") {
		host = "[" + strings.ReplaceAll(host, "%", "%25") + "]"
	}
	out := strings.NewReplacer("{host}", host, "{port}", at.Port).Replace(rest[:end]) +
		strings.NewReplacer("{host}", url.PathEscape(at.Host), "{port}", at.Port).Replace(path)
	if asks {
		out += "?" + strings.NewReplacer("{host}", url.QueryEscape(at.Host), "{port}", at.Port).Replace(query)
	}
	if found {
		out = scheme + "://" + out
	}
	return out
}

// newDNSGroup is a node for each server behind the DNS name.
func newDNSGroup(id probes.Identity, c nodeConfig, expected int, env *probes.Env, log *slog.Logger) (*group.DNS, error) {
	open := func(id probes.Identity, at group.Address) (probes.Node, error) {
		here := c
		var err error
		if here.URL, err = filled(c.URL, at); err != nil {
			return nil, err
		}
		if c.Stats != nil {
			stats := *c.Stats
			stats.URL = filledText(stats.URL, at)
			here.Stats = &stats
		}
		here.HealthURL = filledText(c.HealthURL, at)
		return newNode(id, here, env)
	}
	n, err := open(id, group.Address{Host: "192.0.2.1", Port: "80"}) // what is wrong with the configuration is told at once
	if err != nil {
		return nil, err
	}
	n.Close()
	return group.NewDNS(id, *c.DNS, expected, env, log, open), nil
}
