package probes

import (
	"context"
	"errors"
	"time"
)

// Identity names one cache node.
type Identity struct {
	Layer string
	Name  string
	// Kind is its backend's name, such as redis.
	Kind string
	// Traits are what a node of its kind can do and tell.
	Traits NodeTraits
	// Group is the configured group that found the node; empty for a node configured by itself.
	Group string
	// Address is the host:port at which the node is asked, where replicas may be listed by theirs.
	Address string
}

// Node is one cache server. Survey and Read are called by one goroutine at a time; both return soon after ctx ends.
type Node interface {
	Identity() Identity
	// Survey asks the node how it is, before any key is read. scan may be nil.
	Survey(ctx context.Context, scan *Scan) (Survey, error)
	// Read asks for all keys in as few round trips as the backend allows and calls visit for each key exactly
	// once, in any order, from one goroutine at a time, and then once for each further variant of the copy (Raw.Further). Raw's
	// bytes are valid only during the call. An error means that the node failed as a whole; keys not visited by then were not read.
	Read(ctx context.Context, keys []Key, visit func(i int, r Raw)) error
	Close()
}

// Key is one key as the node's layer names it.
type Key struct {
	// Name on this node: what {key} stands for.
	Name string
	// Hash: a hash of fields is expected.
	Hash bool
	// Check: the key's type is asked too, where that may explain an answer (Raw.Suspect).
	Check bool
	// Identity: what tells one storing of the copy from the next is asked too, where that takes a command more (Raw.ExpiresMS).
	Identity bool
}

// Raw is one copy as the node gave it: present, missing (neither Present nor Err), or unreadable (Err).
type Raw struct {
	Present bool
	Value   []byte
	// Fields of a hash; valid where Key.Hash was set.
	Fields []Field
	// TTL that is left; valid where HasTTL. NoExpiry: the server says that the copy never expires.
	TTL      time.Duration
	HasTTL   bool
	NoExpiry bool
	// Suspect: the server answered nil for a key with a TTL (expired or replaced in between, or of another type).
	Suspect bool
	Err     error
	// Variant of the copy that this is, where the node holds several (encodings of an HTTP body); else empty. Further: the key was
	// visited with another one before.
	Variant string
	Further bool

	// What follows tells one storing of the copy from the next, whatever was stored.

	// CAS id of memcached, which rises on a server with each copy that it stores, until it restarts; 0: none told, or none that
	// was given when the copy was stored.
	CAS uint64
	// ExpiresMS is when the copy expires by the server's clock, in Unix milliseconds; 0: unknown, or never. Only with Key.Identity.
	ExpiresMS int64
	// Age of an HTTP answer by its header; valid where HasAge. ETag is a hash of its entity tag; 0: it has none.
	Age    time.Duration
	HasAge bool
	ETag   uint64
}

// Field is one field of a hash.
type Field struct{ Name, Value []byte }

// BatchKeys is how many keys go into one pipeline.
const BatchKeys = 1000

// Survey is what a node reported of itself. A text is empty, and a Count not Known, where it did not.
type Survey struct {
	// Took is the time that the survey needed.
	Took time.Duration
	// Unasked: there was nothing to ask this node (an HTTP node without stats and health URL), or it reported nothing that
	// counts; its keys are read all the same, and Answerer says whether it is up.
	Unasked bool
	// Refused says why the server gave no account of itself, though it answered; nil: it gave one, or has none. Its keys are read all
	// the same.
	Refused error
	// Left: the group's source no longer has the node, which is asked for a while all the same. CalledDown: the source has it,
	// and says itself that it is down, and it does not answer.
	Left, CalledDown bool
	// Loading: it still loads its data.
	Loading bool
	// Peer is the host:port at which the node was reached, with the host's address in numbers; empty: unknown.
	Peer string
	// RunID names the server's process: another one means that it began anew.
	RunID   string
	Version string
	// Role: primary or replica.
	Role string
	// Active: a replica that takes writes of its own, so that it may vote.
	Active bool
	// EvictionPolicy in the server's own words.
	EvictionPolicy string

	// Counted since the server began, but for the items and the memory (in bytes) that it has now.
	Hits, Misses, Evicted, Expired, Items, MemoryUsed, MemoryLimit, UptimeSeconds Count

	// Odd are the names of numbers that the node told and that can be none, such as hits below 0. They are not known.
	Odd []string

	// OwnHits and OwnMisses are what this process's reads had added to Hits and Misses by then.
	OwnHits, OwnMisses uint64
	// Fills are this process's reads that an edge answered from its origin.
	Fills uint64

	// Replication is nil where the node does not replicate (memcached, HTTP).
	Replication *Replication
	// ScanErr says why the scan found nothing, or not all: the server refused it, or (ErrListing) has not come to its end yet.
	ScanErr error
}

// Count reads a number of this name that the node told.
func (s *Survey) Count(name, text string) Count {
	if OddCount(text) {
		s.Odd = append(s.Odd, name)
	}
	return ParseCount(text)
}

