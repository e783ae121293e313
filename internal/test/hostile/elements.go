package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// fleetSize is how many servers of an attack answer the same at once: what one of them may take, all take together.
const fleetSize = 12

// ManyElements are answers that are small, or within their bounds, in bytes, and of which a reader makes many times as much.
func ManyElements() []Attack {
	dense := strings.Repeat("0,", (1<<20-20)/2) + "0]"
	body := "[" + strings.Repeat("[],", (4<<20-4)/3) + "[]]"
	hash := func(fields int) string {
		return fmt.Sprintf("*%d\r\n", 2*fields) + strings.Repeat("$0\r\n\r\n", 2*fields)
	}
	return []Attack{
		elementsOf("dense-values", replies{"MGET": arraysOfTheirOwn(dense)}, `select: "$[7]", keys: [a, b, c, d]`),
		elementsOf("many-fields", replies{"HGETALL": text(hash(1_000_000))}, `type: hash, keys: [a]`),
		elementsOf("long-types", replies{
			"TYPE": text(servers.BulkText(strings.Repeat("x", 4<<20))), "MGET": text("*3\r\n$-1\r\n$-1\r\n$-1\r\n"), "PTTL": text(":5\r\n"),
		}, `keys: [a, b, c]`),
		elementsOf("long-refusals", replies{"MGET": text("*500\r\n" + strings.Repeat("-ERR "+strings.Repeat("x", 30<<10)+"\r\n", 500))}, `keys: `+keyNames(500)),
		elementsOf("scan-many", replies{"SCAN": text(manyKeys(150_000, strings.Repeat("x", 100)))}, `pattern: "k*", sample: 1000`),
		elementsOf("scan-long", replies{"SCAN": text(manyKeys(1000, strings.Repeat("x", 16<<10)))}, `pattern: "k*", sample: 1000`),
		{Name: "dense-bodies", Start: func(t testing.TB) Config {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
			t.Cleanup(s.Close)
			return elements("dense-bodies", fmt.Sprintf("http: {url: \"%s/{key}\"}", s.URL), `select: "$[7]", keys: [a, b]`)
		}},
		{Name: "endless-keys", Start: func(t testing.TB) Config {
			return elements("endless-keys", fmt.Sprintf("memcached: {address: %q}", endlessMemcached(t)), `pattern: "k*", sample: 1000`)
		}},
		{Name: "dense-pages", Start: densePages},
	}
}

// elementsOf is an attack of several servers that speak RESP, which say this to these commands.
func elementsOf(name string, r replies, class string) Attack {
	return Attack{Name: name, Start: func(t testing.TB) Config {
		return elements(name, fmt.Sprintf("redis: {address: %q}", servers.RedisWriting(t, r.answer)), class)
	}}
}

// arraysOfTheirOwn has each key hold an array that ends so. Each differs from all others, so that none is known from another node.
func arraysOfTheirOwn(end string) reply {
	var answers atomic.Int64
	return func(command []string, to io.Writer) error {
		_, err := fmt.Fprintf(to, "*%d\r\n", len(command)-1)
		for range command[1:] {
			if err == nil {
				_, err = io.WriteString(to, servers.BulkText(fmt.Sprintf("[%d,%s", answers.Add(1), end)))
			}
		}
		return err
	}
}

// elements is the configuration of an attack: fleetSize nodes at one server, and a class of their own.
func elements(name, node, class string) Config {
	var nodes strings.Builder
	for i := range fleetSize {
		// One server is one node of a layer, so each has a layer of its own.
		fmt.Fprintf(&nodes, "  - {name: %[1]s-%[2]d, ttl: none, nodes: [{name: %[1]s-%[2]d, %[3]s}]}\n", name, i, node)
	}
	layers := make([]string, fleetSize)
	for i := range layers {
		layers[i] = fmt.Sprintf("%s-%d", name, i)
	}
	return Config{
		Layers:  []string{nodes.String()},
		Classes: []string{fmt.Sprintf("  - {class: %s, layers: [%s], %s}\n", name, strings.Join(layers, ", "), class)},
	}
}

func keyNames(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = "k" + strconv.Itoa(i)
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// manyKeys are a step of SCAN.
func manyKeys(n int, end string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*2\r\n$1\r\n0\r\n*%d\r\n", n)
	for i := range n {
		b.WriteString(servers.BulkText("k" + strconv.Itoa(i) + end))
	}
	return b.String()
}

// endlessMemcached lists keys for ever, and its settings have no end either.
func endlessMemcached(t testing.TB) string {
	end := "-" + strings.Repeat("x", 200) + " exp=-1 la=1 cas=1 fetch=no cls=1 size=1\n"
	return servers.Listen(t, func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		in, out := bufio.NewReader(conn), bufio.NewWriterSize(conn, 64<<10)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			switch line = strings.TrimSpace(line); {
			case strings.HasPrefix(line, "lru_crawler metadump"):
				for i := 0; err == nil; i++ {
					_, _ = out.WriteString("key=k" + strconv.Itoa(i))
					_, err = out.WriteString(end)
				}
			case line == "stats settings":
				for i := range 200_000 {
					_, err = fmt.Fprintf(out, "STAT s%d %s\r\n", i, "12345678901234567890")
				}
				_, _ = out.WriteString("END\r\n")
			case line == "stats":
				_, _ = out.WriteString("STAT uptime 1\r\nSTAT version 1.6.18\r\nSTAT limit_maxbytes 67108864\r\nSTAT pid 1\r\nSTAT time 1700000000\r\nEND\r\n")
			case line == "mn":
				_, _ = out.WriteString("MN\r\n")
			default:
				_, _ = out.WriteString("EN\r\n")
			}
			if err != nil || in.Buffered() == 0 && out.Flush() != nil {
				return
			}
		}
	})
}

// densePages is a DynamoDB whose pages hold far more values than items can have.
func densePages(t testing.TB) Config {
	page := `{"Items":[` + strings.Repeat(`{"t":{"L":[`+strings.Repeat(`{"N":"1"},`, 1000)[:9999]+`]}},`, 700)
	page = page[:len(page)-1] + `],"Count":1}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = io.WriteString(w, page)
	}))
	t.Cleanup(s.Close)
	c := Config{More: "history:\n"}
	for i := range fleetSize {
		c.More += fmt.Sprintf("  - {name: pages-%d, dynamodb: {table: t%d, region: us-east-1, endpoint: %q, partition_key: {name: p, value: x}, time_attribute: t, "+
			"time_format: epoch_ms, status_attribute: s, failed_values: [F]}}\n", i, i, s.URL)
	}
	return c
}
