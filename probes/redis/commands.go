package redis

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/shell"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Commands implements probes.NodeSource.
func (c *nodeConfig) Commands(address string) probes.NodeCommands {
	group := "INFO replication"
	if len(c.Cluster) > 0 {
		group = "CLUSTER INFO"
	}
	return probes.NodeCommands{
		Ask: c.cli(address, "INFO replication"), Group: c.cli(address, group),
		Version: c.cli(address, "INFO server"), Settings: c.cli(address, "INFO memory"),
	}
}

// cli gives a command for redis-cli at a host:port, where that is empty at the configured address; empty where only Sentinels
// or DNS know one.
func (c *nodeConfig) cli(found, command string) string {
	address, secure := c.Address, c.TLS != nil
	if seeds := append(append([]string{}, c.Replication...), c.Cluster...); len(seeds) > 0 {
		address = seeds[0]
	}
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		address, secure = u.Host, secure || u.Scheme == "rediss"
	}
	if address = address[strings.LastIndexByte(address, '@')+1:]; found != "" {
		address = found
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = address, "6379"
	}
	if host == "" {
		return ""
	}
	tls := ""
	if secure {
		tls = " --tls"
	}
	return fmt.Sprintf("timeout 5 redis-cli -h %s -p %s%s %s", shell.Quote(host), shell.Quote(port), tls, command)
}

// Command implements probes.QueueSource.
func (c *queueConfig) Command(look probes.QueueLook) string {
	switch {
	case c.Channel != "" && look.Newest && c.Sharded:
		return c.node.cli(look.Member, "-c SSUBSCRIBE "+shell.Quote(c.Channel))
	case c.Channel != "" && look.Newest:
		return c.node.cli(look.Member, "SUBSCRIBE "+shell.Quote(c.Channel))
	case c.Channel != "" && c.Sharded:
		return c.node.cli(look.Member, "PUBSUB SHARDNUMSUB "+shell.Quote(c.Channel))
	case c.Channel != "":
		return c.node.cli(look.Member, "PUBSUB NUMSUB "+shell.Quote(c.Channel))
	case look.Newest && c.Stream != "":
		return c.node.cli(look.Member, "XREVRANGE "+shell.Quote(c.Stream)+" + - COUNT 20")
	case look.Newest:
		return c.node.cli(look.Member, "LRANGE "+shell.Quote(c.List)+" -20 -1")
	case c.Stream != "":
		return c.node.cli(look.Member, "XINFO GROUPS "+shell.Quote(c.Stream))
	}
	return c.node.cli(look.Member, "LLEN "+shell.Quote(c.List))
}
