package consistency

import "github.com/cacheinv/cacheinv_exporter/internal/verdict"

// columnAt is the index of a node's column in classKeys.columns, in each row of classKeys.second and in counts.columns. A
// copy has another index, verdict.CopyAt: where a group shares its keys out, a key has copies in few of the columns.
type columnAt int

// nodeColumn is one node that holds keys of a class, in one sampling, with its first reads of them. arrange makes the
// columns, and topology says who replicates whom. What is counted on the node is in a columnCount.
type nodeColumn struct {
	result   *NodeResult
	layer    int // the class's own index
	memoryAt memoryAt
	index    columnAt
	// source is one number for all nodes whose copies come from one primary: the primary's and its replicas'.
	source int
	// replica: the node follows another. primary is that one's column; nil: it is none of the class's.
	replica bool
	primary *nodeColumn
	// first reads of the class's keys in their order, or as placements say.
	first []reading
	// placements of the class's keys on a node of a group that shares keys out; nil: it holds every key.
	placements []placement
	// lossSeen: the node seems to have lost a copy that survived elsewhere; lossExplained: what it told since may explain it.
	lossSeen, lossExplained bool
}

// read gives the node's first read of a key.
func (col *nodeColumn) read(key int) *reading {
	if col.placements == nil {
		return &col.first[key]
	}
	if at := col.placements[key].at; at >= 0 {
		return &col.first[at]
	}
	return &unasked
}

// mayOutlive: a copy on another node says something of a lost one on this: it is in the same layer, and both do not
// share a primary.
func (col *nodeColumn) mayOutlive(lost *nodeColumn) bool {
	return lost.layer == col.layer && lost.source != col.source
}

// primaryInCase says whose replica the copies of a column are, when nothing is known yet of where its primary's copy is.
func (col *nodeColumn) primaryInCase() verdict.Primary {
	if !col.replica {
		return verdict.Primary{}
	}
	return verdict.Primary{Group: col.source}
}
