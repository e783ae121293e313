package redis

import (
	"errors"
	"hash/maphash"
	"strings"
	"sync"
)

// clusterMap is what a node tells of all nodes of its Cluster. Nodes that tell the same share one, and nobody changes it: of a
// thousand nodes each tells of a thousand.
type clusterMap struct {
	// nodes by id.
	nodes map[string]clusterPeer
	// owners are the slots' primaries as indices into ids; 0: nobody owns it.
	owners []uint16
	ids    []string
	// owning are the ids of nodes that own slots.
	owning map[string]bool
	// moving slots, which the teller gives away or takes over.
	moving map[int]bool
	// skipped is what of the reply can't be read.
	skipped []string
}

// mostPeers of a Cluster are read from what a node tells: more than any has, and than a group has room for.
const mostPeers = 2000

func newClusterMap() *clusterMap {
	return &clusterMap{
		nodes: map[string]clusterPeer{}, owners: make([]uint16, clusterSlots), ids: []string{""}, owning: map[string]bool{}, moving: map[int]bool{},
	}
}

// owner of a slot: a primary's id; empty: nobody.
func (m *clusterMap) owner(slot int) string { return m.ids[m.owners[slot]] }

// own gives slots to a node.
func (m *clusterMap) own(id string, from, to uint64) {
	if m.ids[len(m.ids)-1] != id { // a node's slots come one after the other
		m.ids = append(m.ids, id)
	}
	at := uint16(len(m.ids) - 1)
	m.owning[id] = true
	for slot := from; slot <= to; slot++ {
		m.owners[slot] = at
	}
}

// clusterViews are the maps that the nodes of one Cluster tell, each once.
type clusterViews struct {
	seed maphash.Seed

	mu    sync.Mutex
	known map[uint64]*clusterMap // by fingerprint of the replies
	held  int                    // bytes, about
}

// mostHeld is how many bytes the maps of one Cluster may take: some hundred different ones of a large Cluster, where in order there
// is one.
const mostHeld = 32 << 20

var errTooManyViews = errors.New("its view is another than those of very many nodes, and there is no room for one more")

func newClusterViews() *clusterViews {
	return &clusterViews{seed: maphash.MakeSeed(), known: map[uint64]*clusterMap{}}
}

// view of a node that answers with this CLUSTER NODES and these addresses from CLUSTER SHARDS.
func (s *clusterViews) view(text string, shards []shardAddress) (*clusterView, error) {
	fingerprint, myself := s.fingerprint(text, shards)
	if myself == "" {
		return nil, errNoCluster
	}
	s.mu.Lock()
	shared := s.known[fingerprint]
	s.mu.Unlock()
	if shared != nil {
		return &clusterView{clusterMap: shared, myself: myself, primary: shared.nodes[myself].primary}, nil
	}
	v, err := parseClusterNodes(text)
	if err != nil {
		return nil, err
	}
	v.useShards(shards)
	s.mu.Lock()
	defer s.mu.Unlock()
	if shared = s.known[fingerprint]; shared != nil {
		v.clusterMap = shared
		return v, nil
	}
	if s.held+v.size() > mostHeld {
		return nil, errTooManyViews
	}
	s.known[fingerprint] = v.clusterMap
	s.held += v.size()
	return v, nil
}

// size in bytes, about.
func (m *clusterMap) size() int { return 2*clusterSlots + 400*len(m.nodes) }

// keep the maps that are in use, and forget all others.
func (s *clusterViews) keep(used map[*clusterMap]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = 0
	for fingerprint, m := range s.known {
		if used[m] {
			s.held += m.size()
		} else {
			delete(s.known, fingerprint)
		}
	}
}

// fingerprint of all that a clusterMap is made of, in whatever order nodes are told, and the id of the teller.
func (s *clusterViews) fingerprint(text string, shards []shardAddress) (sum uint64, myself string) {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for line := range strings.Lines(text) {
		h.Reset()
		if id := fingerprintLine(&h, line); id != "" && myself == "" {
			myself = id
		}
		sum += h.Sum64()
	}
	for _, a := range shards {
		h.Reset()
		_, _ = h.WriteString(a.id + "\x00" + a.address) // it never fails
		sum += h.Sum64()
	}
	return sum, myself
}

// fingerprintLine leaves out what differs from teller to teller and from moment to moment: who the teller is, the times of pings, the
// state of links. It gives the teller's id where the line is its own.
func fingerprintLine(h *maphash.Hash, line string) (myself string) {
	fields, id, mine, odd := 0, "", false, false
	for f := range strings.FieldsSeq(line) {
		switch fields {
		case 0:
			id = f
			_, _ = h.WriteString(f)
		case 2:
			roles := 0
			for flag := range strings.SplitSeq(f, ",") {
				switch flag {
				case "myself":
					mine = true
					continue
				case "master", "slave":
					roles++
				case "handshake", "noaddr":
					odd = true
				}
				_, _ = h.WriteString(flag)
				_ = h.WriteByte(',')
			}
			odd = odd || roles == 0
		case 4, 5, 7:
		default:
			_, _ = h.WriteString(f)
		}
		_ = h.WriteByte(0)
		fields++
	}
	if !mine || !isNodeID(id) {
		return ""
	}
	if odd || fields < 8 { // such a line is read where it is the teller's own, and no other's
		_ = h.WriteByte(1)
	}
	return id
}
