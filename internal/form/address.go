package form

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Address reads host:port; port is the usual one, for advice. "" is not given, or has had its fault.
func (v Value) Address(port string) string {
	s := v.Word("host:port, such as cache-1:" + port)
	if s == "" || v.RefuseSocket(s) || !v.CheckHostPort(s, port) {
		return ""
	}
	return s
}

// Addresses reads a list of host:port of what, and hands on those that are in order. One that stands twice is a fault.
func (v Value) Addresses(what, port string, each func(item Value, address string)) {
	seen := map[string]bool{}
	for _, item := range v.List("host:port of " + what) {
		switch s := item.Address(port); {
		case s == "":
		case seen[strings.ToLower(s)]:
			item.Fault("%s stands twice; keep one", item.Quoted())
		default:
			seen[strings.ToLower(s)] = true
			each(item, s)
		}
	}
}

// RefuseSocket reports whether an address that is part of the value is a unix socket's, which is a fault.
func (v Value) RefuseSocket(s string) bool {
	socket := strings.HasPrefix(s, "unix:") || strings.HasPrefix(s, "/")
	if socket {
		v.Fault("is a unix socket, which is not supported; write host:port")
	}
	return socket
}

// CheckHostPort reports whether an address that is part of the value is host:port; what else it is is a fault.
func (v Value) CheckHostPort(s, port string) bool {
	if ip := net.ParseIP(s); ip != nil && ip.To4() == nil || strings.Count(s, ":") > 1 && net.ParseIP(s[:strings.LastIndexByte(s, ':')]) != nil {
		v.Fault("%s is an IPv6 address without brackets; write [::1]:%s", v.Quoted(), port)
		return false
	}
	host, p, err := net.SplitHostPort(s)
	if err != nil || !IsHost(host) || p == "" {
		v.Fault("%s is no address; write host:port, such as cache-1:%s", v.Quoted(), port)
		return false
	}
	return v.portInRange(p)
}

// IsHost reports whether a text can be the name or the address of a host.
func IsHost(host string) bool {
	return host != "" && IsName(host) && !strings.ContainsAny(host, " /@?#\\,[]")
}

func (v Value) portInRange(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		v.Fault("has no port from 1 to 65535; write one, as in host:port")
		return false
	}
	return true
}

// CheckURLPort reports whether a URL's port is in order: it may be left out, but not the number behind a colon.
func (v Value) CheckURLPort(u *url.URL) bool {
	return u.Port() == "" && !strings.HasSuffix(u.Host, ":") || v.portInRange(u.Port())
}

// URL reads an http:// or https:// URL in which nothing is filled in. "" is not given, or has had its fault.
func (v Value) URL() string {
	s := v.Word("http://host:port/path")
	if s == "" {
		return ""
	}
	if strings.ContainsAny(s, "{}") {
		v.Fault("has a { or }, and nothing is filled in here; write the whole URL, and %%7B and %%7D for braces")
		return ""
	}
	if !v.checkURL(s) {
		return ""
	}
	return s
}

// URLTemplate reads a URL with {name} places in its path or query, of the names alone; nil allows any. The zero Template
// is not given, or has had its fault.
func (v Value) URLTemplate(names []string) Template {
	before := len(v.doc.faults)
	t := v.Template(names)
	if t.IsZero() || len(v.doc.faults) > before {
		return Template{}
	}
	filled := func(with string) string { return t.Expand(nil, func(string) string { return with }) }
	one, err := url.Parse(filled("1"))
	two, err2 := url.Parse(filled("2"))
	if err == nil && err2 == nil && (one.Scheme != two.Scheme || one.Host != two.Host) {
		v.Fault("has a {name} before its path; write the host out, and names into the path or the query")
		return Template{}
	}
	if !v.checkURL(filled("1")) {
		return Template{}
	}
	return t
}

func (v Value) checkURL(s string) bool {
	u, err := url.Parse(s)
	switch {
	case err != nil || !IsHost(u.Hostname()) || u.Scheme != "http" && u.Scheme != "https":
		v.Fault("is no URL; write http://host:port/path, or https://")
	case u.User != nil:
		v.Fault("holds a user or password; write username, and password or password_file, beside it")
	case u.Fragment != "" || strings.Contains(s, "#"):
		v.Fault("has a #, and what is behind it is never sent; leave it out, or write %%23")
	default:
		return v.CheckURLPort(u)
	}
	return false
}
