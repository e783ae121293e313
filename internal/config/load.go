package config

import (
	"fmt"
	"os"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
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
	d := form.Read(name, data)
	c := read(d)
	if faults := d.Faults(); len(faults) > 0 {
		return nil, faults
	}
	return c, nil
}

// read gives what could be read; it is complete where there are no faults.
func read(d *form.Document) *Config {
	c := &Config{}
	root := d.Root()
	if d.Empty() {
		root.Fault("is empty; write at least one of layers, queues, history and versions")
	}
	b := root.Block()
	layers, queues, history := b.Get("layers"), b.Get("queues"), b.Get("history")
	canaries, versions := b.Get("canaries"), b.Get("versions")
	invalidationProbes := b.Get("invalidation_probes")
	if b.NoneGiven(layers, queues, history, versions) {
		b.Fault("holds nothing to watch; write at least one of layers, queues, history and versions")
	}
	names, nodes := form.Taken{}, form.Taken{}
	for _, v := range layers.List("layers") {
		c.Layers = append(c.Layers, readLayer(v, names, nodes))
	}
	names = form.Taken{}
	for _, v := range queues.List("queues") {
		c.Queues = append(c.Queues, readQueue(v, c.Layers, names))
	}
	names = form.Taken{}
	for _, v := range history.List("histories") {
		c.History = append(c.History, readHistory(v, names))
	}
	names = form.Taken{}
	for _, v := range canaries.List("canary classes") {
		c.Canaries = append(c.Canaries, readClass(v, c.Layers, names))
	}
	names = form.Taken{}
	for _, v := range versions.List("applications") {
		c.Versions = append(c.Versions, readApp(v, names))
	}
	names = form.Taken{}
	for _, v := range invalidationProbes.List("invalidation probes") {
		c.Probes = append(c.Probes, readInvalidationProbe(v, c.Layers, c.Canaries, names))
	}
	b.Done()
	return c
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
