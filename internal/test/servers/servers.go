// Package servers starts real servers for tests: caches, queues, tables, Prometheus and Alertmanager, each on a free
// port of 127.0.0.1, with a folder of its own, and ended with the test. A server that is not installed fails the test.
//
// Each server has a function of its own: [Redis], [RedisCluster], [Memcached], [Kafka], [DynamoDB], [Prometheus],
// [Alertmanager], [Exporter]. A [Proxy] stands before one and delays, cuts or counts. [Eventually] waits for what must come.
package servers

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"go.uber.org/goleak"
)

// patience is how long a server may need for what it was asked to do.
const patience = 30 * time.Second

// starting is how long a server may need until it answers, on a machine that is busy with others.
const starting = 2 * time.Minute

// Process is a server that was started.
type Process struct {
	// Addr is its host:port.
	Addr string

	name string
	cmd  *exec.Cmd
	out  *output
	end  sync.Once
	over atomic.Bool
}

// output of a server, for the test's log where it does not start.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start a program that serves on addr; ready tells whether it answers.
func start(t testing.TB, addr string, ready func() bool, name string, args ...string) *Process {
	t.Helper()
	p := &Process{Addr: addr, name: name, cmd: exec.Command(name, args...), out: &output{}}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also where the test's own process is killed
	if err := p.cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			t.Fatalf("%s is not installed, and the tests need it: run make deps", name)
		}
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	for end := time.Now().Add(starting); !ready(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not answer on %s; it says:\n%s", name, addr, p.out)
		}
	}
	return p
}

// Stop ends the server at once.
func (p *Process) Stop() {
	p.end.Do(func() {
		p.over.Store(true)
		_ = p.cmd.Process.Kill() // it may have ended by itself
		_ = p.cmd.Wait()         // killed, and that is its error
	})
}

func (p *Process) ended() bool { return p.over.Load() }

// PID of the server's process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Freeze stops the process without ending it (SIGSTOP): it accepts and never answers.
func (p *Process) Freeze(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGSTOP)
	Eventually(t, p.name+" stands still", func() bool { return p.stopped(t) })
}

// stopped tells whether every thread is; the signal reaches one after the other.
func (p *Process) stopped(t testing.TB) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.PID()))
	if err != nil || len(threads) == 0 {
		t.Fatalf("no threads of %s under /proc: %v", p.name, err)
	}
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		if err == nil && !bytes.Contains(stat, []byte(") T ")) { // a thread may have ended meanwhile
			return false
		}
	}
	return true
}

// Thaw lets a frozen process go on.
func (p *Process) Thaw(t testing.TB) { p.signal(t, syscall.SIGCONT) }

func (p *Process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", p.name, err))
	}
}

// Ports of servers are below those that the system gives to connections: one of these would else take the port while the server starts.
const lowestPort, highestPort = 12_000, 32_000

// givenPorts are not given again.
var givenPorts sync.Map

// FreeAddr is a free port of 127.0.0.1, as host:port.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(lowestPort+rand.IntN(highestPort-lowestPort)))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		_ = l.Close()
		if _, given := givenPorts.LoadOrStore(addr, true); !given {
			return addr
		}
	}
	t.Fatalf("no port between %d and %d is free", lowestPort, highestPort)
	return ""
}

// Port of a host:port.
func Port(t testing.TB, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestsAtOnce has n parallel tests of a package run beside each other, however few processors there are: most of their time is waiting.
// It is for TestMain.
func TestsAtOnce(n int) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(n)); err != nil {
		panic(err)
	}
}

// Eventually waits until ok, or fails.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	pause := 5 * time.Millisecond
	for end := time.Now().Add(patience); !ok(); pause = min(pause+pause/4, 100*time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(pause)
	}
}

// NoLeaks checks at the test's end that no goroutine is left which the test began.
func NoLeaks(t *testing.T) {
	t.Helper()
	already := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, already) })
}

// Memcached starts a memcached.
func Memcached(t testing.TB, args ...string) *Process {
	t.Helper()
	return MemcachedAt(t, FreeAddr(t), args...)
}

// MemcachedClient of one or several servers, which waits for a busy machine; the library's own half a second is a fault of ours there.
func MemcachedClient(t testing.TB, addrs ...string) *memcache.Client {
	t.Helper()
	client := memcache.New(addrs...)
	client.Timeout = time.Minute
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// MemcachedAt starts a memcached on addr.
func MemcachedAt(t testing.TB, addr string, args ...string) *Process {
	t.Helper()
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	accepts := func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
	return start(t, addr, accepts, "memcached",
		append([]string{"-u", "nobody", "-l", host, "-p", Port(t, addr), "-m", "64"}, args...)...)
}
