package probes

import "github.com/cacheinv/cacheinv_exporter/internal/form"

// Backend is one kind of server, and how each of the roles that it may play is read from the configuration. A role that it
// does not play is nil. What these functions give is complete where the file has no fault; the faults are noted in it.
//
// A backend is a folder that exports one Backend, and a line in package backends.
type Backend struct {
	// Name of its blocks in the configuration, and the label kind of its nodes.
	Name string
	// Node reads a node of a layer: layers[].nodes[].NAME.
	Node func(block form.Value, in Layer) NodeSource
	// NodeTraits are what such a node can do and tell.
	NodeTraits NodeTraits
	// Queue reads a queue: queues[].NAME.
	Queue func(block form.Value, known Known) QueueSource
	// QueueKinds are what QueueSource.Kind may give; nil: Name alone.
	QueueKinds []string
	// History reads where invalidation attempts are recorded: history[].NAME.
	History func(block form.Value) HistorySource
	// Publisher reads where an invalidation probe sends its message: invalidation_probes[].publish.NAME.
	Publisher func(block form.Value, known Known) PublisherSource
	// Origin reads where the truth of a key is asked: canaries[].origin.NAME. keyNames may stand in templates; nil: any.
	Origin func(block form.Value, keyNames []string) OriginSource
	// Refresher reads how an application is asked to make its copies of a key anew: canaries[].refresh.NAME. keyNames may stand
	// in templates; nil: any.
	Refresher func(block form.Value, keyNames []string) RefresherSource
	// Application reads the fields of versions[] but for the application's name. One backend alone plays this role, as
	// nothing in the block names it.
	Application func(fields *form.Block) ApplicationSource
	// Health reads a URL at which an application tells whether it is well: recovery.health_url. One backend alone plays this role.
	Health func(url form.Value) HealthSource
}

// Layer is where a node stands in the configuration.
type Layer struct {
	// Name of the layer.
	Name string
	// Once refuses a server that the layer has already; server is any text that is one for one server.
	Once func(at form.Value, server string)
}

// Known gives the source of a node of the layers by its configured name; nil where there is none.
type Known func(node string) NodeSource

// NodeSource is a server, or a group that finds its servers, as configured.
type NodeSource interface {
	// Group reports whether it is a group.
	Group() bool
	// Commands for a person; member is the host:port of a server that a group found, empty for the server as configured.
	Commands(member string) NodeCommands
	// Open gives what it stands for; nothing is asked yet. least is how many nodes a group is expected to have (min_nodes);
	// 0: not configured.
	Open(id Identity, least int, env *Env) (Members, error)
}

// NodeCommands are what a person would run to look at a node: text to paste into a shell, without secrets. One that there
// is not is empty.
type NodeCommands struct {
	// Ask whether it answers, and what it is.
	Ask string
	// Group asks it for what it knows of its group.
	Group string
	// Version and Settings ask for these.
	Version, Settings string
}

// QueueSource is a queue as configured.
type QueueSource interface {
	// Kind is the label kind of the queue: one of its backend's QueueKinds.
	Kind() string
	Traits() QueueTraits
	// On is the configured name of the node on which the queue lies; empty: it has a server of its own.
	On() string
	// Watched are the consumer groups that it looks at; empty: none.
	Watched() []form.NameMatch
	// Command is what a person would run to look at the queue: text to paste into a shell, without secrets; empty where
	// there is none.
	Command(look QueueLook) string
	// Advice is what is allowed, and often not meant; empty: nothing.
	Advice() string
	// Open the queue of that name; nothing is asked yet. m is nil where the parts of a message are unknown. A queue on a
	// node of fleet is to be closed before it.
	Open(name string, m *Message, fleet *Fleet, env *Env) (Queue, error)
}

// QueueLook is what a person wants to see of a queue.
type QueueLook struct {
	// Newest messages, not what waits.
	Newest bool
	// Group of consumers; empty: all.
	Group string
	// Member is the host:port of the server that the queue lies on, where it was found by a group; empty: as configured.
	Member string
}

// HistorySource is a record of invalidation attempts, as configured.
type HistorySource interface {
	// Open it; nothing is asked yet. What it counts goes to counts.
	Open(counts *Tally, env *Env) (History, error)
}

// PublisherSource is where invalidations are sent, as configured.
type PublisherSource interface {
	// On is the configured name of the node to which it sends; empty: it has a server of its own.
	On() string
	// Open it; nothing is asked yet. A publisher on a node of fleet is to be closed before it.
	Open(fleet *Fleet, env *Env) (Publisher, error)
}

// OriginSource is where the truth of a class's keys is asked, as configured.
type OriginSource interface {
	// Identity is the same where the answers are. It may hold secrets, and is shown nowhere.
	Identity() string
	// Open it; nothing is asked yet.
	Open(env *Env) (Origin, error)
}

// ApplicationSource is an application whose instances tell their version, as configured.
type ApplicationSource interface {
	// Command is what a person would run to see the versions: text to paste into a shell, without secrets.
	Command() string
	// Open the application of that name; nothing is asked yet.
	Open(name string, env *Env) (Application, error)
}
