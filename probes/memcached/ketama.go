package memcached

import (
	"cmp"
	"crypto/md5" //nolint:gosec // what the clients use
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"slices"
)

const (
	// ketamaPoints of each server on the ring, if all weigh the same. Each hash gives four.
	ketamaPoints = 160
	ketamaEach   = 4
	// ketamaPort is left out of a server's name.
	ketamaPort = "11211"
)

// ketama is the ring of libmemcached with MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, which other clients copy: a key belongs to
// the first point that is not below its hash. The points follow from the servers' names as the clients write them.
type ketama struct {
	// points, ascending, and the server of each.
	points  []uint32
	servers []int32
}

func newKetama(servers []poolServer) (*ketama, error) {
	type point struct {
		value  uint32
		server int32
	}
	total := 0
	for _, s := range servers {
		total += s.Weight
	}
	var ring []point
	for i, s := range servers {
		host, port, err := net.SplitHostPort(s.Address)
		if err != nil {
			return nil, errNoHostPort
		}
		name := host
		if port != ketamaPort {
			name += ":" + port // also of an IPv6 address, which has no brackets here
		}
		for k := range ketamaHashes(float32(s.Weight), float32(total), len(servers)) {
			sum := md5.Sum(fmt.Appendf(nil, "%s-%d", name, k)) //nolint:gosec // as above
			for at := 0; at < 4*ketamaEach; at += 4 {
				ring = append(ring, point{binary.LittleEndian.Uint32(sum[at:]), int32(i)})
			}
		}
	}
	slices.SortStableFunc(ring, func(a, b point) int { return cmp.Compare(a.value, b.value) })
	k := &ketama{points: make([]uint32, len(ring)), servers: make([]int32, len(ring))}
	for i, p := range ring {
		k.points[i], k.servers[i] = p.value, p.server
	}
	return k, nil
}

// ketamaHashes is how many hashes of its name a server has. Single precision, step by step as the library has it: where
// a product is close to a whole number, the rounding decides.
func ketamaHashes(weight, total float32, servers int) int {
	share := float32(weight / total)
	hashes := float32(float32(float32(share*ketamaPoints)/ketamaEach) * float32(servers))
	return int(math.Floor(float64(float32(hashes + 0.0000000001))))
}

// pick gives the server of a key, as an index of the list.
func (k *ketama) pick(key string) int {
	var held [256]byte
	sum := md5.Sum(append(held[:0], key...)) //nolint:gosec // as above
	at, _ := slices.BinarySearch(k.points, binary.LittleEndian.Uint32(sum[:]))
	if at == len(k.points) {
		at = 0
	}
	return int(k.servers[at])
}
