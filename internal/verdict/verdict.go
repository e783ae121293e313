// Package verdict decides which copies of a key are wrong, and for how long they have been: docs/verdict.md as code. It
// asks nobody, keeps nothing and knows no clock, so that every situation can be played as a table of cases.
//
// A Case is all that is known of one key: its copies as they were read twice, and what the origin answered. Judge.Decide
// gives the Verdict: a State for each copy, and the Reference by which it was decided. Follow takes an Episode, the time
// for which a copy has been wrong, from one sampling to the next.
package verdict

import "github.com/cacheinv/cacheinv_exporter/internal/content"

// Outcome of one copy.
type Outcome struct {
	State State
	// By is what convicted a stale copy, or confirmed a fresh one (ByNone: it only moved).
	By Reference
	// Target is the version that a copy convicted by version lacks.
	Target content.Version
	// Votes: the copy spoke for its replication group, or for itself, in the final read.
	Votes bool
	// Fell is Past.Fell for the next sampling.
	Fell bool
}

// Verdict on one key.
type Verdict struct {
	// Copies in the order of the case's.
	Copies []Outcome
	// Reference that the key counts under; valid where Counted.
	Reference Reference
	Counted   bool
	// Conflict: equal highest versions with different content, in both reads.
	Conflict bool
	// OriginBehind: a copy's version was above the origin's, in both reads.
	OriginBehind bool
	// Reached is the version of the reference that was in force; zero: none.
	Reached content.Version
	// Fell: a version went down on its own node without a rise of the highest.
	Fell bool
	// Regressed: a regression keeps versions from deciding.
	Regressed bool
	// Forget what is remembered: nodes without a past agree on something else.
	Forget bool
}

// Judge says which copies of a key are stale, from two reads of all of them. It is the only place that decides
// this; it keeps nothing but buffers, and what it is given decides alone. The Outcomes are valid until the Judge's next
// call.
type Judge struct {
	// Without are rules that are not applied; none but in tests.
	Without Rule

	reads    [2]judgement
	outcomes []Outcome
}

// Decide judges one key.
func (j *Judge) Decide(c *Case) Verdict {
	// An origin that answered once can't tell a copy that is wrong from one that moved meanwhile.
	useOrigin := c.Origin[0].Asked && (!c.Reread || c.Origin[1].Asked)
	first, second := &j.reads[0], &j.reads[c.Final()]
	f := fallsOf(c, j.Without)
	versions := c.Versions && !f.regressed
	first.judge(c, 0, terms{useOrigin, versions, j.Without})
	if c.Reread {
		second.judge(c, 1, terms{useOrigin, versions, j.Without})
	}
	j.outcomes = j.outcomes[:0]
	for i := range c.Copies {
		o := combine(c, CopyAt(i), first, second)
		o.Fell = f.standsFor(CopyAt(i))
		j.outcomes = append(j.outcomes, o)
	}
	for _, v := range second.votes {
		j.outcomes[v.copy].Votes = true
	}
	first.c, second.c = nil, nil // the caller's case is not held on to
	return Verdict{
		Copies:       j.outcomes,
		Reference:    second.reference,
		Counted:      second.present,
		Conflict:     first.conflict && second.conflict,
		OriginBehind: first.behind && second.behind,
		Reached:      second.reached,
		Fell:         f.fell,
		Regressed:    f.regressed,
		Forget:       first.forget && second.forget,
	}
}

// combine is the rule of the two reads: a copy is convicted only for what both of them show, or for lacking in the
// second what surely existed by the first. All else may be a write on its way.
func combine(c *Case, i CopyAt, first, second *judgement) Outcome {
	a, b := &c.Copies[i].Reads[0], &c.Copies[i].Reads[1]
	if !c.Reread {
		b = a
	}
	fa, fb := &first.findings[i], &second.findings[i]
	moved := !a.Same(b)
	if b.Presence == Present {
		if !moved && c.Reread && fa.opinion == wrong && fb.opinion == wrong && stoodStill(&c.Copies[i], first, second, fa, fb) {
			return Outcome{State: Stale, By: fb.by, Target: fb.target}
		}
		if c.Reread && first.above(i) && !second.excuses(i) {
			by := ByVersion
			if fb.opinion == wrong && fb.by == ByOrigin {
				by = ByOrigin
			}
			return Outcome{State: Stale, By: by, Target: first.reached}
		}
	}
	switch {
	case b.Presence == Absent && a.Presence != Unread:
		return Outcome{State: Missing, By: ByNone}
	case a.Presence == Unread || b.Presence == Unread:
		return Outcome{State: Error, By: ByNone}
	case moved && fb.opinion == unopposed:
		return Outcome{State: Unverified, By: ByNone}
	case moved && fb.opinion == right:
		return Outcome{State: Fresh, By: fb.by}
	case moved:
		return Outcome{State: Fresh, By: ByNone}
	case fb.opinion == right:
		return Outcome{State: Fresh, By: fb.by}
	case fa.opinion == right:
		return Outcome{State: Fresh, By: fa.by}
	case fb.opinion == unopposed:
		return Outcome{State: Unverified, By: ByNone}
	default:
		return Outcome{State: Undecided, By: ByNone}
	}
}

// stoodStill: what convicts a copy by its primary or the majority was the same in both reads, or the copy held its content at
// an earlier sampling already. Else it may only be ahead of the others in one read, and overtaken in the next. That a primary has
// nothing is no content: between the reads it may have had some.
func stoodStill(k *Copy, first, second *judgement, fa, fb *finding) bool {
	if fb.by != ByPrimary && fb.by != ByMajority || second.without&Still != 0 {
		return true
	}
	same := fb.against != noContent && first.contentOf(fa.against) == second.contentOf(fb.against)
	return same || k.Past.held(k.Reads[1].Content)
}

// above: in this read, the first, something newer existed than what the copy holds in the second.
func (j *judgement) above(i CopyAt) bool {
	b := &j.c.Copies[i].Reads[1]
	return j.versions && !b.Version.IsZero() && b.Version.Compare(j.reached) < 0 && !j.isReached(b.Content)
}

// excuses: in this read, the second, the origin holds what the copy holds, though its version is low.
func (j *judgement) excuses(i CopyAt) bool {
	f := &j.findings[i]
	return f.opinion == right && f.by == ByOrigin || j.behind && j.c.Copies[i].Reads[1].Content == j.c.Origin[1].Content
}

// isReached: the content is that of the reference's version, in a conflict one of those: which of them is right, versions do
// not say.
func (j *judgement) isReached(d content.Digest) bool {
	if j.top.conflict && j.reached == j.top.version {
		id := j.id(d)
		return id != noContent && j.top.contents[id]
	}
	return d == j.reachedContent
}
