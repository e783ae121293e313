package config

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// address reads host:port.
func (v value) address(port string) string {
	s := v.word("host:port, such as cache-1:" + port)
	if s == "" || v.unixSocket(s) || !v.hostPort(s, port) {
		return ""
	}
	return s
}

// addresses reads a list of host:port, each once, and hands on those that are in order.
func (v value) addresses(what, port string, each func(item value, address string)) {
	seen := map[string]bool{}
	for _, item := range v.list("host:port of " + what) {
		switch s := item.address(port); {
		case s == "":
		case seen[strings.ToLower(s)]:
			item.fault("%s stands twice; keep one", item.quoted())
		default:
			seen[strings.ToLower(s)] = true
			each(item, s)
		}
	}
}

func (v value) unixSocket(s string) bool {
	socket := strings.HasPrefix(s, "unix:") || strings.HasPrefix(s, "/")
	if socket {
		v.fault("is a unix socket, which is not supported; write host:port")
	}
	return socket
}

func (v value) hostPort(s, port string) bool {
	if ip := net.ParseIP(s); ip != nil && ip.To4() == nil || strings.Count(s, ":") > 1 && net.ParseIP(s[:strings.LastIndexByte(s, ':')]) != nil {
		v.fault("%s is an IPv6 address without brackets; write [::1]:%s", v.quoted(), port)
		return false
	}
	host, p, err := net.SplitHostPort(s)
	if err != nil || !isHost(host) || p == "" {
		v.fault("%s is no address; write host:port, such as cache-1:%s", v.quoted(), port)
		return false
	}
	return v.portInRange(p)
}

func isHost(host string) bool {
	return host != "" && isName(host) && !strings.ContainsAny(host, " /@?#\\,[]")
}

func (v value) portInRange(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		v.fault("has no port from 1 to 65535; write one, as in host:port")
		return false
	}
	return true
}

// urlPort may be left out, but not the number behind a colon.
func (v value) urlPort(u *url.URL) bool {
	return u.Port() == "" && !strings.HasSuffix(u.Host, ":") || v.portInRange(u.Port())
}

// redisURL reads redis://host:port/db, rediss:// too, or host:port. A user and password in it are given apart, so that
// nothing that shows the address shows them.
func (v value) redisURL() (address string, u *url.URL) {
	s := v.word("redis://host:port/db")
	if s == "" || v.unixSocket(s) {
		return "", nil
	}
	full := s
	if !strings.Contains(s, "://") {
		host, _, _ := strings.Cut(s[strings.LastIndexByte(s, '@')+1:], "/")
		if !v.hostPort(host, "6379") {
			return "", nil
		}
		full = "redis://" + s
	}
	u, err := url.Parse(full)
	if err != nil || !isHost(u.Hostname()) || u.Scheme != "redis" && u.Scheme != "rediss" || u.Opaque != "" {
		v.fault("is no address of a Redis server; write redis://host:port/db, rediss:// for TLS, and a password into a field of its own")
		return "", nil
	}
	if !v.urlPort(u) {
		return "", nil
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		v.fault("has something behind a ? or #; write redis://host:port/db, and all else into fields")
		return "", nil
	}
	if db := strings.TrimPrefix(u.Path, "/"); db != "" {
		if n, err := strconv.ParseUint(db, 10, 31); err != nil || strconv.FormatUint(n, 10) != db {
			v.fault("has a path that is no number of a database; write redis://host:port/0")
			return "", nil
		}
	}
	if u.User != nil {
		apart := *u
		apart.User = nil
		return apart.String(), u
	}
	return s, u
}

// redisServer is the host, port and database that a URL names, however it is written.
func redisServer(u *url.URL) string {
	port, db := u.Port(), strings.TrimPrefix(u.Path, "/")
	if port == "" {
		port = "6379"
	}
	if db == "" {
		db = "0"
	}
	return strings.ToLower(net.JoinHostPort(u.Hostname(), port)) + "/" + db
}

// url reads a URL in which nothing is filled in.
func (v value) url() string {
	s := v.word("http://host:port/path")
	if s == "" {
		return ""
	}
	if strings.ContainsAny(s, "{}") {
		v.fault("has a { or }, and nothing is filled in here; write the whole URL, and %%7B and %%7D for braces")
		return ""
	}
	if !v.checkURL(s) {
		return ""
	}
	return s
}

// urlTemplate reads a URL with places in its path or query; nil names: all are known.
func (v value) urlTemplate(names []string) Template {
	before := len(v.faults)
	t := v.template(names)
	if t.IsZero() || len(v.faults) > before {
		return Template{}
	}
	filled := func(with string) string { return t.Expand(nil, func(string) string { return with }) }
	one, err := url.Parse(filled("1"))
	two, err2 := url.Parse(filled("2"))
	if err == nil && err2 == nil && (one.Scheme != two.Scheme || one.Host != two.Host) {
		v.fault("has a {name} before its path; write the host out, and names into the path or the query")
		return Template{}
	}
	if !v.checkURL(filled("1")) {
		return Template{}
	}
	return t
}

func (v value) checkURL(s string) bool {
	u, err := url.Parse(s)
	switch {
	case err != nil || !isHost(u.Hostname()) || u.Scheme != "http" && u.Scheme != "https":
		v.fault("is no URL; write http://host:port/path, or https://")
	case u.User != nil:
		v.fault("holds a user or password; write username, and password or password_file, beside it")
	case u.Fragment != "" || strings.Contains(s, "#"):
		v.fault("has a #, and what is behind it is never sent; leave it out, or write %%23")
	default:
		return v.urlPort(u)
	}
	return false
}
