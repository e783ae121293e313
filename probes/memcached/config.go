package memcached

import (
	"slices"
	"strconv"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

// The ways in which clients find the server of a key in a memcached pool.
const (
	// hashingGomemcache is bradfitz/gomemcache's: CRC-32 of the key over the servers as they are listed; one listed twice has
	// twice the keys.
	hashingGomemcache = "gomemcache"
	// hashingKetama is libmemcached's consistent hashing (MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED).
	hashingKetama = "ketama"
	// hashingAny: every server is asked, and what is found is a copy.
	hashingAny = "any"
)

// nodeConfig is one memcached server, or a pool of them. Exactly one of Address (host:port), Servers and DNS is set.
type nodeConfig struct {
	Address string
	Servers []poolServer
	DNS     *form.DNSName
	// Hashing of a pool; empty where Address is set.
	Hashing     string
	Credentials form.Credentials
	TLS         *form.TLS
}

// poolServer is one server of a memcached pool.
type poolServer struct {
	// Address is host:port.
	Address string
	// Weight of ketama; 1 where none was written.
	Weight int
}

// mostWeight of a server in a pool.
const mostWeight = 65535

// readNode reads a server or pool; once refuses a server that the layer has already.
func readNode(v form.Value, once func(at form.Value, server string)) *nodeConfig {
	b := v.Block()
	out := &nodeConfig{}
	address, servers, dns := b.Get("address"), b.Get("servers"), b.Get("dns")
	b.ExactlyOne(address, servers, dns)
	if out.Address = address.Address("11211"); out.Address != "" {
		once(address, "memcached "+strings.ToLower(out.Address))
	}
	hash := b.Get("hashing")
	out.Hashing = hash.OneOf("", hashingGomemcache, hashingKetama, hashingAny)
	out.Servers = readPoolServers(servers, hash, out.Hashing, once)
	out.DNS = dns.DNSName("memcached", "11211", once)
	switch {
	case servers.Given():
		b.Require(hash, "how the clients find a key's server: gomemcache, ketama or any")
	case dns.Given() && out.Hashing != "" && out.Hashing != hashingAny:
		hash.Fault("is %s, for which the order or the names of the servers decide, and DNS tells neither; write any, or a list of servers", hash.Quoted())
	case dns.Given():
		out.Hashing = hashingAny
	case hash.Given():
		hash.Fault("stands without servers or dns; leave it out")
	}
	login := b.Credentials()
	for _, f := range []struct {
		at   form.Value
		text string
	}{{login.Username, login.Credentials.Username}, {login.Password, string(login.Credentials.Password)}} {
		if strings.ContainsAny(f.text, " \r\n\x00") {
			f.at.Fault("holds white space, which memcached takes for its end; write one without")
		}
	}
	out.Credentials, out.TLS = login.BothOrNeither(), b.TLS()
	b.Done()
	return out
}

// readPoolServers reads a list of host:port, of ketama with a weight behind. at is where the hashing stands.
func readPoolServers(v, at form.Value, hashing string, once func(at form.Value, server string)) []poolServer {
	var out []poolServer
	for _, item := range v.List(`host:port, or "host:port WEIGHT"`) {
		text := item.Word(`host:port, or "host:port WEIGHT"`)
		address, weight, weighted := strings.Cut(text, " ")
		if address == "" || item.RefuseSocket(address) || !item.CheckHostPort(address, "11211") {
			continue
		}
		s := poolServer{Address: address, Weight: 1}
		if weighted {
			n, err := strconv.ParseUint(weight, 10, 16)
			if err != nil || n == 0 || strconv.FormatUint(n, 10) != weight {
				item.Fault("%s has a weight that is no whole number from 1 to %d; write host:port, a space and the weight", item.Quoted(), mostWeight)
				continue
			}
			s.Weight = int(n)
		}
		if weighted && at.Given() && hashing != "" && hashing != hashingKetama {
			item.Fault("%s has a weight, which ketama alone has; write host:port (gomemcache gives a server that is listed twice twice the keys)", item.Quoted())
		}
		twice := slices.ContainsFunc(out, func(o poolServer) bool { return strings.EqualFold(o.Address, s.Address) })
		switch {
		case !twice:
			once(item, "memcached "+strings.ToLower(s.Address))
		case hashing == hashingKetama || hashing == hashingAny:
			item.Fault("%s stands in the pool already; keep one of them", item.Quoted())
		}
		out = append(out, s)
	}
	return out
}
