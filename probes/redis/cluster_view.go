package redis

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// clusterSlots is how many slots every Redis Cluster has.
const clusterSlots = 16384

// clusterView is a Redis Cluster as one of its nodes reports it.
type clusterView struct {
	*clusterMap
	// ok: cluster_state:ok. mute: the node does not tell its state.
	ok, mute bool
	// epoch is the Cluster's current one, in this node's eyes.
	epoch int64
	// myself is this node's id; primary: it is one.
	myself  string
	primary bool
	// address of this node.
	address string
}

// clusterPeer is one node in another's view.
type clusterPeer struct {
	// address is host:port as announced; empty where it is not known.
	address string
	primary bool
	// of is the id of a replica's primary.
	of string
	// epoch of the configuration that this node brought.
	epoch int64
	// failed: the teller calls the node down (fail). suspected: or thinks so (fail?).
	failed, suspected bool
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
	return v.primary && v.owner(slot) == v.myself
}

// ranks is alike for maps that agree on which primary owns which slots and who replicates whom, of the replicas that take part.
func (v *clusterMap) ranks(takesPart func(id string) bool) string {
	var b strings.Builder
	for slot, owner := range v.owners {
		if slot == 0 || owner != v.owners[slot-1] {
			fmt.Fprintf(&b, "%d %s\n", slot, v.ids[owner])
		}
	}
	var follows []string
	for id, n := range v.nodes {
		if !n.primary && takesPart(id) {
			follows = append(follows, id+">"+n.of)
		}
	}
	slices.Sort(follows)
	return b.String() + strings.Join(follows, "\n")
}

// isPartial: a part of the view could not be read, or it knows a replica, by hearsay, and not whose.
func (v *clusterMap) isPartial(takesPart func(id string) bool) bool {
	if len(v.skipped) > 0 {
		return true
	}
	for id, n := range v.nodes {
		if !n.primary && n.of == "" && takesPart(id) {
			return true
		}
	}
	return false
}

// agrees: nothing that both views tell differs.
func (v *clusterMap) agrees(other *clusterMap, takesPart func(id string) bool) bool {
	for slot := range v.owners {
		if owner, o := v.owner(slot), other.owner(slot); owner != o && owner != "" && o != "" {
			return false
		}
	}
	for id, n := range v.nodes {
		o, known := other.nodes[id]
		if known && takesPart(id) && (n.primary != o.primary || n.of != o.of && n.of != "" && o.of != "") {
			return false
		}
	}
	return true
}

// betterThan another view: from a node for which all is in order, then one of which all could be read, then a later one.
func (v *clusterView) betterThan(other *clusterView) bool {
	switch {
	case v.ok != other.ok:
		return v.ok
	case (len(v.skipped) == 0) != (len(other.skipped) == 0):
		return len(v.skipped) == 0
	}
	return v.epoch > other.epoch
}

var errNoCluster = errors.New("the server's CLUSTER NODES can't be read; is it a node of a Redis Cluster?")

// parseClusterNodes reads CLUSTER NODES. What can't be read costs itself alone: a line, a range of slots. Only without a line
// of the server itself there is no view.
func parseClusterNodes(text string) (*clusterView, error) {
	v := &clusterView{clusterMap: newClusterMap()}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) < 3 || !isNodeID(f[0]) {
			v.skip("a line with %d fields, of %q", len(f), f[0])
			continue
		}
		v.readNode(f)
	}
	if v.myself == "" {
		return nil, errNoCluster
	}
	v.primary = v.nodes[v.myself].primary
	return v, nil
}

// longestNodeID of a node that is taken for one.
const longestNodeID = 64

// isNodeID: Redis's ids are 40 hexadecimal digits; a word that no id can be is none.
func isNodeID(s string) bool {
	if len(s) > longestNodeID {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != "-"
}

// readNode reads the fields of one line: id, address, flags, primary, two times, epoch, link, slots. A line that is cut short
// counts as far as it goes only where it is the server's own.
func (v *clusterView) readNode(f []string) {
	id, flags := f[0], strings.Split(f[2], ",")
	has := func(flag string) bool { return slices.Contains(flags, flag) }
	mine := has("myself")
	switch {
	case mine && v.myself != "", v.nodes[id] != clusterPeer{} && !mine:
		v.skip("another line of %s", id)
		return
	case !mine && len(v.nodes) >= mostPeers:
		v.skip("more than %d nodes", mostPeers)
		return
	case !mine && len(f) < 8:
		v.skip("a line with %d fields, of %s", len(f), id)
		return
	case !mine && (has("handshake") || has("noaddr")):
		return
	case !has("master") && !has("slave"):
		v.skip("no role of %s", id)
		if !mine {
			return
		}
	}
	if mine {
		v.myself = id
	}
	n := clusterPeer{address: clusterAddress(f[1]), primary: has("master"), failed: has("fail"), suspected: has("fail?")}
	switch {
	case len(f) <= 3 || f[3] == "-":
	case isNodeID(f[3]):
		n.of = f[3]
	default:
		v.skip("no primary of %s", id)
	}
	if len(f) > 6 {
		n.epoch, _ = strconv.ParseInt(f[6], 10, 64)
	}
	v.nodes[id] = n
	for _, part := range f[min(8, len(f)):] {
		if !v.slots(id, part) {
			v.skip("slots %q of %s", part, id)
		}
	}
}

// mostSkipped is how much of a view that can't be read is told.
const mostSkipped = 20

// skip notes what can't be read.
func (v *clusterMap) skip(format string, args ...any) {
	if len(v.skipped) < mostSkipped {
		what := fmt.Sprintf(format, args...)
		v.skipped = append(v.skipped, strings.Clone(what[:min(len(what), 100)]))
	}
}

// slots reads 5, 5-7, [5->-id] (given away) or [5-<-id] (taken over). false: it is none of these.
func (v *clusterMap) slots(id, part string) bool {
	if inner, ok := strings.CutPrefix(part, "["); ok {
		number, _, _ := strings.Cut(inner, "-")
		slot, err := strconv.ParseUint(number, 10, 16)
		if err != nil || slot >= clusterSlots {
			return false
		}
		v.moving[int(slot)] = true
		return true
	}
	first, last, isRange := strings.Cut(part, "-")
	if !isRange {
		last = first
	}
	from, err := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if err != nil || err2 != nil || from > to || to >= clusterSlots {
		return false
	}
	v.own(id, from, to)
	return true
}

// clusterAddress takes host:port out of host:port@busport,hostname. A Cluster writes IPv6 without brackets.
func clusterAddress(s string) string {
	s, _, _ = strings.Cut(s, ",")
	s, _, _ = strings.Cut(s, "@")
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return ""
	}
	return announcedAddress(strings.Trim(s[:i], "[]"), s[i+1:])
}

// useShards takes the addresses out of CLUSTER SHARDS, where they are told. Else those of CLUSTER NODES stay.
func (v *clusterMap) useShards(shards []shardAddress) {
	for _, a := range shards {
		if n, known := v.nodes[a.id]; known {
			n.address = a.address
			v.nodes[a.id] = n
		}
	}
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
