package hostile

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// replies are what a Redis answers to commands, by their first word, or their first two; to all others it answers as an idle server.
type replies map[string]reply

// reply to a command.
type reply func(command []string, to io.Writer) error

// text is a reply that is always the same.
func text(said string) reply {
	return func(_ []string, to io.Writer) error {
		_, err := io.WriteString(to, said)
		return err
	}
}

// endless begins a reply, and goes on with a part of it for so many times.
func endless(begin, part string, times int) reply {
	const atOnce = 1 << 14
	many := bytes.Repeat([]byte(part), atOnce)
	return func(_ []string, to io.Writer) error {
		if _, err := io.WriteString(to, begin); err != nil {
			return err
		}
		for left := times; left > 0; left -= atOnce {
			if _, err := to.Write(many[:min(left, atOnce)*len(part)]); err != nil {
				return err
			}
		}
		return nil
	}
}

// idleRedis is what an idle server answers.
var idleRedis = replies{
	"INFO":   text(servers.BulkText("# Server\r\nredis_version:7.4.0\r\n# Replication\r\nrole:master\r\n# Keyspace\r\n")),
	"HELLO":  text("-ERR unknown command\r\n"),
	"PTTL":   text(":-1\r\n"),
	"LLEN":   text(":5\r\n"),
	"XLEN":   text(":5\r\n"),
	"MEMORY": text(":500\r\n"),
	"TYPE":   text("+stream\r\n"),
	"LINDEX": text(servers.BulkText("user:1")),
	"XINFO GROUPS": text("*1\r\n*8\r\n" + servers.BulkText("name") + servers.BulkText("g") + servers.BulkText("consumers") + ":1\r\n" +
		servers.BulkText("pending") + ":1\r\n" + servers.BulkText("last-delivered-id") + servers.BulkText("1-0")),
}

// answer a command.
func (r replies) answer(command []string, to io.Writer) error {
	name := strings.ToUpper(command[0])
	both := name
	if len(command) > 1 {
		both += " " + strings.ToUpper(command[1])
	}
	for _, from := range []replies{r, idleRedis} {
		for _, name := range []string{both, name} {
			if say := from[name]; say != nil {
				return say(command, to)
			}
		}
	}
	return text("+OK\r\n")(command, to)
}

// ofQueue is an attack over a queue, of a kind (list or stream), in a Redis.
func ofQueue(name, kind string, r replies) Attack {
	return Attack{Name: name, Start: func(t testing.TB) Config {
		return Config{
			Layers: []string{fmt.Sprintf("  - {name: %[1]s, ttl: 1h, nodes: [{name: %[1]s, redis: {address: %[2]q}}]}\n", name, servers.RedisWriting(t, r.answer))},
			Queues: []string{fmt.Sprintf("  - {name: %[1]s, redis: {node: %[1]s, %[2]s: q}}\n", name, kind)},
		}
	}}
}

// together is several attacks at once, each of servers of its own.
func together(name string, attacks ...Attack) Attack {
	return Attack{Name: name, Start: func(t testing.TB) (all Config) {
		for _, a := range attacks {
			c := a.Start(t)
			all.Layers, all.Queues, all.Classes = append(all.Layers, c.Layers...), append(all.Queues, c.Queues...), append(all.Classes, c.Classes...)
			all.More += c.More
		}
		return all
	}}
}

// queueReplies are replies about lists and streams for which a reader would take room that is not there.
func queueReplies() []Attack {
	mostBulk := fmt.Sprintf("$%d\r\n", int64(math.MaxInt64-1))
	manyElements := fmt.Sprintf("*%d\r\n", int64(1)<<31)
	const times = 40_000_000
	announced := func(_ []string, to io.Writer) error { // and gone
		if _, err := io.WriteString(to, manyElements); err != nil {
			return err
		}
		return io.EOF
	}
	deep := endless("", "*1\r\n", times)
	lists := together("lists",
		ofQueue("list-length-bulk", "list", replies{"LLEN": text(mostBulk)}),
		ofQueue("list-length-deep", "list", replies{"LLEN": deep}),
		ofQueue("list-length-line", "list", replies{"LLEN": endless(":", "1", times)}),
		ofQueue("list-range-elements", "list", replies{"LRANGE": announced}),
		ofQueue("list-range-dense", "list", replies{"LRANGE": endless(manyElements, "*0\r\n", times)}),
		ofQueue("list-end-bulk", "list", replies{"LINDEX": endless("$1000000000\r\n", "x", 1_000_000_000)}),
		ofQueue("list-usage-bulk", "list", replies{"MEMORY": text(mostBulk)}),
		ofQueue("list-login-bulk", "list", replies{"HELLO": text(mostBulk)}),
		ofQueue("list-push", "list", replies{"LLEN": text(">3\r\n" + mostBulk)}),
		ofQueue("list-map", "list", replies{"LLEN": text("%9223372036854775807\r\n")}),
	)
	streams := together("streams",
		ofQueue("stream-groups-deep", "stream", replies{"XINFO GROUPS": deep}),
		ofQueue("stream-groups-elements", "stream", replies{"XINFO GROUPS": announced}),
		ofQueue("stream-info-deep", "stream", replies{"XINFO STREAM": deep}),
		ofQueue("stream-entries-dense", "stream", replies{"XRANGE": endless(manyElements, ":1\r\n", times)}),
		ofQueue("stream-pending-bulk", "stream", replies{"XPENDING": text("*1\r\n*1\r\n" + mostBulk)}),
		ofQueue("stream-status", "stream", replies{"TYPE": endless("+", "x", times)}),
	)
	return []Attack{lists, streams}
}
