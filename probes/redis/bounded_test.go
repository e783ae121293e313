package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// read all that the library would get of what a server says.
func readBounded(said []byte, may *allowance) (string, error) {
	conn := bounded(probetest.NewReplay(said), &probes.Secrets{}, func() *allowance { return may })
	got, err := io.ReadAll(conn)
	return string(got), err
}

func TestBoundedReplies(t *testing.T) {
	for said, want := range map[string]string{
		"+OK\r\n:5\r\n$3\r\nabc\r\n*2\r\n$-1\r\n*-1\r\n":                     "+OK\r\n:5\r\n$3\r\nabc\r\n*2\r\n$-1\r\n*-1\r\n",
		"$21\r\n" + strings.Repeat("x", 21) + "\r\n:7\r\n":                   "-TOOLARGE 21\r\n:7\r\n",
		"*2\r\n$21\r\n" + strings.Repeat("x", 21) + "\r\n*1\r\n:1\r\n:7\r\n": "-TOOLARGE 21\r\n:7\r\n",
		"*9\r\n" + strings.Repeat(":1\r\n", 9) + ":7\r\n":                    "-TOOLARGE 0\r\n:7\r\n",
		"*3\r\n*3\r\n:1\r\n:1\r\n:1\r\n*3\r\n:1\r\n:1\r\n:1\r\n:1\r\n:7\r\n": "-TOOLARGE 0\r\n:7\r\n",
		":x\r\n*1\r\n:x\r\n":        "-UNUSABLE the answer is of another kind than the command's\r\n*1\r\n$-1\r\n",
		":99999999999999999999\r\n": ":9223372036854775807\r\n",
	} {
		got, err := readBounded([]byte(said), newAllowance(20, 8))
		if got != want || !errors.Is(err, nil) {
			t.Errorf("%q comes as %q, want %q; %v", said, got, want, err)
		}
	}
	deep := strings.Repeat("*1\r\n", 1000) + ":1\r\n:7\r\n"
	if got, err := readBounded([]byte(deep), newAllowance(1<<20, 1<<20)); got != "-TOOLARGE 0\r\n:7\r\n" || err != nil {
		t.Errorf("a deep one comes as %q, %v", got, err)
	}
	for _, said := range []string{"$9223372036854775806\r\n", "%5\r\n", ">3\r\n", "$5\r\nabcdefg"} {
		if got, err := readBounded([]byte(said), newAllowance(1<<20, 1<<20)); got != "" || err == nil {
			t.Errorf("%q comes as %q", said, got)
		}
	}
}

// saying is a server that says the same to each new connection.
type saying []byte

// Do implements commander.
func (s saying) Do(ctx context.Context, use func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error)) error {
	may := allowed(ctx)
	client := redis.NewClient(&redis.Options{
		Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1, ReadTimeout: -1, WriteTimeout: -1,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			return bounded(replayedConn{probetest.NewReplay(s)}, &probes.Secrets{}, func() *allowance { return may }), nil
		},
	})
	defer func() { _ = client.Close() }()
	_, _, err := use(ctx, client)
	return err
}

type replayedConn struct{ *probetest.Replayed }

func (replayedConn) LocalAddr() net.Addr              { return nil }
func (replayedConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzQueues samples a list and a stream of a server that says anything, from the wire up.
func FuzzQueues(f *testing.F) {
	begin := "-ERR unknown command\r\n"
	groups := "*1\r\n*8\r\n" + servers.BulkText("name") + servers.BulkText("g\xff") + servers.BulkText("consumers") + ":1\r\n" +
		servers.BulkText("pending") + ":-1\r\n" + servers.BulkText("last-delivered-id") + servers.BulkText("1-0")
	for _, said := range []string{
		":3\r\n:100\r\n$2\r\nhi\r\n$2\r\nyo\r\n*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n", ":-3\r\n:-1\r\n", "$9223372036854775806\r\n",
		":3\r\n*2147483648\r\n", ":3\r\n" + groups + ":9\r\n+stream\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
	} {
		f.Add([]byte(begin + said))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		env := probetest.Env()
		messages, err := message.NewReader(&probes.Message{Key: "$.key"})
		if err != nil {
			t.Fatal(err)
		}
		server := saying(said)
		list := &listQueue{server: server, key: "q", messages: messages, sample: 5, size: messageSize{limit: 64}, holds: queueHolder{env.Budget, &probes.Holder{}}}
		stream := &streamQueue{server: server, key: "q", messages: messages, sample: 5, size: messageSize{limit: 64}, holds: queueHolder{env.Budget, &probes.Holder{}}}
		for _, q := range []probes.Queue{list, stream} {
			b, _ := q.Sample(t.Context())
			if b.Depth.Value < 0 || b.OldestAge.Value < 0 || b.Complete && !b.Depth.Known {
				t.Errorf("%T: %+v", q, b)
			}
			for _, g := range b.Groups {
				if g.Members < 0 || g.Pending.Value < 0 {
					t.Errorf("%+v", g)
				}
			}
			probetest.Whole(t, env.Budget)
		}
	})
}

