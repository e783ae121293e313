package redis

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/group"
)

// What INFO says of replication.

// roleOf gives the role in our words. active: a replica that takes writes of its own. A word that is none of a primary's or
// replica's gives no role.
func roleOf(said string) (role string, active bool) {
	switch said {
	case "master", "primary":
		return "primary", false
	case "slave", "replica":
		return "replica", false
	case "active-replica", "active-slave": // each has what the others write, and is written to
		return "replica", true
	}
	return "", false
}

// infoReplication is what INFO says of replication, as read so far.
type infoReplication struct {
	probes.Replication
	// links to a replica's primaries, by number: most have but one, 0.
	links map[int]*primaryLink
	// primaryOffset is where the server's own stream is; replicaOffset where it is in its primary's, nil where it does not say so.
	primaryOffset streamOffset
	replicaOffset *streamOffset
	// globalDown: of several links, not all are up.
	globalDown bool
}

// streamOffset is a place in a stream of replication.
type streamOffset struct {
	bytes int64
	known bool
}

// primaryLink is as read so far. A link of which nothing was read is not up.
type primaryLink struct {
	host, port string
	up         bool
}

// mostPrimaries of one replica are read, and mostReplicas of one primary: one more than a group has room for, so that it shows.
const (
	mostPrimaries = 64
	mostReplicas  = group.MostMembers + 1
)

// link gives the link of a number.
func (r *infoReplication) link(number int) *primaryLink {
	if r.links == nil {
		r.links = map[int]*primaryLink{}
	}
	l := r.links[number]
	if l == nil {
		l = &primaryLink{}
		r.links[number] = l
	}
	return l
}

// line reads one line of INFO.
func (r *infoReplication) line(name, value string) {
	switch name {
	case "master_replid":
		r.ReplID = saidText(value)
	case "master_replid2":
		if strings.Trim(value, "0") != "" {
			r.ReplID2 = saidText(value)
		}
	case "master_global_link_status":
		r.globalDown = value != "up"
	case "master_repl_offset":
		r.primaryOffset = offset(value)
	case "slave_repl_offset":
		told := offset(value)
		r.replicaOffset = &told
	default:
		if number, field, ok := primaryField(name); ok {
			r.primaryLine(number, field, value)
			return
		}
		if isNumbered(name, "slave") || isNumbered(name, "replica") {
			if replica, ok := parseReplica(value); ok {
				r.add(replica)
			}
		}
	}
}

// primaryField splits master_host, and master_1_host of a replica with several primaries.
func primaryField(name string) (number int, field string, ok bool) {
	rest, ok := strings.CutPrefix(name, "master_")
	if !ok {
		return 0, "", false
	}
	if digits, after, numbered := strings.Cut(rest, "_"); numbered {
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
			number, rest = int(n), after
		}
	}
	return number, rest, number < mostPrimaries && (rest == "host" || rest == "port" || rest == "link_status")
}

func (r *infoReplication) primaryLine(number int, field, value string) {
	l := r.link(number)
	switch field {
	case "host":
		l.host = value
	case "port":
		l.port = value
	case "link_status":
		l.up = value == "up"
	}
}

// isNumbered: slave0, slave1…
func isNumbered(name, prefix string) bool {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok || digits == "" {
		return false
	}
	return strings.Trim(digits, "0123456789") == ""
}

// add a replica. Where one is listed twice, as while it receives its first copy over another connection, the line of the
// stream counts.
func (r *infoReplication) add(replica probes.Replica) {
	for i := range r.Replicas {
		if k := &r.Replicas[i]; k.Address == replica.Address {
			if replica.Online && !k.Online || replica.Online == k.Online && replica.Offset > k.Offset {
				r.Replicas[i] = replica
			}
			return
		}
	}
	if len(r.Replicas) < mostReplicas {
		r.Replicas = append(r.Replicas, replica)
	}
}

// replication gives what was read of a server with that role.
func (r *infoReplication) replication(role string) *probes.Replication {
	numbers := make([]int, 0, len(r.links))
	for n := range r.links {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	r.LinkUp = len(numbers) > 0 && !r.globalDown
	for _, n := range numbers {
		l := r.links[n]
		r.LinkUp = r.LinkUp && l.up
		if at := announcedAddress(l.host, cmp.Or(l.port, "6379")); at != "" {
			r.Primaries = append(r.Primaries, probes.PrimaryLink{Address: at, LinkUp: l.up})
		}
	}
	if len(r.Primaries) > 0 {
		r.Primary = r.Primaries[0].Address
	}
	at := r.primaryOffset
	if role == "replica" && r.replicaOffset != nil {
		at = *r.replicaOffset
	}
	r.Offset, r.HasOffset = at.bytes, at.known
	return &r.Replication
}

// offset reads a place in the stream; one below 0 or that can't be read is not known.
func offset(s string) streamOffset {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return streamOffset{}
	}
	return streamOffset{n, true}
}

// parseReplica reads a line of INFO. What listens on no port only copies the stream, as a backup by redis-cli --rdb does:
// that is no node, and false; nor is what has no host.
func parseReplica(value string) (probes.Replica, bool) {
	var r probes.Replica
	var ip, port string
	for part := range strings.SplitSeq(value, ",") {
		name, v, _ := strings.Cut(part, "=")
		switch name {
		case "ip":
			ip = v
		case "port":
			port = v
		case "state":
			r.Online = v == "online"
		case "offset":
			at := offset(v)
			r.Offset, r.HasOffset = at.bytes, at.known
		}
	}
	r.Address = announcedAddress(ip, port)
	return r, r.Address != ""
}
