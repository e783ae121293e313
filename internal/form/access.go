package form

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

// HTTPClient is what every http block may carry for its requests.
type HTTPClient struct {
	Credentials     Credentials
	BearerTokenFile string
	TLS             *TLS
}

// Credentials of a server. A PasswordFile is read again at each new connection. Paths of files, here and below, are
// complete: relative ones begin in the configuration's folder.
type Credentials struct {
	Username     string
	Password     Secret
	PasswordFile string
}

// Secret is a password; it prints as <secret>.
type Secret string

// String never gives the secret away.
func (Secret) String() string { return "<secret>" }

// GoString never gives the secret away.
func (Secret) GoString() string { return "<secret>" }

// Format never gives the secret away, whatever the verb: with %d and the like fmt would not ask String.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText never gives the secret away.
func (Secret) MarshalText() ([]byte, error) { return []byte("<secret>"), nil }

// TLS settings of a connection; a nil *TLS is a plain connection.
type TLS struct {
	CAFile, CertFile, KeyFile, ServerName string
	InsecureSkipVerify                    bool
}

// Login is a user and password while they are read. UserNeedsPassword or BothOrNeither checks that they go together, and
// gives them.
type Login struct {
	// Credentials as they stand so far, not checked yet.
	Credentials Credentials
	// Username, Password and PasswordFile are the fields, given or not.
	Username, Password, PasswordFile Value
	// user and passworded: there is one, or was, before it had its fault.
	user, passworded bool
}

// Credentials reads username, password and password_file. Both of the latter two are a fault.
func (b *Block) Credentials() *Login {
	l := &Login{Username: b.Get("username"), Password: b.Get("password"), PasswordFile: b.Get("password_file")}
	var ok bool
	l.Credentials.Username, ok = l.Username.Text("a user")
	l.user = l.Username.Given() && (!ok || l.Credentials.Username != "")
	password, ok := l.Password.Text("a password")
	l.Credentials.Password = Secret(password)
	l.Credentials.PasswordFile = l.PasswordFile.FilePath("the path of a file with the password")
	l.passworded = l.PasswordFile.Given() || l.Password.Given() && (!ok || password != "")
	if l.Password.Given() && l.PasswordFile.Given() {
		l.PasswordFile.Fault("conflicts with password; keep one of them")
	}
	return l
}

// FromURL adds the user and password that an address holds; u may be nil. One that a field gives too is a fault.
func (l *Login) FromURL(address Value, u *url.Userinfo) {
	password, _ := u.Password()
	switch {
	case u.Username() == "":
	case l.Username.Given():
		address.Fault("holds a user, and username is set too; keep one of them")
	default:
		l.Credentials.Username, l.Username, l.user = u.Username(), address, true
	}
	switch {
	case password == "":
	case l.Password.Given() || l.PasswordFile.Given():
		address.Fault("holds a password, and password or password_file is set too; keep one of them")
	default:
		l.Credentials.Password = Secret(password)
	}
	l.passworded = l.passworded || password != ""
}

// HasUser reports whether there is a user that is not empty, or was, before it had its fault.
func (l *Login) HasUser() bool { return l.user }

// UserNeedsPassword gives the credentials; a user without a password is a fault. A password may stand alone, as Redis's
// requirepass.
func (l *Login) UserNeedsPassword() Credentials {
	if l.user && !l.passworded {
		l.Username.Fault("has no password beside it; write password or password_file too")
	}
	return l.Credentials
}

// BothOrNeither gives the credentials; a user without a password and a password without a user are faults.
func (l *Login) BothOrNeither() Credentials {
	if l.passworded && !l.user {
		at := l.Password
		if l.PasswordFile.Given() {
			at = l.PasswordFile
		}
		at.Fault("has no username beside it; write username too")
	}
	return l.UserNeedsPassword()
}

