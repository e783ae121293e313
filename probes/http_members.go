package probes

import (
	"log/slog"
	"net/url"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// filled gives a template in which {host} and {port} are a server's, each escaped for where it stands. Other places stay.
func filled(t config.Template, at place) (config.Template, error) {
	return config.ParseTemplate(filledText(t.String(), at))
}

func filledText(text string, at place) string {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		scheme, rest = "", text
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	path, query, asks := strings.Cut(rest[end:], "?")
	host := at.host
	if strings.Contains(host, ":") {
		host = "[" + strings.ReplaceAll(host, "%", "%25") + "]"
	}
	out := strings.NewReplacer("{host}", host, "{port}", at.port).Replace(rest[:end]) +
		strings.NewReplacer("{host}", url.PathEscape(at.host), "{port}", at.port).Replace(path)
	if asks {
		out += "?" + strings.NewReplacer("{host}", url.QueryEscape(at.host), "{port}", at.port).Replace(query)
	}
	if found {
		out = scheme + "://" + out
	}
	return out
}

func newHTTPDNSGroup(id Identity, c config.HTTPNode, expected int, opt Options, log *slog.Logger) (*dnsGroup, error) {
	open := func(id Identity, at place) (Node, error) {
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
		id.Kind = "http"
		return newHTTPNode(id, here, opt)
	}
	n, err := open(id, place{"192.0.2.1", "80"}) // what is wrong with the configuration is told at once
	if err != nil {
		return nil, err
	}
	n.Close()
	return newDNSGroup(id, *c.DNS, expected, opt, log, open), nil
}

func openHTTPMembers(id Identity, c config.HTTPNode, expected int, opt Options, log *slog.Logger) (Members, error) {
	if c.DNS != nil {
		return newHTTPDNSGroup(id, c, expected, opt, log)
	}
	id.Kind = "http"
	n, err := newHTTPNode(id, c, opt)
	if err != nil {
		return nil, err
	}
	return Single(n), nil
}
