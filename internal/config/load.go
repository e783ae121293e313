package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Load reads a file. The error is Faults where the file could be read.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the configuration can't be read: %w; name a file that can with --config.file", err)
	}
	return Parse(path, data)
}

// Parse reads a configuration. name stands for the file in its Faults, and relative paths begin in its folder.
func Parse(name string, data []byte) (*Config, error) {
	r := newReader(name)
	c := r.parse(data)
	if len(r.faults) > 0 {
		slices.SortStableFunc(r.faults, func(a, b Fault) int { return a.Line - b.Line })
		return nil, r.faults
	}
	return c, nil
}

func newReader(name string) *reader {
	return &reader{file: name, dir: filepath.Dir(name), asked: map[string]bool{}}
}

// parse gives what could be read; it is complete where there are no faults.
func (r *reader) parse(data []byte) *Config {
	c := &Config{}
	root := r.document(data)
	if root == nil {
		return c
	}
	s := value{reader: r, node: root, line: root.Line}.section()
	layers, queues, history := s.get("layers"), s.get("queues"), s.get("history")
	canaries, versions := s.get("canaries"), s.get("versions")
	invalidationProbes := s.get("invalidation_probes")
	if s.ok && !layers.given() && !queues.given() && !history.given() && !versions.given() {
		s.fault("holds nothing to watch; write at least one of layers, queues, history and versions")
	}
	names, nodes := taken{}, taken{}
	for _, v := range layers.list("layers") {
		c.Layers = append(c.Layers, v.layer(names, nodes))
	}
	names = taken{}
	for _, v := range queues.list("queues") {
		c.Queues = append(c.Queues, v.queue(c.Layers, names))
	}
	names = taken{}
	for _, v := range history.list("histories") {
		c.History = append(c.History, v.history(names))
	}
	names = taken{}
	for _, v := range canaries.list("canary classes") {
		c.Canaries = append(c.Canaries, v.class(c.Layers, names))
	}
	names = taken{}
	for _, v := range versions.list("applications") {
		c.Versions = append(c.Versions, v.app(names))
	}
	names = taken{}
	for _, v := range invalidationProbes.list("invalidation probes") {
		c.Probes = append(c.Probes, v.invalidationProbe(c.Layers, c.Canaries, names))
	}
	s.done()
	return c
}

// app tells the versions of its instances.
func (v value) app(apps taken) App {
	s := v.section()
	a := App{Nodes: map[string]string{}}
	name, nodes, dns, u := s.get("app"), s.get("nodes"), s.get("dns"), s.get("url")
	if s.require(name, "the application's name") {
		a.Name = name.name("the application's name")
		apps.add(name, a.Name, "application")
	}
	s.exactlyOne(nodes, dns)
	a.DNS = dns.dnsName("app", "8080", func(value, string) {})
	switch {
	case dns.given():
		if s.require(u, "the URL of an instance's version, such as http://{host}:{port}/version") {
			a.URL = u.memberTemplate(nil)
		}
	case u.given():
		u.fault("stands without dns; write dns, or the URLs into nodes")
	}
	if nodes.given() {
		instances := nodes.section()
		if instances.ok && len(instances.order) == 0 {
			nodes.fault("is empty; write name: URL for each instance")
		}
		for _, n := range instances.order {
			instance := instances.fields[n]
			if n == "" || !isName(n) || strings.Contains(n, "${") {
				instance.fault("is no plain name, and ${…} is filled in in values alone; write the instance's name")
			}
			a.Nodes[n] = instance.url()
		}
	}
	a.JSON = s.get("json").jsonPath()
	a.Client = s.client()
	s.done()
	return a
}

// Advice says what is allowed, and often not meant.
func (c *Config) Advice() []string {
	var out []string
	for _, q := range c.Queues {
		if q.Kafka != nil && len(q.Kafka.Groups) == 0 {
			out = append(out, fmt.Sprintf("queue %q: without groups its lag and depth stay unknown; name the groups that process it", q.Name))
		}
	}
	for _, k := range c.Canaries {
		if k.Origin != nil && k.Version == nil && k.Origin.MaxLag == 0 {
			out = append(out, fmt.Sprintf("class %q: the origin convicts at once; where it reads from a replica, set origin.max_lag to how far it may lag", k.Name))
		}
	}
	return out
}