// FilePath reads the path of a file that can be read and is not empty. A relative one begins in the folder of the
// configuration; what is given is complete. "" is not given, or has had its fault.
func (v Value) FilePath(what string) string {
	s := v.Word(what)
	if s == "" {
		return ""
	}
	if !filepath.IsAbs(s) {
		s = filepath.Join(v.doc.dir, s)
	}
	if why := unreadable(s); why != "" {
		v.Fault("%s %s; write the path of a file that this process may read (a relative one begins in the configuration's folder)", v.Quoted(), why)
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

// TLS reads the block tls; nil where none stands, or a fault. The files are tried: what is no certificate, and half a
// pair, are faults.
func (b *Block) TLS() *TLS {
	v := b.Get("tls")
	if !v.Given() {
		return nil
	}
	if isNull(v.node) {
		v.Fault("is empty; write tls: {} for TLS as usual, or fields below it")
		return nil
	}
	t := v.Block()
	ca, cert, key := t.Get("ca_file"), t.Get("cert_file"), t.Get("key_file")
	out := &TLS{
		CAFile:   ca.FilePath("the path of a file with certificates"),
		CertFile: cert.FilePath("the path of a file with the certificate"),
		KeyFile:  key.FilePath("the path of a file with the key"),
	}
	out.ServerName, _ = t.Get("server_name").Text("a host's name")
	out.InsecureSkipVerify = t.Get("insecure_skip_verify").Bool(false)
	t.Done()
	if _, err := (&TLS{CAFile: out.CAFile}).Build(); err != nil {
		ca.Fault("%s holds no certificate in PEM form; write the path of one that does", ca.Quoted())
	}
	switch {
	case cert.Given() && !key.Given():
		cert.Fault("has no key_file beside it; write key_file too")
	case key.Given() && !cert.Given():
		key.Fault("has no cert_file beside it; write cert_file too")
	case out.CertFile != "" && out.KeyFile != "":
		if _, err := (&TLS{CertFile: out.CertFile, KeyFile: out.KeyFile}).Build(); err != nil {
			cert.Fault("%s is no certificate for the key of key_file; write a pair in PEM form", cert.Quoted())
		}
	}
	return out
}

// Client reads what every http block may carry: login, tls and bearer_token_file. Two ways to log in are a fault.
func (b *Block) Client() HTTPClient {
	login := b.Credentials()
	c := HTTPClient{Credentials: login.BothOrNeither(), TLS: b.TLS()}
	bearer := b.Get("bearer_token_file")
	c.BearerTokenFile = bearer.FilePath("the path of a file with the token")
	if bearer.Given() && (login.user || login.passworded) {
		bearer.Fault("conflicts with username or password; keep one way to log in")
	}
	return c
}

// Headers reads the block headers of a client's requests; nil where none stands. What is no name or no value of a header,
// one that stands twice, and Authorization beside another way to log in are faults.
func (b *Block) Headers(c HTTPClient) map[string]string {
	v := b.Get("headers")
	if !v.Given() {
		return nil
	}
	words, seen := map[string]string{}, map[string]string{}
	for name, item := range v.Block().Entries() {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		words[name] = item.Word("the header's value")
		first, twice := seen[canonical]
		switch {
		case !isHeaderName(name):
			item.Fault("is no name of a header; write letters, digits and -")
		case twice:
			item.Fault("is %s once more; keep one of them", first)
		case strings.ContainsFunc(words[name], func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F }):
			item.Fault("has a value with control characters; write it on one line")
		case canonical == "Host" && strings.ContainsAny(words[name], " \t/@"):
			item.Fault("%s is no host; write a name, with :port where it has one", item.Quoted())
		case canonical == "Authorization" && (c.Credentials != Credentials{} || c.BearerTokenFile != ""):
			item.Fault("conflicts with username or bearer_token_file; keep one way to log in")
		}
		seen[canonical] = name
	}
	return words
}

// HeaderName reads the name of a header; one that is none is a fault, and given all the same.
func (v Value) HeaderName(what string) string {
	s := v.Word(what)
	if s != "" && !isHeaderName(s) {
		v.Fault("%s is no name of a header; write letters, digits and -", v.Quoted())
	}
	return s
}

func isHeaderName(s string) bool { return s != "" && strings.Trim(s, headerCharacters) == "" }

// headerCharacters are the tokens of RFC 9110.
const headerCharacters = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
