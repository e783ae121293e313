// Package memcached asks memcached, alone, as a pool among whose servers clients share the keys out, or behind a DNS name.
//
// node is one server, or a proxy that speaks like one; pool knows to which of its servers a key belongs; keyList is what one
// node wants of the listing of its server's keys.
package memcached

import (
	"fmt"
	"net"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/shell"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Backend is memcached.
var Backend = probes.Backend{
	Name:       backendName,
	Node:       func(block form.Value, in probes.Layer) probes.NodeSource { return readNode(block, in.Once) },
	NodeTraits: probes.NodeTraits{Writable: true, PlainKeys: true, ListsKeys: true, TellsTTL: true, TellsSettings: true},
}

const backendName = "memcached"

// Group implements probes.NodeSource.
func (c *nodeConfig) Group() bool { return c.Address == "" }

// Commands implements probes.NodeSource.
func (c *nodeConfig) Commands(member string) probes.NodeCommands {
	address := c.Address
	if member != "" {
		address = member
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = address, "11211"
	}
	if host == "" {
		return probes.NodeCommands{}
	}
	ask := fmt.Sprintf(`timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"; printf "version\r\n" >&3; head -1 <&3' %s %s`, shell.Quote(host), shell.Quote(port))
	return probes.NodeCommands{Ask: ask, Version: ask}
}

// Open implements probes.NodeSource.
func (c *nodeConfig) Open(id probes.Identity, least int, env *probes.Env) (probes.Members, error) {
	switch {
	case len(c.Servers) > 0:
		return newPool(id, *c, least, env)
	case c.DNS != nil:
		return newDNSGroup(id, *c, least, env, env.Log), nil
	}
	n, err := newNode(id, *c, env)
	if err != nil {
		return nil, err
	}
	return probes.Single(n), nil
}
