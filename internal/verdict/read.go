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
	// against is the content that convicts; noContent: of what this read shows there is none.
	against contentID
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

// terms of a judgement.
type terms struct {
	// asked: the origin answered, whether its answer is used or not.
	asked bool
	// versions decide.
	versions bool
	// without these rules.
	without Rule
}

// counts: the vote is among contents, where some are given.
func (v vote) counts(contents []bool) bool { return contents == nil || contents[v.id] }

// judgement of one read. judge fills it, and what it says is valid while Decide runs; its slices are used again.
type judgement struct {
	c    *Case
	read int
	terms

	findings []finding   // by CopyAt
	ids      []contentID // by CopyAt
	contents []content.Digest
	votes    []vote
	// unread are the layers of the votes that could not be read.
	unread []int
	// present: a copy is.
	present bool
	// behind: a copy's version is above the origin's, whose answer is not used then.
	behind bool
	// top is what versions say; majority is the content that most votes hold, leading the one that most votes hold among
	// those of the highest version, where these are in conflict.
	top               topVersion
	majority, leading contentID
	// unsettled: a copy differs that the leading content may not convict, so that it confirms nobody.
	unsettled bool
	// unseated: a version lies in the future, so that no version confirms anybody.
	unseated bool
	// remembered is the highest version confirmed earlier; forget: it is not, because new nodes agree on another content.
	remembered        content.Version
	rememberedContent content.Digest
	forget            bool

	reference Reference
	conflict  bool
	// reached is the version of the reference: what surely existed when the read was made; reachedContent is its
	// content, where known.
	reached        content.Version
	reachedContent content.Digest
}

// judge one read by the references in their order.
func (j *judgement) judge(c *Case, read int, t terms) {
	j.c, j.read, j.terms = c, read, t
	j.numberContents()
	j.collectVotes()
	j.recall()
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
	j.unsettled = j.leading != noContent && len(j.contents) > 1 && j.isOpposed()
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
	j.present, j.unseated = false, false
	for i := range j.c.Copies {
		id := noContent
		if o := j.observed(CopyAt(i)); o.Presence == Present {
			j.present = true
			j.unseated = j.unseated || o.Future && j.versions && !j.follows(CopyAt(i)) && j.applies(FutureVersion)
			id = j.id(o.Content)
			if id == noContent {
				id = contentID(len(j.contents))
				j.contents = append(j.contents, o.Content)
			}
		}
		j.ids = append(j.ids, id)
		j.findings = append(j.findings, finding{by: ByNone, against: noContent})
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

// contentOf an ID; that of noContent is zero.
func (j *judgement) contentOf(id contentID) (d content.Digest) {
	if id != noContent {
		d = j.contents[id]
	}
	return d
}

// applies says whether a rule does.
func (j *judgement) applies(r Rule) bool { return j.without&r == 0 }

func (j *judgement) collectVotes() {
	j.votes, j.unread = j.votes[:0], j.unread[:0]
	for i := range j.c.Copies {
		at, k := CopyAt(i), &j.c.Copies[i]
		switch {
		case j.follows(at):
		case j.ids[i] != noContent && !j.observed(at).TooOld && (!k.IsReplica() || j.speaks(at)):
			j.votes = append(j.votes, vote{layer: k.Layer, id: j.ids[i], copy: at})
		case j.applies(UnreadVotes) && j.isUnreadVote(at):
			j.unread = append(j.unread, k.Layer)
		}
	}
}

// isUnreadVote: the copy stands for a vote of which nobody knows what it is for: it could not be read, nor could its
// replicas, or they do not agree. Of replicas whose primary has no copy in the case the first one stands for it.
func (j *judgement) isUnreadVote(i CopyAt) bool {
	k := &j.c.Copies[i]
	if k.Left {
		return false
	}
	if !k.IsReplica() {
		if j.observed(i).Presence != Unread {
			return false
		}
	} else if k.Primary.InCase { // its primary, which can't be read, stands for it
		return false
	}
	read, agreed := false, noContent
	differ := false
	for m := range j.c.Copies {
		p, o := &j.c.Copies[m].Primary, j.observed(CopyAt(m))
		if k.IsReplica() && p.Group != k.Primary.Group || !k.IsReplica() && (!p.InCase || p.At != i) {
			continue
		}
		if k.IsReplica() && CopyAt(m) < i && !j.c.Copies[m].Left {
			return false
		}
		if o.Presence == Unread || o.TooOld {
			continue
		}
		differ = differ || read && j.ids[m] != agreed
		read, agreed = true, j.ids[m]
	}
	return differ || !read
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
				j.findings[i] = finding{opinion: unopposed, by: ByNone, against: noContent}
			}
		}
	}
	// Nor is one against an origin that says that it is deleted, and may not convict it yet.
	if j.applies(RecentlyDeleted) && j.usesOrigin() && j.c.Origin[j.read].Deleted && len(j.votes) < 2 && j.alike() {
		for i := range j.findings {
			if j.findings[i].opinion == right {
				j.findings[i] = finding{opinion: unclear, by: ByNone, against: noContent}
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
			*f = finding{opinion: unclear, by: ByNone, against: noContent}
		case o.TooOld && f.opinion != wrong && (f.opinion != right || f.by != ByOrigin):
			*f = finding{opinion: wrong, by: ByAge, against: noContent}
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
	case j.top.version == j.remembered:
		j.reachedContent = j.rememberedContent
	}
	if answer := &j.c.Origin[j.read]; j.usesOrigin() && j.versions && answer.Version.Compare(j.reached) > 0 {
		j.reached, j.reachedContent = answer.Version, answer.Content
	}
}

// recall what is remembered, unless new nodes end it: two votes alike on nodes without a past for the key, where none holds
// the remembered version, nor did one with a past at the last sampling.
func (j *judgement) recall() {
	j.remembered, j.rememberedContent, j.forget = content.Version{}, content.Digest{}, false
	if !j.versions || j.c.Remembered.IsZero() || !j.applies(Remembered) {
		return
	}
	j.forget = j.c.Reread && j.applies(NewNodes) && !j.isKeptAlive() && j.newNodesAgree()
	if !j.forget {
		j.remembered, j.rememberedContent = j.c.Remembered, j.c.RememberedContent
	}
}

func (j *judgement) newNodesAgree() bool {
	for a, v := range j.votes {
		for _, other := range j.votes[:a] {
			if v.id == other.id && !j.c.Copies[v.copy].Past.Seen && !j.c.Copies[other.copy].Past.Seen {
				return true
			}
		}
	}
	return false
}

// isKeptAlive: a copy is at the remembered version, or was at the last sampling on a node that is still there.
func (j *judgement) isKeptAlive() bool {
	for i := range j.c.Copies {
		k, o := &j.c.Copies[i], j.observed(CopyAt(i))
		if k.Left {
			continue
		}
		if o.Presence == Present && (o.Version.Compare(j.c.Remembered) >= 0 || o.Content == j.c.RememberedContent) ||
			k.Past.Present && k.Past.Version.Compare(j.c.Remembered) >= 0 {
			return true
		}
	}
	return false
}
