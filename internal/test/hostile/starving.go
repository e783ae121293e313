package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

const (
	// promised is how large the values are said to be that never come whole, and begun how much of them comes.
	promised, begun = 1_000_000, 100_000
	// dripEvery is the pause between two bytes of a value that drips.
	dripEvery = 20 * time.Millisecond
	// starvingKeys of each node that reads them one by one, each over a connection of its own.
	starvingKeys = 16
)

// Starving is the attack of servers that begin large values and do not end them, to hold what others need.
func Starving() []Attack {
	return []Attack{{Name: "starving", Start: startStarving}}
}

// StallingHTTP starts a server that begins a body for each request, and gives its URL. head ends the answer's head; then the body
// stands still or drips.
func StallingHTTP(t testing.TB, head string, drips bool) string {
	t.Helper()
	return "http://" + servers.Listen(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\r\n" {
				stall(conn, "HTTP/1.1 200 OK\r\n"+head, drips)
				return
			}
		}
	})
}

// The heads of a body of known and of unknown length.
var (
	KnownLength   = fmt.Sprintf("Content-Length: %d\r\n\r\n", promised)
	UnknownLength = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", promised)
)

// stall begins a value behind a head, and never ends it.
func stall(conn net.Conn, head string, drips bool) {
	_, err := io.WriteString(conn, head+strings.Repeat("x", begun))
	for drips && err == nil {
		time.Sleep(dripEvery)
		_, err = io.WriteString(conn, "x")
	}
	_, _ = io.Copy(io.Discard, conn)
}

// StallingRedis starts a server that gives an account of itself, and begins every value and message. It gives the address.
func StallingRedis(t testing.TB) string {
	t.Helper()
	value := fmt.Sprintf("$%d\r\n%s", promised, strings.Repeat("x", begun))
	info := servers.BulkText(fmt.Sprintf("redis_version:7.2.0\r\nrun_id:%040d\r\nrole:master\r\n", time.Now().UnixNano()))
	return servers.RedisSaying(t, func(command []string) string {
		switch command[0] {
		case "INFO":
			return info
		case "PTTL":
			return ":100000\r\n"
		case "LLEN", "XLEN":
			return ":5\r\n"
		case "MEMORY":
			return ":1000000\r\n"
		case "MGET":
			return fmt.Sprintf("*%d\r\n%s", len(command)-1, value)
		case "HGETALL":
			return "*4\r\n" + servers.BulkText("a") + value
		case "LINDEX", "LRANGE", "XINFO", "XRANGE", "XREVRANGE":
			return value
		}
		return ""
	})
}

// StallingMemcached starts a server that gives an account of itself and begins every value. It gives the address.
func StallingMemcached(t testing.TB) string {
	t.Helper()
	return servers.Listen(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			said := "ERROR\r\n"
			switch word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word {
			case "mg":
				stall(conn, fmt.Sprintf("VA %d t1000 c1 O0\r\n", promised), false)
				return
			case "stats":
				said = "STAT pid 1\r\nSTAT uptime 100\r\nSTAT version 1.6.18\r\nEND\r\n"
			}
			if _, err := io.WriteString(conn, said); err != nil {
				return
			}
		}
	})
}

func startStarving(t testing.TB) Config {
	var nodes strings.Builder
	for i, u := range []string{
		StallingHTTP(t, KnownLength, false), StallingHTTP(t, UnknownLength, false), StallingHTTP(t, KnownLength, true), StallingHTTP(t, UnknownLength, true),
	} {
		fmt.Fprintf(&nodes, "      - {name: starving-http-%d, http: {url: \"%s/{key}\"}}\n", i+1, u)
	}
	fmt.Fprintf(&nodes, "      - {name: starving-redis, redis: {address: %q}}\n", StallingRedis(t))
	fmt.Fprintf(&nodes, "      - {name: starving-memcached, memcached: {address: %q}}\n", StallingMemcached(t))
	keys := make([]string, starvingKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("%q", fmt.Sprintf("starving:%d", i))
	}
	return Config{
		Layers: []string{
			"  - name: starving\n    ttl: 1h\n    nodes:\n" + nodes.String(),
			fmt.Sprintf("  - {name: starving-hashes, ttl: 1h, nodes: [{name: starving-hash, redis: {address: %q}}]}\n", StallingRedis(t)),
			fmt.Sprintf("  - {name: starving-queues, ttl: 1h, nodes: [{name: starving-list, redis: {address: %q}}, {name: starving-stream, redis: {address: %q}}]}\n",
				StallingRedis(t), StallingRedis(t)),
		},
		Queues: []string{
			"  - {name: starving-list, redis: {node: starving-list, list: q}}\n",
			"  - {name: starving-stream, redis: {node: starving-stream, stream: q}}\n",
			fmt.Sprintf("  - {name: starving-http, http: {url: %q, depth: $.depth}}\n", StallingHTTP(t, UnknownLength, true)),
		},
		Classes: []string{
			fmt.Sprintf("  - {class: starving, layers: [starving], keys: [%s]}\n", strings.Join(keys, ", ")),
			"  - {class: starving-hash, layers: [starving-hashes], type: hash, keys: [h]}\n",
			fmt.Sprintf("  - {class: starving-origin, layers: [honest], keys: [\"honest:0\", \"honest:1\"], origin: {http: {url: \"%s/{key}\"}}}\n",
				StallingHTTP(t, UnknownLength, false)),
		},
	}
}
