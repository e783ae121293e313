package verdict

import (
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// find judges a copy that no primary judges: by the origin, then by versions, then by the majority.
func (j *judgement) find(i CopyAt) finding {
	f, ok, lagging := j.byOrigin(i)
	if ok {
		return f
	}
	id := j.ids[i]
	if j.top.any {
		if f, ok := j.byVersion(i); ok {
			return f
		}
		if !j.top.conflict || !j.top.contents[id] {
			return j.unversioned(i, lagging)
		}
	}
	switch {
	case j.leading == noContent && !j.asked && j.alike():
		return finding{opinion: unopposed, by: ByNone, against: noContent}
	case j.leading != noContent && id == j.leading:
		return j.confirmed()
	case j.leading != noContent && !lagging && j.convicts(j.leading, j.c.Copies[i].Layer, j.top.contents) && !j.isNewer(id, j.leading):
		return finding{opinion: wrong, by: ByMajority, against: j.leading}
	}
	return finding{opinion: unclear, by: ByNone, against: noContent}
}

// confirmed is what is found of a copy that holds the leading content.
func (j *judgement) confirmed() finding {
	if j.unsettled {
		return finding{opinion: unclear, by: ByNone, against: noContent}
	}
	return finding{opinion: right, by: ByMajority, against: noContent}
}

// findReplica judges a replica whose primary was read: it shares the primary's finding where it holds the same, and is
// measured as any other copy where it differs. Where the majority confirms the primary, the primary confirms the replica: it
// is the stronger reference of the two.
func (j *judgement) findReplica(i CopyAt) finding {
	p := j.c.Copies[i].Primary.At
	if j.ids[p] == j.ids[i] {
		f := j.findings[p]
		if f.opinion == unopposed || f.opinion == right && f.by == ByMajority {
			return finding{opinion: right, by: ByPrimary, against: noContent}
		}
		return f
	}
	f, ok, lagging := j.byOrigin(i)
	if ok {
		return f
	}
	// Against versions no majority confirms what has none.
	unversioned := j.top.any && j.observed(i).Version.IsZero()
	if j.top.any {
		if f, ok := j.byVersion(i); ok {
			return f
		}
		if unversioned && (j.top.id == noContent || j.ids[p] != j.top.id) {
			return j.unversioned(i, lagging)
		}
	}
	if j.leading != noContent && j.ids[i] == j.leading && !unversioned {
		return j.confirmed()
	}
	return finding{opinion: wrong, by: ByPrimary, against: j.ids[p]}
}

// byOrigin judges a copy by the origin's answer; ok is false where the next reference has to. lagging: the origin
// disagrees, but may not know yet of what the copy holds, and no majority may convict the copy meanwhile.
func (j *judgement) byOrigin(i CopyAt) (f finding, ok, lagging bool) {
	if !j.usesOrigin() {
		return finding{}, false, false
	}
	o, answer := j.observed(i), &j.c.Origin[j.read]
	if !answer.Deleted && o.Content == answer.Content {
		return finding{opinion: right, by: ByOrigin, against: noContent}, true, false
	}
	compare := j.versions && !answer.Deleted && !o.Version.IsZero() && !answer.Version.IsZero()
	if compare || j.c.Copies[i].Held >= j.c.MaxLag {
		return finding{opinion: wrong, by: ByOrigin, target: answer.Version, against: j.id(answer.Content)}, true, false
	}
	return finding{}, false, true
}

// shortestExcuse is how long an origin may be behind a copy at least.
const shortestExcuse = time.Minute

// originIsBehind: a copy's version is above that of the origin's answer, and the copy has not held it for so long that the
// origin should know.
func (j *judgement) originIsBehind() bool {
	answer := &j.c.Origin[j.read]
	if !j.asked || !j.versions || answer.Version.IsZero() {
		return false
	}
	excused := max(j.c.MaxLag, shortestExcuse)
	for i := range j.c.Copies {
		o := j.observed(CopyAt(i))
		if o.Presence == Present && o.Version.Compare(answer.Version) > 0 && (j.c.Copies[i].Held < excused || !j.applies(OriginBehindEnds)) {
			return true
		}
	}
	return false
}

// topVersion is the highest version of a key that one read shows or an earlier sampling confirmed, and what it holds.
// highest fills it, before any copy is judged.
type topVersion struct {
	// any copy has a version, so that versions decide.
	any     bool
	version content.Version
	// id of the content at this version; noContent: held by no copy, or in conflict. A majority may settle a conflict.
	id       contentID
	conflict bool
	// contents at this version, by contentID, in a conflict; else nil.
	contents []bool
}

// highest version of the copies and of what is remembered. Replicas whose primary was read tell nothing of their own.
func (j *judgement) highest() topVersion {
	top := topVersion{id: noContent}
	if !j.versions {
		return top
	}
	for i := range j.c.Copies {
		o := j.observed(CopyAt(i))
		if o.Presence != Present || o.Version.IsZero() || j.follows(CopyAt(i)) {
			continue
		}
		top.any = true
		switch above := o.Version.Compare(top.version); {
		case above > 0:
			top.version, top.id, top.conflict = o.Version, j.ids[i], false
		case above == 0 && top.id != j.ids[i]:
			top.conflict = true
		}
	}
	if top.any && j.remembered.Compare(top.version) > 0 {
		top.version, top.id, top.conflict = j.remembered, j.id(j.rememberedContent), false
	}
	if top.conflict {
		top.id = noContent
		top.contents = make([]bool, len(j.contents))
		for i := range j.c.Copies {
			if j.holdsVersion(CopyAt(i), top.version) {
				top.contents[j.ids[i]] = true
			}
		}
	}
	return top
}

// holdsVersion: the copy, which speaks for itself, is of this version.
func (j *judgement) holdsVersion(i CopyAt, v content.Version) bool {
	o := j.observed(i)
	return o.Presence == Present && o.Version == v && !j.follows(i)
}

// byVersion judges a copy by its version; ok is false where the next reference has to.
func (j *judgement) byVersion(i CopyAt) (f finding, ok bool) {
	o := j.observed(i)
	switch {
	case j.top.conflict && j.top.contents[j.ids[i]]:
		return finding{}, false
	case j.top.id != noContent && j.ids[i] == j.top.id && j.unseated:
		if j.ids[i] == j.leading {
			return j.confirmed(), true
		}
		return finding{opinion: unclear, by: ByNone, against: noContent}, true
	case j.top.id != noContent && j.ids[i] == j.top.id:
		return finding{opinion: right, by: ByVersion, against: noContent}, true
	case o.Version.IsZero():
		return finding{}, false
	case o.Version.Compare(j.top.version) < 0:
		return finding{opinion: wrong, by: ByVersion, target: j.top.version, against: j.top.id}, true
	}
	// A replica above its primary, or one of an unsettled conflict.
	return finding{}, false
}

// unversioned judges a copy without a version where others have one: it is convicted only for differing from what both
// the highest version and the majority are.
func (j *judgement) unversioned(i CopyAt, lagging bool) finding {
	if j.top.id != noContent && j.majority == j.top.id && !lagging && j.convicts(j.majority, j.c.Copies[i].Layer, nil) &&
		!j.isNewer(j.ids[i], j.majority) {
		return finding{opinion: wrong, by: ByMajority, against: j.majority}
	}
	return finding{opinion: unclear, by: ByNone, against: noContent}
}

// mostVoted is the content that a strict majority of the votes hold, and of the layers. Only votes for contents among
// those given count, where some are given, and those that could not be read. One vote alone is no majority.
func (j *judgement) mostVoted(contents []bool) contentID {
	total := len(j.unread)
	for _, v := range j.votes {
		if v.counts(contents) {
			total++
		}
	}
	if total < 2 {
		return noContent
	}
	for i := range j.contents {
		id, n := contentID(i), 0
		for _, v := range j.votes {
			if v.counts(contents) && v.id == id {
				n++
			}
		}
		if 2*n <= total {
			continue
		}
		holding, layers := 0, 0
		for layer := range j.c.Layers {
			most := j.mostVotedIn(layer, contents)
			if most != noContent {
				layers++
				if most == id {
					holding++
				}
			}
		}
		if 2*holding > layers {
			return id
		}
		return noContent
	}
	return noContent
}

// mostVotedIn is the content that a strict majority of a layer's own votes hold.
func (j *judgement) mostVotedIn(layer int, contents []bool) contentID {
	// Boyer-Moore finds the only candidate; a second pass counts it.
	candidate, balance := noContent, 0
	for _, v := range j.votes {
		if v.layer != layer || !v.counts(contents) {
			continue
		}
		switch {
		case balance == 0:
			candidate, balance = v.id, 1
		case v.id == candidate:
			balance++
		default:
			balance--
		}
	}
	n, total := 0, 0
	for _, unread := range j.unread {
		if unread == layer {
			total++
		}
	}
	for _, v := range j.votes {
		if v.layer == layer && v.counts(contents) {
			total++
			if v.id == candidate {
				n++
			}
		}
	}
	if 2*n > total {
		return candidate
	}
	return noContent
}

// isNewer: the first content was first seen on the key later than the second.
func (j *judgement) isNewer(first, second contentID) bool {
	return j.applies(Newcomer) && j.c.firstSeen(j.contents[first]) > j.c.firstSeen(j.contents[second])
}

// isOpposed: a copy holds another content than the leading one, which may not convict it: a newer content, or one of a
// layer that has to be less stale.
func (j *judgement) isOpposed() bool {
	for i := range j.c.Copies {
		at, id := CopyAt(i), j.ids[i]
		if id == noContent || id == j.leading || j.observed(at).TooOld || j.follows(at) {
			continue
		}
		if j.top.conflict && !j.top.contents[id] {
			continue // its version is too low
		}
		if j.isNewer(id, j.leading) {
			return true
		}
	}
	if !j.applies(LaxMajority) {
		return false
	}
	for _, v := range j.votes {
		if v.id != j.leading && v.counts(j.top.contents) && !j.convicts(j.leading, v.layer, j.top.contents) {
			return true
		}
	}
	return false
}

// convicts: may a majority that holds id convict a copy of this layer? Not where every layer that holds it is
// allowed to be staler.
func (j *judgement) convicts(id contentID, layer int, contents []bool) bool {
	for l := range j.c.Layers {
		if j.mostVotedIn(l, contents) == id && j.c.Layers[l] <= j.c.Layers[layer] {
			return true
		}
	}
	return false
}
