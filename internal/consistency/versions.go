package consistency

import (
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// What is remembered of a key's versions: the highest that is sure to exist, against which a copy can be convicted when
// no other node holds it any more, and whether versions went down, in which case they prove nothing.

// fell notes what a verdict says of versions that went down.
func (k *keyMemory) fell(v *verdict.Verdict) {
	if v.Regressed && !k.regressed || v.Forget { // for an episode, too, lower versions are as good as those of before
		k.regressions++
		k.forgetConfirmed()
	}
	k.regressed = v.Regressed
}

func (k *keyMemory) forgetConfirmed() {
	k.confirmed, k.confirmedContent, k.confirmedSeen = content.Version{}, content.Digest{}, time.Time{}
}

// judgedKey is a key after its verdict, for what is remembered of its versions.
type judgedKey struct {
	c        *verdict.Case
	copies   []copyCount       // in the order of the case's
	outcomes []verdict.Outcome // too
	// useOrigin: the origin's answer can confirm a version.
	useOrigin bool
	at        time.Time
	// ttl is how long a confirmed version is kept; 0: for ever.
	ttl time.Duration
}

// remember what the final read showed, after the key was judged. There is at least one copy, or every node said that it
// has none.
func (k *keyMemory) remember(j *judgedKey) {
	final := j.c.Final()
	allRead, anyPresent, alike := true, false, true
	votes := 0
	var first content.Digest
	var top content.Version
	for i := range j.copies {
		o := &j.c.Copies[i].Reads[final]
		switch o.Presence {
		case verdict.Unread:
			allRead = false
			continue
		case verdict.Absent:
			continue
		}
		if !anyPresent {
			first = o.Content
		}
		anyPresent = true
		alike = alike && first == o.Content
		if j.outcomes[i].Votes {
			votes++
		}
		if o.Version.Compare(top) > 0 && !j.c.JudgedByPrimary(verdict.CopyAt(i), final) {
			top = o.Version
		}
	}
	if allRead && !anyPresent {
		k.deleted()
		return
	}
	for i := range j.copies {
		memory := j.copies[i].memory
		if o := &j.c.Copies[i].Reads[final]; o.Presence == verdict.Present && !o.Version.IsZero() {
			memory.version = o.Version
		}
		memory.marks &^= markFell
		if j.outcomes[i].Fell {
			memory.marks |= markFell
		}
	}
	if k.regressed {
		if !alike || votes < 2 {
			return
		}
		k.endRegression(j, top)
	}
	if top.Compare(k.highest) > 0 {
		k.highest = top
	}
	if j.c.Versions {
		k.confirm(j)
	}
}

// endRegression: all copies agree on the new thing, whose highest version is top.
func (k *keyMemory) endRegression(j *judgedKey, top content.Version) {
	k.begin(top)
	for i := range j.copies { // what a missing copy once held says nothing of the new thing
		if j.c.Copies[i].Reads[j.c.Final()].Presence != verdict.Present {
			j.copies[i].memory.version = content.Version{}
		}
	}
}

// deleted everywhere: what comes next is a new thing, and its versions may begin anew.
func (k *keyMemory) deleted() {
	k.forgetConfirmed()
	k.begin(content.Version{})
	for i := range k.copies {
		k.copies[i].version = content.Version{}
	}
}

// begin a new thing, whose highest version is top: that a copy's version fell says nothing of it.
func (k *keyMemory) begin(top content.Version) {
	k.regressed, k.highest = false, top
	for i := range k.copies {
		k.copies[i].marks &^= markFell
	}
}

// confirm keeps the highest version that two votes, or the origin, hold.
func (k *keyMemory) confirm(j *judgedKey) {
	if j.ttl > 0 && j.at.Sub(k.confirmedSeen) > j.ttl {
		k.forgetConfirmed()
	}
	final := j.c.Final()
	if a := &j.c.Origin[final]; j.useOrigin && !a.Deleted {
		k.note(a.Version, a.Content, j.at)
	}
	for i := range j.copies {
		o := &j.c.Copies[i].Reads[final]
		if o.Presence != verdict.Present || o.Version.IsZero() || o.Version.Compare(k.confirmed) < 0 ||
			j.c.JudgedByPrimary(verdict.CopyAt(i), final) {
			continue
		}
		if o.Version == k.confirmed {
			k.confirmedSeen = j.at
			continue
		}
		if !j.outcomes[i].Votes {
			continue
		}
		for second := i + 1; second < len(j.copies); second++ {
			p := &j.c.Copies[second].Reads[final]
			if j.outcomes[second].Votes && p.Version == o.Version && p.Content == o.Content {
				k.note(o.Version, o.Content, j.at)
				break
			}
		}
	}
}

// note a version as confirmed, unless a higher one is.
func (k *keyMemory) note(v content.Version, d content.Digest, at time.Time) {
	if !v.IsZero() && v.Compare(k.confirmed) >= 0 {
		k.confirmed, k.confirmedContent, k.confirmedSeen = v, d, at
	}
}
