package redis

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// clusterSlots is how many slots every Redis Cluster has.
const clusterSlots = 16384

// clusterView is a Redis Cluster as one of its nodes reports it.
type clusterView struct {
	// ok: cluster_state:ok.
	ok bool
	// epoch is the Cluster's current one, in this node's eyes.
	epoch int64
	// myself is this node's id; primary: it is one.
	myself  string
	primary bool
	// nodes by id.
	nodes map[string]clusterPeer
	// owners are the ids of the slots' primaries; empty: nobody owns it.
	owners []string
	// moving slots, which this node gives away or takes over.
	moving map[int]bool
}

// clusterPeer is one node in another's view.
type clusterPeer struct {
	// address is host:port as announced; empty where it is not known. A host that is empty is the one that was asked.
	address string
	primary bool
	// of is the id of a replica's primary.
	of string
	// epoch of the configuration that this node brought.
	epoch int64
}

// shard is the id of the primary whose slots a node holds; empty: it is not known.
func (v *clusterView) shard(id string) string {
	switch n := v.nodes[id]; {
	case n.primary:
		return id
	default:
		return n.of
	}
}

// claims: the node whose view this is says that it owns the slot itself.
func (v *clusterView) claims(slot int) bool {
	return v.primary && v.owners[slot] == v.myself
}

// fingerprint is alike for views that agree on which primary owns which slots and who replicates whom.
func (v *clusterView) fingerprint() string {
	var b strings.Builder
	for slot, owner := range v.owners {
		if slot == 0 || owner != v.owners[slot-1] {
			fmt.Fprintf(&b, "%d %s\n", slot, owner)
		}
	}
	var follows []string
	for id, n := range v.nodes {
		if !n.primary {
			follows = append(follows, id+">"+n.of)
		}
	}
	slices.Sort(follows)
	return b.String() + strings.Join(follows, "\n")
}

var errNoCluster = errors.New("the server's CLUSTER NODES can't be read; is it a node of a Redis Cluster?")

// parseClusterNodes reads CLUSTER NODES.
func parseClusterNodes(text string) (*clusterView, error) {
	v := &clusterView{nodes: map[string]clusterPeer{}, owners: make([]string, clusterSlots), moving: map[int]bool{}}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) < 8 {
			return nil, errNoCluster
		}
		id, flags := f[0], strings.Split(f[2], ",")
		has := func(flag string) bool { return slices.Contains(flags, flag) }
		if has("myself") {
			v.myself = id
		} else if has("handshake") || has("noaddr") {
			continue
		}
		epoch, _ := strconv.ParseInt(f[6], 10, 64)
		n := clusterPeer{address: clusterAddress(f[1]), primary: has("master"), epoch: epoch}
		if f[3] != "-" {
			n.of = f[3]
		}
		v.nodes[id] = n
		for _, part := range f[8:] {
			if err := v.slots(id, part); err != nil {
				return nil, err
			}
		}
	}
	if v.myself == "" {
		return nil, errNoCluster
	}
	v.primary = v.nodes[v.myself].primary
	return v, nil
}

// slots reads 5, 5-7, [5->-id] (given away) or [5-<-id] (taken over).
func (v *clusterView) slots(id, part string) error {
	if inner, ok := strings.CutPrefix(part, "["); ok {
		number, _, _ := strings.Cut(inner, "-")
		slot, err := strconv.ParseUint(number, 10, 16)
		if err != nil || slot >= clusterSlots {
			return errNoCluster
		}
		v.moving[int(slot)] = true
		return nil
	}
	first, last, isRange := strings.Cut(part, "-")
	if !isRange {
		last = first
	}
	from, err := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if err != nil || err2 != nil || from > to || to >= clusterSlots {
		return errNoCluster
	}
	for slot := from; slot <= to; slot++ {
		v.owners[slot] = id
	}
	return nil
}

// clusterAddress takes host:port out of host:port@busport,hostname. A Cluster writes IPv6 without brackets.
func clusterAddress(s string) string {
	s, _, _ = strings.Cut(s, ",")
	s, _, _ = strings.Cut(s, "@")
	i := strings.LastIndexByte(s, ':')
	if i < 0 || s[i+1:] == "" || s[i+1:] == "0" {
		return ""
	}
	return net.JoinHostPort(strings.Trim(s[:i], "[]"), s[i+1:])
}

// useShards takes the addresses out of CLUSTER SHARDS, which knows the endpoint that clients are meant to use. Where it
// has none, that of CLUSTER NODES stays.
func (v *clusterView) useShards(reply any, secure bool) {
	shards, _ := reply.([]any)
	for _, s := range shards {
		shard, _ := replyFields(s)
		nodes, _ := shard["nodes"].([]any)
		for _, item := range nodes {
			f, _ := replyFields(item)
			id, _ := f["id"].(string)
			n, known := v.nodes[id]
			port, hasPort := f.number("port")
			if tls, ok := f.number("tls-port"); ok && (secure || !hasPort) {
				port, hasPort = tls, true
			}
			endpoint, ok := f["endpoint"].(string)
			if !known || !hasPort || !ok {
				continue
			}
			if endpoint == "?" {
				endpoint = ""
			}
			n.address = net.JoinHostPort(endpoint, strconv.FormatInt(port, 10))
			v.nodes[id] = n
		}
	}
}

// announcedAt gives the address at which an announced node is asked: one without a host has the host of who announced it.
func announcedAt(address, announcer string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return ""
	}
	if host == "" || host == "?" {
		host, _, _ = net.SplitHostPort(announcer)
	}
	return net.JoinHostPort(host, port)
}

// slotOf a key: of what is in its first {}, if anything is.
func slotOf(key string) int {
	if i := strings.IndexByte(key, '{'); i >= 0 {
		if n := strings.IndexByte(key[i+1:], '}'); n > 0 {
			key = key[i+1 : i+1+n]
		}
	}
	var crc uint16
	for i := range len(key) {
		crc = crc<<8 ^ crc16[byte(crc>>8)^key[i]]
	}
	return int(crc % clusterSlots)
}

// crc16 is CRC-16/XMODEM by byte.
var crc16 = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()