// A number below 0 is none of what it counts, and costs itself alone.
func TestNegativeNumbers(t *testing.T) {
	f := queueFleet(t, servers.RedisSaying(t, func(command []string) string {
		switch command[0] {
		case "INFO":
			return servers.BulkText("redis_version:7.4.0\r\nrole:master\r\nkeyspace_hits:-5\r\nkeyspace_misses:7\r\nused_memory:nan\r\nmaxmemory:1e999\r\n# Keyspace\r\ndb0:keys=-3,x=1\r\n")
		case "HELLO":
			return "-ERR unknown command\r\n"
		case "LLEN":
			return ":-5\r\n"
		}
		return ""
	}), nodeConfig{})
	b, err := probetest.SampleIn(t, messageQueue(t, f, 100, queueConfig{List: "list"}), 5*time.Second)
	if err == nil || !strings.Contains(err.Error(), "the answer to LLEN is of another kind") || b.Complete || b.Depth.Known {
		t.Errorf("%+v, %v", b, err)
	}
	s := probetest.Survey(t, f.Nodes()[0])
	if want := "[keyspace_hits used_memory maxmemory db0]"; fmt.Sprint(s.Odd) != want {
		t.Errorf("odd are %v, want %s", s.Odd, want)
	}
	if s.Hits.Known || s.MemoryUsed.Known || s.MemoryLimit.Known || s.Misses.Value != 7 || s.Items.Known || s.Version == "" {
		t.Errorf("%+v", s)
	}
}

// Nor does one that has the password for its version or policy.
func TestSurveysRepeatNoSecret(t *testing.T) {
	const password = "S3cretPassw0rd"
	addr := servers.RedisSaying(t, func(command []string) string {
		if command[0] != "INFO" {
			return ""
		}
		return servers.BulkText("redis_version:" + password + "\r\nmaxmemory_policy:pol-" + password + "\r\nrole:master\r\nrun_id:r\r\nkeyspace_hits:5\r\n")
	})
	n := openNode(t, nodeConfig{Address: addr, Credentials: credentials("", password)}, probetest.Env())
	s := probetest.Survey(t, n)
	if told := s.Version + s.EvictionPolicy; told == "" || strings.Contains(told, password) || s.Hits.Value != 5 {
		t.Errorf("%q, %+v", told, s.Hits)
	}
}

// A server that repeats the arguments of what it was sent tells no password to whoever reads the error.
func TestErrorsRepeatNoSecret(t *testing.T) {
	const password = "a-password-that-nobody-may-see"
	echo := "-ERR unknown command 'AUTH' with args beginning with: 'exporter' '" + password + "'\r\n"
	f := queueFleet(t, servers.RedisSaying(t, func(command []string) string {
		switch command[0] {
		case "AUTH", "SELECT", "CLIENT":
			return ""
		case "HELLO":
			return "-ERR unknown command\r\n"
		}
		return echo
	}), nodeConfig{Credentials: credentials("exporter", password)})
	n := f.Nodes()[0]
	var said bytes.Buffer
	tell := func(err error) {
		if err == nil {
			t.Error("no error")
		}
		fmt.Fprintln(&said, err)
	}
	ctx := probetest.Within(t, 10*time.Second)
	s, err := n.Survey(ctx, &probes.Scan{Count: 1})
	fmt.Fprintln(&said, s.Refused, s.ScanErr, err)
	_ = n.Read(ctx, []probes.Key{{Name: "a"}, {Name: "h", Hash: true}}, func(_ int, r probes.Raw) { tell(r.Err) })
	for _, c := range []queueConfig{{List: "list"}, {Stream: "stream"}} {
		_, err := messageQueue(t, f, 100, c).Sample(ctx)
		tell(err)
	}
	for _, c := range []publishConfig{{Node: "redis-1", List: "list"}, {Node: "redis-1", Stream: "stream"}} {
		p, err := c.Open(f, probetest.Env())
		if err != nil {
			t.Fatal(err)
		}
		tell(p.Publish(ctx, "k", []byte("m")))
	}
	tell(n.(probes.Writable).Put(ctx, "k", []byte("v"), time.Second))
	tell(n.(probes.Deleter).Delete(ctx, []string{"k"})[0])
	_, err = n.(probes.Editable).Load(ctx, probes.Key{Name: "k"})
	tell(err)
	tell(n.(probes.Lister).List(ctx, "*", func([]string) error { return nil }))
	if strings.Contains(said.String(), "nobody") || strings.Count(said.String(), "ERR") < 8 {
		t.Error(said.String())
	}
}

// What is a value is in no error of the library.
func TestLibraryErrorsQuoteNoValue(t *testing.T) {
	const value = "a-value-that-nobody-may-see"
	f := queueFleet(t, servers.RedisSaying(t, func(command []string) string {
		if command[0] == "HELLO" {
			return "-ERR unknown command\r\n"
		}
		return servers.BulkText(value)
	}), nodeConfig{})
	for _, c := range []queueConfig{{List: "list"}, {Stream: "stream"}} {
		if _, err := messageQueue(t, f, 100, c).Sample(probetest.Within(t, 5*time.Second)); err == nil || strings.Contains(err.Error(), "nobody") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func credentials(user, password string) form.Credentials {
	return form.Credentials{Username: user, Password: form.Secret(password)}
}
