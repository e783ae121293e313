package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mostWeight of a server in a pool.
const mostWeight = 65535

// dnsName reads host:port, or srv+NAME. It is nil only where the field does not stand.
func (v value) dnsName(kind, port string, once func(at value, server string)) *DNSName {
	if !v.given() {
		return nil
	}
	out := &DNSName{}
	s := v.word("host:port, such as cache-headless:" + port + ", or srv+NAME")
	if s == "" || v.unixSocket(s) {
		return out
	}
	name, srv := strings.CutPrefix(s, "srv+")
	switch {
	case srv && strings.Contains(name, ":"):
		v.fault("%s has a port, which SRV records tell; write srv+NAME without", v.quoted())
		return out
	case srv && !isHost(name):
		v.fault("%s is no DNS name; write srv+NAME, such as srv+_cache._tcp.example.org", v.quoted())
		return out
	case srv:
		out.Host, out.SRV = name, true
	case !v.hostPort(s, port):
		return out
	default:
		i := strings.LastIndexByte(s, ':')
		out.Host, out.Port = strings.Trim(s[:i], "[]"), s[i+1:]
	}
	once(v, kind+" by DNS "+strings.ToLower(s))
	return out
}

// dnsKey tells names apart; empty where none stands.
func (v value) dnsKey() string {
	if !v.given() || v.node.Value == "" {
		return ""
	}
	return " by DNS " + strings.ToLower(v.node.Value)
}

// poolServers reads a list of host:port, of ketama with a weight behind.
func (v value) poolServers(at value, hashing string, once func(at value, server string)) []PoolServer {
	var out []PoolServer
	for _, item := range v.list(`host:port, or "host:port WEIGHT"`) {
		text := item.word(`host:port, or "host:port WEIGHT"`)
		address, weight, weighted := strings.Cut(text, " ")
		if address == "" || item.unixSocket(address) || !item.hostPort(address, "11211") {
			continue
		}
		s := PoolServer{Address: address, Weight: 1}
		if weighted {
			n, err := strconv.ParseUint(weight, 10, 16)
			if err != nil || n == 0 || strconv.FormatUint(n, 10) != weight {
				item.fault("%s has a weight that is no whole number from 1 to %d; write host:port, a space and the weight", item.quoted(), mostWeight)
				continue
			}
			s.Weight = int(n)
		}
		if weighted && at.given() && hashing != "" && hashing != HashingKetama {
			item.fault("%s has a weight, which ketama alone has; write host:port (gomemcache gives a server that is listed twice twice the keys)", item.quoted())
		}
		twice := slices.ContainsFunc(out, func(o PoolServer) bool { return strings.EqualFold(o.Address, s.Address) })
		switch {
		case !twice:
			once(item, "memcached "+strings.ToLower(s.Address))
		case hashing == HashingKetama || hashing == HashingAny:
			item.fault("%s stands in the pool already; keep one of them", item.quoted())
		}
		out = append(out, s)
	}
	return out
}

// member is a URL with the place of a server's address, which must be its whole host.
var member = regexp.MustCompile(`(?i)^(https?://)\{host\}(:\{port\}|:\d+)?($|[/?])`)

// memberURL reads the URL of one of several servers, with {host} and {port} in it and no other place.
func (v value) memberURL() string { return v.memberTemplate(nil).String() }

// memberTemplate reads the URL of one of several servers: {host} and {port} stand for it, and it may have other names.
func (v value) memberTemplate(names []string) Template {
	before := len(v.faults)
	t := v.template(append(slices.Clone(names), "host", "port"))
	if t.IsZero() || len(v.faults) > before {
		return Template{}
	}
	if !member.MatchString(t.String()) {
		v.fault("has no {host} for its host, so that all nodes would be one server; write http://{host}:{port}/path")
		return Template{}
	}
	sample := t.Expand(map[string]string{"host": "192.0.2.1", "port": "80", "key": "x"}, nil)
	if !v.checkURL(sample) {
		return Template{}
	}
	return t
}
