// Package memo is a backend that exists only in tests, and the example of one in docs/architecture.md: a server is a map in
// this process, named by its address. It plays two roles, a cache node and a queue.
package memo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/shell"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Server holds values by key, and messages that wait.
type Server struct {
	mu       sync.Mutex
	values   map[string]string
	messages []string
}

// Set a key's value.
func (s *Server) Set(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = map[string]string{}
	}
	s.values[key] = value
}

// Push a message.
func (s *Server) Push(message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, message)
}

// docs: begin backend

// New gives the backend with its servers, by address. A backend that dials needs no such argument, and is a variable.
func New(servers map[string]*Server) probes.Backend {
	return probes.Backend{
		Name:       "memo",
		NodeTraits: probes.NodeTraits{TellsTTL: true},
		Node: func(block form.Value, in probes.Layer) probes.NodeSource {
			return nodeConfig{config: read(block, in.Once), servers: servers}
		},
		Queue: func(block form.Value, _ probes.Known) probes.QueueSource {
			return queueConfig{config: read(block, func(form.Value, string) {}), servers: servers}
		},
	}
}

// config is the block `memo: {address: …}`.
type config struct{ address string }

// read a block: each fault is reported with its line, its field and what to write instead.
func read(v form.Value, once func(at form.Value, server string)) config {
	b := v.Block()
	address := b.Get("address")
	c := config{}
	if b.Require(address, "the server's name") {
		c.address = address.Word("the server's name")
		once(address, "memo "+c.address)
	}
	b.Done()
	return c
}

// nodeConfig is a node of a layer, as configured.
type nodeConfig struct {
	config
	servers map[string]*Server
}

func (nodeConfig) Group() bool { return false }

func (c nodeConfig) Commands(string) probes.NodeCommands {
	return probes.NodeCommands{Ask: "memo-cli ask " + shell.Quote(c.address)}
}

func (c nodeConfig) Open(id probes.Identity, _ int, _ *probes.Env) (probes.Members, error) {
	s, ok := c.servers[c.address]
	if !ok {
		return nil, fmt.Errorf("there is no server %q", c.address)
	}
	return probes.Single(node{id, s}), nil
}

// node reads keys: one call for all of them, never one a key.
type node struct {
	id     probes.Identity
	server *Server
}

func (n node) Identity() probes.Identity { return n.id }
func (node) Close()                      {}

func (n node) Survey(context.Context, *probes.Scan) (probes.Survey, error) {
	n.server.mu.Lock()
	defer n.server.mu.Unlock()
	return probes.Survey{Took: time.Microsecond, Items: probes.Count{Value: float64(len(n.server.values)), Known: true}}, nil
}

func (n node) Read(_ context.Context, keys []probes.Key, visit func(i int, r probes.Raw)) error {
	n.server.mu.Lock()
	defer n.server.mu.Unlock()
	for i, k := range keys {
		value, present := n.server.values[k.Name]
		visit(i, probes.Raw{Present: present, Value: []byte(value), NoExpiry: present})
	}
	return nil
}

// docs: end backend

// queueConfig is a queue, as configured.
type queueConfig struct {
	config
	servers map[string]*Server
}

func (queueConfig) Kind() string               { return "memo" }
func (queueConfig) Traits() probes.QueueTraits { return probes.QueueTraits{LengthOnly: true} }
func (queueConfig) On() string                 { return "" }
func (queueConfig) Watched() []form.NameMatch  { return nil }
func (queueConfig) Advice() string             { return "" }
func (c queueConfig) Command(probes.QueueLook) string {
	return "memo-cli length " + shell.Quote(c.address)
}

func (c queueConfig) Open(string, *probes.Message, *probes.Fleet, *probes.Env) (probes.Queue, error) {
	s, ok := c.servers[c.address]
	if !ok {
		return nil, fmt.Errorf("there is no server %q", c.address)
	}
	return queue{s}, nil
}

type queue struct{ server *Server }

func (queue) Close() {}

func (q queue) Sample(context.Context) (probes.Backlog, error) {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	return probes.Backlog{Complete: true, Depth: probes.Count{Value: float64(len(q.server.messages)), Known: true}}, nil
}