// Replication is a Redis server's own account (INFO replication).
type Replication struct {
	ReplID, ReplID2 string
	// Primary is host:port of the replica's primary, the first of its primaries.
	Primary   string
	Primaries []PrimaryLink
	// LinkUp: the links to all its primaries are up.
	LinkUp bool
	// Offset: master_repl_offset of a primary, slave_repl_offset of a replica, in bytes; known where HasOffset.
	Offset    int64
	HasOffset bool
	Replicas  []Replica
}

// Follows reports that the node is a replica whose copies are its primary's: it takes no writes, and has no vote beside that one.
func (s *Survey) Follows() bool { return s.Role == "replica" && !s.Active }

// PrimaryLink is a replica's link to one of its primaries. Address is host:port.
type PrimaryLink struct {
	Address string
	LinkUp  bool
}

// Replica is one replica as its primary reports it. Offset is in bytes, and known where HasOffset.
type Replica struct {
	Address   string
	Online    bool
	Offset    int64
	HasOffset bool
}

// Scan asks for one step of listing keys.
type Scan struct {
	// Count is the COUNT of SCAN.
	Count int
	// Match is the glob to send along, where one serves all classes; may be empty.
	Match string
	// Found is called with each key as it is listed, also after the survey has ended, and by several goroutines at once: how many there
	// are is the server's to say, so that nobody gathers them. nil: nobody wants them.
	Found func(key string)
	// Wait: a listing of all keys is waited for; else it goes on by itself, and no survey waits.
	Wait bool
}

// Offer a key that was listed.
func (s *Scan) Offer(key string) {
	if s.Found != nil {
		s.Found(key)
	}
}

// ErrListing is the error of a server of which nobody knows yet what keys it has.
var ErrListing = errors.New("the first listing of its keys has not ended yet, so that which there are is not known")

// Holding says what a node has to do with a key.
type Holding uint8

const (
	// Holds is for a node that should hold the key.
	Holds Holding = iota
	// Elsewhere is for a node that is not asked, because others hold the key.
	Elsewhere
	// Foreign is for a node that is asked although others hold the key: a copy here is a stray.
	Foreign
	// Anywhere is for a pool of which any server may hold the key: what is found is a copy, and what is not is no missing one.
	Anywhere
)

// Placement of a key, as the node's group knows it since the survey.
type Placement struct {
	Holding Holding
	// Moving: the key's slot is being handed over to another shard.
	Moving bool
	// Moves counts the times that the slot was seen to change its owner.
	Moves int
}

// Placer is a node of a group that shares keys out. Place is called after the node's survey, with the key's name as the
// node's layer knows it; what it says is valid until the next survey. A node that is no Placer holds every key of its layer.
type Placer interface{ Place(key string) Placement }

// Answerer is a node whose survey may be Unasked. Answered reports whether it has answered, since the last Survey began, what
// shows that it is up.
type Answerer interface{ Answered() bool }

// Writable is a node in which keys of our own can be written and watched. Keys and values are the caller's alone. All
// methods may be called by several goroutines at once, also beside Survey, and return soon after ctx ends; what they sent
// may still be carried out then.
type Writable interface {
	Node
	// Put stores value under key for ttl. ErrReplica: the node is a replica, and its primary is the one to write to.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// Watch reports of each key whether the node serves the value that was put there, all in one round trip. Its reads are
	// counted as our own.
	Watch(ctx context.Context, keys []string, values [][]byte) ([]Seen, error)
	// Remove deletes keys; those that are not there are no error.
	Remove(ctx context.Context, keys []string) error
}

// ErrReplica is what a replica answers that is asked to write.
var ErrReplica = errors.New("the node is a replica, which takes no writes")

// Seen is what Watch saw of a key.
type Seen uint8

const (
	// NotTold is for a key of which the node did not say.
	NotTold Seen = iota
	// Served is for the value that was put.
	Served
	// Changed is for another value.
	Changed
	// Gone is for no value.
	Gone
)

// NodeTraits are what nodes of a kind can do and tell. They stand wherever the exporter would else ask for a kind by name.
type NodeTraits struct {
	// Hashes: it holds hashes of fields, besides strings.
	Hashes bool
	// Writable: its nodes are Writable, so that keys of our own can be written.
	Writable bool
	// PlainKeys: its keys have at most 250 bytes and no white space.
	PlainKeys bool
	// ListsKeys: it can list its keys, as a pattern needs; StepsThroughKeys: by a cursor, each key once a round.
	ListsKeys, StepsThroughKeys bool
	// TellsTTL: it tells the time to live of each copy, not of those alone whose answer says it.
	TellsTTL bool
	// TellsSettings: its survey tells its settings. NoLimitUntold: where it tells its eviction policy and no memory limit,
	// there is none.
	TellsSettings, NoLimitUntold bool
	// TellsLoading: its survey tells whether it still loads its data.
	TellsLoading bool
	// Replicates: its nodes are primaries and replicas.
	Replicates bool
	// Fills: a read may fill it from its origin.
	Fills bool
}
