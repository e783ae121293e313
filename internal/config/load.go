package config

import (
	"fmt"
	"os"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Load reads a file, whose blocks may name the backends. The error is form.Faults where the file could be read.
func Load(path string, backends []probes.Backend) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the configuration can't be read: %w; name a file that can with --config.file", err)
	}
	return Parse(path, data, backends)
}

// Parse reads a configuration, as Load does. name stands for the file in its faults, and relative paths begin in its folder.
func Parse(name string, data []byte, backends []probes.Backend) (*Config, error) {
	d := form.Read(name, data)
	c := readConfig(d, backends)
	if faults := d.Faults(); len(faults) > 0 {
		return nil, faults
	}
	return c, nil
}

// readConfig gives what could be read; it is complete where there are no faults.
func readConfig(d *form.Document, backends []probes.Backend) *Config {
	c := &Config{}
	r := &reader{backends: backends, config: c}
	root := d.Root()
	if d.Empty() {
		root.Fault("is empty; write at least one of layers, queues, history and versions")
	}
	b := root.Block()
	layers, queues, history := b.Get("layers"), b.Get("queues"), b.Get("history")
	canaries, versions := b.Get("canaries"), b.Get("versions")
	invalidationProbes, recovery := b.Get("invalidation_probes"), b.Get("recovery")
	if b.NoneGiven(layers, queues, history, versions) {
		b.Fault("holds nothing to watch; write at least one of layers, queues, history and versions")
	}
	names, nodes := form.Taken{}, form.Taken{}
	for _, v := range layers.List("layers") {
		c.Layers = append(c.Layers, r.layer(v, names, nodes))
	}
	names = form.Taken{}
	for _, v := range queues.List("queues") {
		c.Queues = append(c.Queues, r.queue(v, names))
	}
	names = form.Taken{}
	for _, v := range history.List("histories") {
		c.History = append(c.History, r.history(v, names))
	}
	names = form.Taken{}
	for _, v := range canaries.List("canary classes") {
		c.Canaries = append(c.Canaries, r.class(v, names))
	}
	names = form.Taken{}
	for _, v := range versions.List("applications") {
		c.Versions = append(c.Versions, r.app(v, names))
	}
	r.checkQueueApps()
	names = form.Taken{}
	for _, v := range invalidationProbes.List("invalidation probes") {
		c.RoundTrips = append(c.RoundTrips, r.roundTrip(v, names))
	}
	if recovery.Given() {
		c.Recovery = r.recovery(recovery)
	}
	b.Done()
	return c
}

// app reads the versions of one application's instances, by the backend that plays this role.
func (r *reader) app(v form.Value, apps form.Taken) App {
	b := v.Block()
	a := App{}
	name := b.Get("app")
	if b.Require(name, "the application's name") {
		a.Name = name.Name("the application's name")
		apps.Add(name, a.Name, "application")
	}
	for _, k := range r.backends {
		if k.Application != nil {
			a.Source = k.Application(b)
			break
		}
	}
	b.Done()
	return a
}

// Advice says what is allowed, and often not meant.
func (c *Config) Advice() []string {
	var out []string
	for _, q := range c.Queues {
		if advice := q.Source.Advice(); advice != "" {
			out = append(out, fmt.Sprintf("queue %q: %s", q.Name, advice))
		}
		if c.Recovery != nil && q.Source.Traits().Messages && !q.Source.Traits().AtOnce && (q.Message == nil || q.Message.Key == "") {
			out = append(out, fmt.Sprintf("queue %q: without message.key recover can't apply its backlog; write where a message has its key, such as message: {key: $.key}", q.Name))
		}
	}
	for _, k := range c.Canaries {
		if k.Origin != nil && k.Version == nil && k.Origin.MaxLag == 0 {
			out = append(out, fmt.Sprintf("class %q: the origin convicts at once; where it reads from a replica, set origin.max_lag to how far it may lag", k.Name))
		}
		if e := k.Events; e != nil && len(e.Keys) == 0 && k.Match == nil {
			out = append(out, fmt.Sprintf("class %q: without match each key of queue %q is taken for one of its; write match, or which keys a message names in events.keys", k.Name, e.Queue))
		}
	}
	return out
}
