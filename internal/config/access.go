package config

import (
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// access is a user and password while they are read.
type access struct {
	Credentials
	username, password, file value
	// user and passworded: there is one, or was, before it had its fault.
	user, passworded bool
}

func (s *section) credentials() access {
	a := access{username: s.get("username"), password: s.get("password"), file: s.get("password_file")}
	var ok bool
	a.Username, ok = a.username.text("a user")
	a.user = a.username.given() && (!ok || a.Username != "")
	password, ok := a.password.text("a password")
	a.Password = Secret(password)
	a.PasswordFile = a.file.filePath("the path of a file with the password")
	a.passworded = a.file.given() || a.password.given() && (!ok || password != "")
	if a.password.given() && a.file.given() {
		a.file.fault("stands beside password; keep one of them")
	}
	return a
}

// fromURL adds the user and password that an address holds.
func (a *access) fromURL(address value, u *url.Userinfo) {
	password, _ := u.Password()
	switch {
	case u.Username() == "":
	case a.username.given():
		address.fault("holds a user, and username stands beside it; keep one of them")
	default:
		a.Username, a.username, a.user = u.Username(), address, true
	}
	switch {
	case password == "":
	case a.password.given() || a.file.given():
		address.fault("holds a password, and password or password_file stands beside it; keep one of them")
	default:
		a.Password = Secret(password)
	}
	a.passworded = a.passworded || password != ""
}

// passwordedUser: a user needs a password. A password may stand alone, as Redis's requirepass.
func (a access) passwordedUser() Credentials {
	if a.user && !a.passworded {
		a.username.fault("has no password beside it; write password or password_file too")
	}
	return a.Credentials
}

// pair: a password needs a user too.
func (a access) pair() Credentials {
	if at := a.secret(); a.passworded && !a.user {
		at.fault("has no username beside it; write username too")
	}
	return a.passwordedUser()
}

// secret is where the password stands.
func (a access) secret() value {
	if a.file.given() {
		return a.file
	}
	return a.password
}

// filePath reads the path of a file, which begins in the folder of the configuration.
func (v value) filePath(what string) string {
	s := v.word(what)
	if s == "" {
		return ""
	}
	if !filepath.IsAbs(s) {
		s = filepath.Join(v.dir, s)
	}
	if why := unreadable(s); why != "" {
		v.fault("%s %s; write the path of a file that this process may read (a relative one begins in the configuration's folder)", v.quoted(), why)
		return ""
	}
	return s
}

// unreadable says why a file can't be read now; empty: it can.
func unreadable(path string) string {
	reason := func(err error) string {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // without the path, which is told already
		}
		return fmt.Sprintf("can't be read (%v)", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return reason(err)
	}
	if !info.Mode().IsRegular() { // reading a pipe could wait for ever
		return "is no regular file"
	}
	f, err := os.Open(path)
	if err != nil {
		return reason(err)
	}
	defer func() { _ = f.Close() }() // only read
	_, err = f.Read(make([]byte, 1))
	switch {
	case errors.Is(err, io.EOF):
		return "is empty"
	case err != nil:
		return reason(err)
	}
	return ""
}

func (s *section) tls() *TLS {
	v := s.get("tls")
	if !v.given() {
		return nil
	}
	if isNull(v.node) {
		v.fault("is empty; write tls: {} for TLS as usual, or fields below it")
		return nil
	}
	t := v.section()
	ca, cert, key := t.get("ca_file"), t.get("cert_file"), t.get("key_file")
	out := &TLS{
		CAFile:   ca.filePath("the path of a file with certificates"),
		CertFile: cert.filePath("the path of a file with the certificate"),
		KeyFile:  key.filePath("the path of a file with the key"),
	}
	out.ServerName, _ = t.get("server_name").text("a host's name")
	out.InsecureSkipVerify = t.get("insecure_skip_verify").bool(false)
	t.done()
	if _, err := (&TLS{CAFile: out.CAFile}).Build(); err != nil {
		ca.fault("%s holds no certificate in PEM form; write the path of one that does", ca.quoted())
	}
	switch {
	case cert.given() && !key.given():
		cert.fault("has no key_file beside it; write key_file too")
	case key.given() && !cert.given():
		key.fault("has no cert_file beside it; write cert_file too")
	case out.CertFile != "" && out.KeyFile != "":
		if _, err := (&TLS{CertFile: out.CertFile, KeyFile: out.KeyFile}).Build(); err != nil {
			cert.fault("%s is no certificate for the key of key_file; write a pair in PEM form", cert.quoted())
		}
	}
	return out
}

// client reads what every http block may carry.
func (s *section) client() HTTPClient {
	access := s.credentials()
	c := HTTPClient{Credentials: access.pair(), TLS: s.tls()}
	bearer := s.get("bearer_token_file")
	c.BearerTokenFile = bearer.filePath("the path of a file with the token")
	if bearer.given() && (access.user || access.passworded) {
		bearer.fault("stands beside username or password; keep one way to log in")
	}
	return c
}

// headers of each request.
func (s *section) headers(c HTTPClient) map[string]string {
	v := s.get("headers")
	if !v.given() {
		return nil
	}
	t := v.section()
	words, seen := map[string]string{}, map[string]string{}
	for _, name := range t.order {
		item, canonical := t.fields[name], textproto.CanonicalMIMEHeaderKey(name)
		words[name] = item.word("the header's value")
		first, twice := seen[canonical]
		switch {
		case !isHeaderName(name):
			item.fault("is no name of a header; write letters, digits and -")
		case twice:
			item.fault("is %s once more; keep one of them", first)
		case strings.ContainsFunc(words[name], func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F }):
			item.fault("has a value with control characters; write it on one line")
		case canonical == "Host" && strings.ContainsAny(words[name], " \t/@"):
			item.fault("%s is no host; write a name, with :port where it has one", item.quoted())
		case canonical == "Authorization" && (c.Credentials != Credentials{} || c.BearerTokenFile != ""):
			item.fault("stands beside username or bearer_token_file; keep one way to log in")
		}
		seen[canonical] = name
	}
	return words
}

func (v value) headerName(what string) string {
	s := v.word(what)
	if s != "" && !isHeaderName(s) {
		v.fault("%s is no name of a header; write letters, digits and -", v.quoted())
	}
	return s
}

func isHeaderName(s string) bool { return s != "" && strings.Trim(s, headerCharacters) == "" }

// headerCharacters are the tokens of RFC 9110.
const headerCharacters = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
