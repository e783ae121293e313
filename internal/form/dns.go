package form

import (
	"regexp"
	"slices"
	"strings"
)

// DNSName stands for one server for each address behind it: A and AAAA records with Port, or, written srv+NAME, an SRV
// record with its own hosts and ports.
type DNSName struct {
	Host string
	// Port is empty where SRV.
	Port string
	SRV  bool
}

// DNSName reads host:port, or srv+NAME, of servers of a kind, and hands it to once, which may refuse a server that stands
// twice; port is the usual one, for advice. It is nil only where the field does not stand: after a fault it is empty.
func (v Value) DNSName(kind, port string, once func(at Value, server string)) *DNSName {
	if !v.Given() {
		return nil
	}
	out := &DNSName{}
	s := v.Word("host:port, such as cache-headless:" + port + ", or srv+NAME")
	if s == "" || v.RefuseSocket(s) {
		return out
	}
	name, srv := strings.CutPrefix(s, "srv+")
	switch {
	case srv && strings.Contains(name, ":"):
		v.Fault("%s has a port, which SRV records tell; write srv+NAME without", v.Quoted())
		return out
	case srv && !IsHost(name):
		v.Fault("%s is no DNS name; write srv+NAME, such as srv+_cache._tcp.example.org", v.Quoted())
		return out
	case srv:
		out.Host, out.SRV = name, true
	case !v.CheckHostPort(s, port):
		return out
	default:
		i := strings.LastIndexByte(s, ':')
		out.Host, out.Port = strings.Trim(s[:i], "[]"), s[i+1:]
	}
	once(v, kind+" by DNS "+strings.ToLower(s))
	return out
}

// DNSKey tells one DNS name from another, for a longer key of a server; empty where none stands.
func (v Value) DNSKey() string {
	if !v.Given() || v.node.Value == "" {
		return ""
	}
	return " by DNS " + strings.ToLower(v.node.Value)
}

// member is a URL with the place of a server's address, which must be its whole host.
var member = regexp.MustCompile(`(?i)^(https?://)\{host\}(:\{port\}|:\d+)?($|[/?])`)

// MemberURL reads the URL of one of several servers, with {host} and {port} in it and no other place. "" is not given, or
// has had its fault.
func (v Value) MemberURL() string { return v.MemberTemplate(nil).String() }

// MemberTemplate reads the URL of one of several servers: {host} and {port} stand for it, and it may have other names. The
// zero Template is not given, or has had its fault.
func (v Value) MemberTemplate(names []string) Template {
	before := len(v.doc.faults)
	t := v.Template(append(slices.Clone(names), "host", "port"))
	if t.IsZero() || len(v.doc.faults) > before {
		return Template{}
	}
	if !member.MatchString(t.String()) {
		v.Fault("has no {host} for its host, so that all nodes would be one server; write http://{host}:{port}/path")
		return Template{}
	}
	sample := t.Expand(map[string]string{"host": "192.0.2.1", "port": "80", "key": "x"}, nil)
	if !v.checkURL(sample) {
		return Template{}
	}
	return t
}
