package events

import (
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Spec is how a class's keys come out of a queue, and when they are looked at.
type Spec struct {
	Class, Queue string
	// Source is the same where positions in the queue mean the same: one of another server or stream is another queue.
	Source string
	// Message is the queue's; nil: not configured.
	Message *probes.Message
	// Keys are filled from Vars and {key}, the message's key or, of a Kafka record without a path to it, the record's; none: {key}.
	Keys []form.Template
	// Vars are the paths at which a name's value stands in the message. The first at which there is something counts: a value, or a list of
	// them, each of which makes a key.
	Vars map[string][]string
	// Version is the path of the event's version; empty: Message's.
	Version string
	// VersionKind is that of the class's versions, as in content.VersionSpec; empty: the class has none. An event's version that is
	// a time later than MaxClockSkew from now is none.
	VersionKind  string
	MaxClockSkew time.Duration
	// Patterns are the paths of Redis globs, each of which stands for those of Known that it fits.
	Patterns []string
	// Known gives the class's keys that are known. It is called while a queue is visited, and must not call the Tracker. nil: none.
	Known func() []string
	// Takes reports whether a key is the class's; nil: each is.
	Takes func(key string) bool
	// Sample is how many events are taken in each sampling of the queue.
	Sample int
	// Within is the age of one of the Windows, the promise.
	Within  time.Duration
	Windows []Window
	// Group whose progress counts; empty: all groups of the queue.
	Group string
	// TTLMin is the shortest TTL that is ever set; 0: not known.
	TTLMin time.Duration
	Layers []Layer
	// Contents is the same where contents, versions and keys on the layers are comparable: another text makes looks start over.
	Contents string
	// Reading is the same where messages give the same events, and the same progress counts: another text drops those with looks to come.
	Reading string
}

// Window is an age of events at which is looked.
type Window struct {
	// Label as it is written in the configuration.
	Label string
	Age   time.Duration
}

// Layer that holds a class's keys. It is not asked at windows that are not above MaxStaleness.
type Layer struct {
	Name         string
	MaxStaleness time.Duration
}
