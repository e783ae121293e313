package redis

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

// readURL reads redis://host:port/db, rediss:// too, or host:port. A user and password in it are given apart, so that
// nothing that shows the address shows them.
func readURL(v form.Value) (address string, u *url.URL) {
	s := v.Word("redis://host:port/db")
	if s == "" || v.RefuseSocket(s) {
		return "", nil
	}
	full := s
	if !strings.Contains(s, "://") {
		host, _, _ := strings.Cut(s[strings.LastIndexByte(s, '@')+1:], "/")
		if !v.CheckHostPort(host, "6379") {
			return "", nil
		}
		full = "redis://" + s
	}
	u, err := url.Parse(full)
	if err != nil || !form.IsHost(u.Hostname()) || u.Scheme != "redis" && u.Scheme != "rediss" || u.Opaque != "" {
		v.Fault("is no address of a Redis server; write redis://host:port/db, rediss:// for TLS, and a password into a field of its own")
		return "", nil
	}
	if !v.CheckURLPort(u) {
		return "", nil
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		v.Fault("has something behind a ? or #; write redis://host:port/db, and all else into fields")
		return "", nil
	}
	if db := strings.TrimPrefix(u.Path, "/"); db != "" {
		if n, err := strconv.ParseUint(db, 10, 31); err != nil || strconv.FormatUint(n, 10) != db {
			v.Fault("has a path that is no number of a database; write redis://host:port/0")
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

// urlServer is the host, port and database that a URL names, however it is written.
func urlServer(u *url.URL) string {
	port, db := u.Port(), strings.TrimPrefix(u.Path, "/")
	if port == "" {
		port = "6379"
	}
	if db == "" {
		db = "0"
	}
	return strings.ToLower(net.JoinHostPort(u.Hostname(), port)) + "/" + db
}
