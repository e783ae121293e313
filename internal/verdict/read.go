package verdict

import "github.com/cacheinv/cacheinv_exporter/internal/content"

// opinion of a copy in one read.
type opinion uint8

const (
	unsaid opinion = iota // absent or unread
	right
	wrong
	unclear
	// unopposed: there is nothing to compare the copy to.
	unopposed
)

// finding is what one read says of one copy.
type finding struct {
	opinion opinion
	by      Reference
	// target is the version that a copy is wrong for lacking; zero where no version convicted it.
	target content.Version
}

// contentID is the index of a content in judgement.contents; noContent: of a copy that is not present, or that no copy
// holds.
type contentID int

const noContent contentID = -1

// vote of a copy that can disagree independently: of one that is no replica's, or of the replicas of one primary which
// can't be read.
type vote struct {
	layer int
	id    contentID
	copy  CopyAt
}

// counts: the vote is among contents, where some are given.
func (v vote) counts(contents []bool) bool { return contents == nil || contents[v.id] }

// judgement of one read. judge fills it, and what it says is valid while Decide runs; its slices are used again.
type judgement struct {
	c    *Case
	read int
	// asked: the origin answered, whether its answer is used or not.
	asked bool

	findings []finding   // by CopyAt
	ids      []contentID // by CopyAt
	contents []content.Digest
	votes    []vote
	// present: a copy is.
	present bool
	// behind: a copy's version is above the origin's, whose answer is not used then.
	behind bool
	// top is what versions say; majority is the content that most votes hold, leading the one that most votes hold among
	// those of the highest version, where these are in conflict.
	top               topVersion
	majority, leading contentID

	reference Reference
	conflict  bool
	// reached is the version of the reference: what surely existed when the read was made; reachedContent is its
	// content, where known.
	reached        content.Version
	reachedContent content.Digest
}

// judge one read by the references in their order.
func (j *judgement) judge(c *Case, read int, asked bool) {
	j.c, j.read, j.asked = c, read, asked
	j.numberContents()
	j.collectVotes()
	j.behind = j.originIsBehind()
	j.top = j.highest()
	j.majority = j.mostVoted(nil)
	j.leading = j.majority
	if j.top.conflict {
		j.leading = j.mostVoted(j.top.contents)
		if j.leading != noContent {
			j.top.id = j.leading
		}
	}
	j.conflict = j.top.conflict && !j.usesOrigin()
	byPrimary := j.findAll()
	j.correct()
	j.reference = j.strongest(byPrimary)
	j.reach()
}

// usesOrigin: the origin's answer is a reference in this read.
func (j *judgement) usesOrigin() bool { return j.asked && !j.behind }

// observed is a copy as this read found it.
func (j *judgement) observed(i CopyAt) *Observation { return &j.c.Copies[i].Reads[j.read] }

// follows: the copy is judged by its primary's, in this read.
func (j *judgement) follows(i CopyAt) bool { return j.c.JudgedByPrimary(i, j.read) }

// numberContents gives each content that a copy holds an index.
func (j *judgement) numberContents() {
	j.findings, j.ids, j.contents = j.findings[:0], j.ids[:0], j.contents[:0]
	j.present = false
	for i := range j.c.Copies {
		id := noContent
		if o := j.observed(CopyAt(i)); o.Presence == Present {
			j.present = true
			id = j.id(o.Content)
			if id == noContent {
				id = contentID(len(j.contents))
				j.contents = append(j.contents, o.Content)
			}
		}
		j.ids = append(j.ids, id)
		j.findings = append(j.findings, finding{by: ByNone})
	}
}

func (j *judgement) id(d content.Digest) contentID {
	for i := range j.contents {
		if j.contents[i] == d {
			return contentID(i)
		}
	}
	return noContent
}

func (j *judgement) collectVotes() {
	j.votes = j.votes[:0]
	for i := range j.c.Copies {
		at, k := CopyAt(i), &j.c.Copies[i]
		switch {
		case j.ids[i] == noContent || j.observed(at).TooOld || j.follows(at):
		case !k.IsReplica() || j.speaks(at):
			j.votes = append(j.votes, vote{layer: k.Layer, id: j.ids[i], copy: at})
		}
	}
}

// speaks: the copy, present, is the first replica of a primary that can't be read, and all its replicas that were read
// agree.
func (j *judgement) speaks(i CopyAt) bool {
	for k := range j.c.Copies {
		o := j.observed(CopyAt(k))
		if CopyAt(k) == i || j.c.Copies[k].Primary.Group != j.c.Copies[i].Primary.Group || o.Presence == Unread || o.TooOld {
			continue
		}
		if j.ids[k] != j.ids[i] || CopyAt(k) < i {
			return false
		}
	}
	return true
}

// alike: the copies that are not judged by a primary, too old ones aside, hold the same.
func (j *judgement) alike() bool {
	seen := noContent
	for i := range j.c.Copies {
		if j.ids[i] == noContent || j.observed(CopyAt(i)).TooOld || j.follows(CopyAt(i)) {
			continue
		}
		if seen != noContent && seen != j.ids[i] {
			return false
		}
		seen = j.ids[i]
	}
	return true
}

// findAll judges every present copy, and reports whether a primary decided one. Replicas come last: what is found of
// their primaries holds for them too.
func (j *judgement) findAll() (byPrimary bool) {
	for i := range j.c.Copies {
		if j.ids[i] != noContent && !j.follows(CopyAt(i)) {
			j.findings[i] = j.find(CopyAt(i))
		}
	}
	// A copy with nothing to compare it to is not confirmed by itself.
	if !j.asked && len(j.votes) < 2 && j.alike() {
		for i := range j.findings {
			if j.findings[i].opinion == right {
				j.findings[i] = finding{opinion: unopposed, by: ByNone}
			}
		}
	}
	for i := range j.c.Copies {
		if j.ids[i] != noContent && j.follows(CopyAt(i)) {
			j.findings[i] = j.findReplica(CopyAt(i))
			byPrimary = byPrimary || j.findings[i].by == ByPrimary
		}
	}
	return byPrimary
}

// correct what the references alone can't say: an origin that is behind still stands up for what it holds, and a copy
// past its age is wrong unless the origin holds it.
func (j *judgement) correct() {
	for i := range j.findings {
		f, o := &j.findings[i], j.observed(CopyAt(i))
		switch {
		case f.opinion == unsaid:
		case j.behind && f.opinion == wrong && o.Content == j.c.Origin[j.read].Content:
			*f = finding{opinion: unclear, by: ByNone}
		case o.TooOld && f.opinion != wrong && (f.opinion != right || f.by != ByOrigin):
			*f = finding{opinion: wrong, by: ByAge}
		}
	}
}

// strongest is the reference that the key counts under.
func (j *judgement) strongest(byPrimary bool) Reference {
	switch {
	case j.usesOrigin():
		return ByOrigin
	case j.top.any && !j.top.conflict:
		return ByVersion
	case j.leading != noContent:
		return ByMajority
	case byPrimary:
		return ByPrimary
	}
	return ByNone
}

// reach notes the highest version that surely existed when this read was made, and its content.
func (j *judgement) reach() {
	j.reached, j.reachedContent = j.top.version, content.Digest{}
	switch {
	case j.top.id != noContent:
		j.reachedContent = j.contents[j.top.id]
	case j.top.version == j.c.Remembered:
		j.reachedContent = j.c.RememberedContent
	}
	if answer := &j.c.Origin[j.read]; j.usesOrigin() && j.c.Versions && answer.Version.Compare(j.reached) > 0 {
		j.reached, j.reachedContent = answer.Version, answer.Content
	}
}
