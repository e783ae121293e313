// Package config reads the exporter's YAML configuration into typed values.
// Every fault of a file is reported at once, with its line, its field and what to write instead.
package config

import (
	"fmt"
	"io"
	"regexp"
	"time"
)

// Config is one configuration file, complete and valid.
type Config struct {
	Layers   []Layer
	Queues   []Queue
	History  []History
	Canaries []Class
	Versions []App
	Probes   []InvalidationProbe
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

// Node is one server, or a group that finds its nodes by itself. Exactly one of the pointers is set.
type Node struct {
	Name      string
	Redis     *Redis
	Memcached *Memcached
	HTTP      *HTTPNode
	// MinNodes that a group is expected to have; 0: not configured.
	MinNodes int
}

// Redis is a Redis or Valkey server, or a group of them. Exactly one of Address, Replication, Cluster, Sentinel and DNS
// is set.
type Redis struct {
	// Address is a redis:// or rediss:// URL, or host:port; /N selects a database. What Parse gives holds no user and
	// password: these are Credentials.
	Address string
	// Replication holds seeds (host:port) of a primary and its replicas, which are found through INFO replication.
	Replication []string
	// Cluster holds seeds (host:port) of a Redis Cluster, whose shards and their replicas are found through CLUSTER SHARDS.
	Cluster  []string
	Sentinel *Sentinel
	// DNS names servers of equal rank.
	DNS         *DNSName
	Credentials Credentials
	TLS         *TLS
}

// Sentinel knows a primary and its replicas by the name of their master. Its credentials and TLS are its own.
type Sentinel struct {
	Master string
	// Addresses of Sentinels (host:port).
	Addresses   []string
	Credentials Credentials
	TLS         *TLS
}

// DNSName stands for one server for each address behind it: A and AAAA records with Port, or, written srv+NAME, an SRV
// record with its own hosts and ports.
type DNSName struct {
	Host string
	// Port is empty where SRV.
	Port string
	SRV  bool
}

// The ways in which clients find the server of a key in a memcached pool.
const (
	// HashingGomemcache is bradfitz/gomemcache's: CRC-32 of the key over the servers as they are listed; one listed twice has
	// twice the keys.
	HashingGomemcache = "gomemcache"
	// HashingKetama is libmemcached's consistent hashing (MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED).
	HashingKetama = "ketama"
	// HashingAny: every server is asked, and what is found is a copy.
	HashingAny = "any"
)

// Memcached is one memcached server, or a pool of them. Exactly one of Address (host:port), Servers and DNS is set.
type Memcached struct {
	Address string
	Servers []PoolServer
	DNS     *DNSName
	// Hashing of a pool; empty where Address is set.
	Hashing     string
	Credentials Credentials
	TLS         *TLS
}

// PoolServer is one server of a memcached pool.
type PoolServer struct {
	// Address is host:port.
	Address string
	// Weight of ketama; 1 where none was written.
	Weight int
}

// HTTPNode is a cache that answers over HTTP: an edge, or an application's local cache.
type HTTPNode struct {
	// URL holds {key}; with DNS, {host} and {port} too, as may the statistics' and the health URL.
	URL Template
	// DNS names servers, each of which is a node; nil: one node.
	DNS            *DNSName
	Headers        map[string]string
	CacheStatus    *CacheStatus
	OnlyIfCached   bool
	TTLFromHeaders bool
	Stats          *HTTPStats
	HealthURL      string
	Client         HTTPClient
	// Edge is true in a layer named edge, or with CacheStatus.
	Edge bool
}

// CacheStatus names the response header that tells a hit from a fill.
type CacheStatus struct {
	Header string
	Hit    *regexp.Regexp
}

// HTTPStats says where an HTTP node's own counters stand; an empty path is not counted there.
type HTTPStats struct {
	URL, Hits, Misses, Evicted, Items, UptimeSeconds string
}

// HTTPClient is what every http block may carry for its requests.
type HTTPClient struct {
	Credentials     Credentials
	BearerTokenFile string
	TLS             *TLS
}

// Credentials of a server. A PasswordFile is read again at each new connection. Paths of files, here and below, are
// complete: relative ones begin in the configuration's folder.
type Credentials struct {
	Username     string
	Password     Secret
	PasswordFile string
}

// Secret is a password; it prints as <secret>.
type Secret string

// String never gives the secret away.
func (Secret) String() string { return "<secret>" }

// GoString never gives the secret away.
func (Secret) GoString() string { return "<secret>" }

// Format never gives the secret away, whatever the verb: with %d and the like fmt would not ask String.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText never gives the secret away.
func (Secret) MarshalText() ([]byte, error) { return []byte("<secret>"), nil }

// TLS settings of a connection; a nil *TLS is a plain connection.
type TLS struct {
	CAFile, CertFile, KeyFile, ServerName string
	InsecureSkipVerify                    bool
}

// Queue carries invalidations. Exactly one of the pointers is set.
type Queue struct {
	Name string
	// Capacity in messages; 0: not configured.
	Capacity int64
	// TargetRate in messages per second that processors are meant to reach; 0: not configured.
	TargetRate float64
	// Message says where an invalidation's parts stand; nil: they are unknown.
	Message *Message
	Redis   *RedisQueue
	Kafka   *KafkaQueue
	HTTP    *HTTPQueue
}

// RedisQueue is a list or a stream on one of the configured Redis nodes; exactly one of List and Stream is set.
type RedisQueue struct {
	// Node names a redis node or replication group of the layers.
	Node   string
	List   string
	Stream string
	// Groups selects a stream's consumer groups; empty: all of them.
	Groups []NameMatch
}

// KafkaQueue is a set of topics and of the consumer groups that read them.
type KafkaQueue struct {
	Brokers []string
	Topics  []NameMatch
	// Groups selects consumer groups; empty: none, and what is enqueued is all that is told.
	Groups []NameMatch
	SASL   *SASL
	TLS    *TLS
}

// SASL of a Kafka connection. Mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER (TokenFile), AWS_MSK_IAM (Region).
type SASL struct {
	Mechanism   string
	Credentials Credentials
	TokenFile   string
	Region      string
}

// HTTPQueue is a queue that tells its depth in JSON; OldestAge, Enqueued and Processed are optional paths.
type HTTPQueue struct {
	URL, Depth, OldestAge, Enqueued, Processed string
	Client                                     HTTPClient
}

// Message says where an invalidation's key, version and time stand, as paths in its JSON; an empty one is unknown. A
// stream's entry counts as one object of its fields.
type Message struct {
	Key, Version, TimestampMS string
}

// History tells of invalidation attempts and of those that failed. Exactly one of the pointers is set.
type History struct {
	Name     string
	DynamoDB *DynamoDB
	HTTP     *HTTPHistory
}

// DynamoDB is a table with one item for each attempt.
type DynamoDB struct {
	Table, Region string
	// Endpoint replaces the region's own; empty: none.
	Endpoint string
	// Index that is asked; empty: the table itself.
	Index string
	// PartitionKey's value may hold {date}.
	PartitionKey DynamoDBKey
	// TimeAttribute is the sort key; TimeFormat: epoch_ms, epoch_s or rfc3339.
	TimeAttribute, TimeFormat string
	// StatusAttribute is one of FailedValues in an attempt that failed.
	StatusAttribute string
	FailedValues    []string
	// MaxReadUnits that a sampling may consume.
	MaxReadUnits int
}

// DynamoDBKey is the partition key of the items.
type DynamoDBKey struct {
	Name string
	// Value may hold {date}, the day in UTC as 2006-01-02.
	Value Template
}

// HTTPHistory tells counters in JSON, at these paths.
type HTTPHistory struct {
	URL, Succeeded, Failed string
	Client                 HTTPClient
}

// InvalidationProbe publishes an invalidation of keys of its own, and sees when the nodes no longer serve the old version.
type InvalidationProbe struct {
	Name              string
	Interval, Timeout time.Duration
	// Layers that are probed.
	Layers []string
	// Key holds {id}.
	Key Template
	// Message holds {key}; it may hold {id}, {version} and {timestamp_ms}. Its other braces are text.
	Message Template
	Publish Publish
}

// Publish says where an invalidation is sent. Exactly one of the pointers is set.
type Publish struct {
	Kafka *PublishKafka
	Redis *PublishRedis
	HTTP  *PublishHTTP
}

// PublishKafka produces the message to a topic.
type PublishKafka struct {
	Brokers []string
	Topic   string
	SASL    *SASL
	TLS     *TLS
}

// PublishRedis pushes the message to a list (RPUSH), or adds it to a stream as its field "message".
type PublishRedis struct {
	// Node names a redis node or group of the layers.
	Node string
	// Exactly one of List and Stream is set.
	List, Stream string
}

// PublishHTTP sends the message as the body of a request.
type PublishHTTP struct {
	URL, Method string
	Headers     map[string]string
	Client      HTTPClient
}

// NameMatch is an exact name, or, written /so/, an anchored-by-the-user regular expression.
type NameMatch struct {
	Exact  string
	Regexp *regexp.Regexp
}

// Matches reports whether name is meant.
func (m NameMatch) Matches(name string) bool {
	if m.Regexp != nil {
		return m.Regexp.MatchString(name)
	}
	return m.Exact == name
}

// Class is a canary: keys of one kind, read on every scrape from every node that should hold them.
type Class struct {
	Name string
	// Keys are read on every scrape.
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
	Origin  *Origin
}

// ClassLayer is one layer of a class, with what differs there; Decode, Select and MaxStaleness are already resolved.
type ClassLayer struct {
	Name string
	// Key is what {key} stands for in this layer (default "{key}").
	Key          Template
	Decode       []string
	Select       string
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
	// URL may hold {key} and the names of Match.
	URL          Template
	Headers      map[string]string
	Client       HTTPClient
	Decode       []string
	Select       string
	MaxLag       time.Duration
	MaxPerScrape int
}

// App is an application whose instances tell the version of their caching code.
type App struct {
	Name string
	// Nodes: instance name -> URL. Instead of it, DNS names the instances, and URL holds {host} and {port}.
	Nodes map[string]string
	DNS   *DNSName
	URL   Template
	// JSON is the path of the version; empty: the body is the version.
	JSON   string
	Client HTTPClient
}
