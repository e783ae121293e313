// Package config reads the exporter's YAML configuration into typed values.
// Every fault of a file is reported at once, with its line, its field and what to write instead.
//
// [Load] reads a file into a [Config], with a [Layer], [Node], [Queue] or [Class] for each block. A backend's own block is a
// source that the backend has read (package probes), so that this package knows none of them. Config's methods Open… open
// what is configured.
package config

import (
	"regexp"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Config is one configuration file, complete and valid.
type Config struct {
	Layers     []Layer
	Queues     []Queue
	History    []History
	Canaries   []Class
	Versions   []App
	RoundTrips []RoundTrip
	// Recovery is nil where the file has no block for it; DefaultRecovery stands for it then.
	Recovery *Recovery
}

// Layer is a tier of cache.
type Layer struct {
	Name string
	// TTL is the longest time to live that the application sets here; 0 where NoExpiry.
	TTL time.Duration
	// NoExpiry says that copies without expiry are intended (ttl: none).
	NoExpiry bool
	// MaxStaleness is how long the design allows a copy to be stale.
	MaxStaleness time.Duration
	Nodes        []Node
}

// Node is one server, or a group that finds its nodes by itself.
type Node struct {
	Name string
	// Kind is its backend's name, and Traits what such nodes can do and tell.
	Kind   string
	Traits probes.NodeTraits
	Source probes.NodeSource
	// MinNodes that a group is expected to have; 0: not configured.
	MinNodes int
}

// Queue carries invalidations.
type Queue struct {
	Name string
	// Capacity in messages; 0: not configured.
	Capacity int64
	// TargetRate in messages per second that processors are meant to reach; 0: not configured.
	TargetRate float64
	// Limits beyond which its alerts fire.
	Limits QueueLimits
	// Subscribers that a channel is expected to have; 0: not configured. App: as many as the known instances of this application;
	// empty: not configured.
	Subscribers int64
	App         string
	// Message says where an invalidation's parts stand; nil: they are unknown.
	Message *probes.Message
	Source  probes.QueueSource
}

// QueueLimits are a queue's own, where the alerts' usual numbers do not fit it; 0: not configured.
type QueueLimits struct {
	// Depth in messages from which it pages where it does not drain soon, and DepthTicket from which there is a ticket: both or
	// neither is known.
	Depth, DepthTicket int64
	// Oldest is the age of the oldest message, and Drain the time in which the queue is empty at the present rates.
	Oldest, Drain time.Duration
}

// History tells of invalidation attempts and of those that failed.
type History struct {
	Name   string
	Source probes.HistorySource
}

// RoundTrip is an active invalidation probe (invalidation_probes): it publishes an invalidation of keys of its own, and sees
// when the nodes no longer serve the old version.
type RoundTrip struct {
	Name              string
	Interval, Timeout time.Duration
	// Layers that are probed.
	Layers []string
	// Key holds {id}.
	Key form.Template
	// Message holds {key}; it may hold {id}, {version} and {timestamp_ms}. Its other braces are text.
	Message form.Template
	// Publish is where the message is sent.
	Publish probes.PublisherSource
}

// Class is a canary: keys of one kind, read on every scrape from every node that should hold them.
type Class struct {
	Name string
	// Keys are read on every scrape. Without Keys and Pattern there are Events.
	Keys []string
	// Pattern is a Redis glob; Sample keys that match it are read, in rotation. Empty: none.
	Pattern string
	// Sample is the budget of keys from the pattern (default 100).
	Sample int
	// Match names parts of the key for the templates; nil: only {key}.
	Match  *regexp.Regexp
	Layers []ClassLayer
	// Hash: the keys are Redis hashes, not strings.
	Hash     bool
	Version  *Version
	CachedAt *Version
	// MaxAge of a copy by CachedAt; 0: none.
	MaxAge  time.Duration
	Ignore  []string
	Compare []string
	// Absent matches an origin's answer that stands for "not there"; nil: none does. Copies go by their layer's.
	Absent *regexp.Regexp
	Origin *Origin
	// Refresh asks the application to make the copies of a key anew (repair --strategy=refresh); nil: it can't be asked.
	Refresh probes.RefresherSource
	// Events says which messages of a queue name keys of the class; nil: none do.
	Events *Events
}

// ClassLayer is one layer of a class, with what differs there; Decode, Select Absent and MaxStaleness are already resolved.
type ClassLayer struct {
	Name string
	// Key is what {key} stands for in this layer (default "{key}").
	Key form.Template
	// Decode steps, with a ? behind those that not every value needs.
	Decode []string
	Select string
	// Absent matches content that stands for "not there"; nil: none does.
	Absent       *regexp.Regexp
	MaxStaleness time.Duration
}

// Version says where a version or a time stands: exactly one of JSON, Regexp (first group) and Field is set.
type Version struct {
	JSON   string
	Regexp *regexp.Regexp
	Field  string
	// Kind: integer, timestamp, timestamp_ms, rfc3339 or dotted.
	Kind string
	// MaxClockSkew: how far a timestamp may be ahead of our clock (default 5s).
	MaxClockSkew time.Duration
}

// Origin is where the truth of a key is asked.
type Origin struct {
	Source       probes.OriginSource
	Decode       []string
	Select       string
	MaxLag       time.Duration
	MaxPerScrape int
}

// App is an application whose instances tell the version of their caching code.
type App struct {
	Name   string
	Source probes.ApplicationSource
}
