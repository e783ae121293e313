package verdict

import "github.com/cacheinv/cacheinv_exporter/internal/content"

// A fall is a version that goes down on its own node without a rise of the highest: old content that was written late or
// spread from another copy, or a new thing whose versions begin anew.

// falls of one key.
type falls struct {
	c *Case
	// fell: at least one in this sampling.
	fell bool
	// regressed: versions prove nothing for now.
	regressed bool
	// before is the highest version that the copies were last seen at.
	before  content.Version
	without Rule
}

// fallsOf a key, and what they mean for its versions. A version that went down is a reason for a second read: where none was
// needed, there is no new fall.
func fallsOf(c *Case, without Rule) falls {
	f := falls{c: c, without: without}
	if !c.Versions || !c.Reread && !c.Regressed {
		return f
	}
	var highest content.Version
	down := false
	for i := range c.Copies {
		if c.JudgedByPrimary(CopyAt(i), c.Final()) {
			continue
		}
		past := &c.Copies[i].Past.Version
		if past.Compare(f.before) > 0 {
			f.before = *past
		}
		if o := f.observed(CopyAt(i)); o.Presence == Present && !o.Version.IsZero() {
			if o.Version.Compare(highest) > 0 {
				highest = o.Version
			}
			down = down || o.Version.Compare(*past) < 0
		}
	}
	switch {
	case c.Regressed:
		f.regressed = highest.Compare(c.Highest) <= 0
	case down && highest.Compare(f.before) <= 0:
		f.weigh()
	}
	return f
}

func (f *falls) observed(i CopyAt) *Observation { return &f.c.Copies[i].Reads[f.c.Final()] }

// isDown: the copy's version is below the one seen last on its node.
func (f *falls) isDown(i CopyAt) bool {
	o := f.observed(i)
	return o.Presence == Present && !o.Version.IsZero() && o.Version.Compare(f.c.Copies[i].Past.Version) < 0 &&
		!f.c.JudgedByPrimary(i, f.c.Final())
}

// weigh the falls, older ones included, against the copies that still hold the highest version.
func (f *falls) weigh() {
	fallen, holders, isNew, known := 0, 0, false, true
	for i := range f.c.Copies {
		at := CopyAt(i)
		o := f.observed(at)
		if o.Presence != Present || f.c.JudgedByPrimary(at, f.c.Final()) {
			continue
		}
		if o.Version.Compare(f.before) >= 0 {
			holders++
		}
		down := f.isDown(at)
		f.fell = f.fell || down
		if down && f.spread(at) {
			continue
		}
		if down {
			isNew = true
			known = known && f.c.firstSeen(o.Content) != neverSeen
		}
		if down || f.stillDown(at) {
			fallen++
		}
	}
	if !isNew || f.without&Regression != 0 {
		return
	}
	late := fallen < holders || fallen == holders && known
	f.regressed = !late || f.without&LateWrites != 0
}

// spread: another copy held the content at the last sampling and did not itself fall to it, and the key had it no later than
// the content of the highest version. A copy was refilled from one that is behind.
func (f *falls) spread(i CopyAt) bool {
	if f.without&Spread != 0 {
		return false
	}
	d := f.observed(i).Content
	latest := int64(0) // when the content of the highest version was first seen
	for k := range f.c.Copies {
		if p := &f.c.Copies[k].Past; p.Version == f.before {
			latest = max(latest, f.c.firstSeen(p.Content))
		}
	}
	if f.c.firstSeen(d) > latest {
		return false
	}
	for k := range f.c.Copies {
		p := &f.c.Copies[k].Past
		if CopyAt(k) != i && p.held(d) && !p.Fell && !f.follows(CopyAt(k), i) {
			return true
		}
	}
	return false
}

// follows: a copy is that of a replica of the other.
func (f *falls) follows(replica, primary CopyAt) bool {
	p := &f.c.Copies[replica].Primary
	return p.InCase && p.At == primary
}

// stillDown: the copy fell at an earlier sampling and has not risen since.
func (f *falls) stillDown(i CopyAt) bool {
	k := &f.c.Copies[i]
	if !k.Past.Fell {
		return false
	}
	o := f.observed(i)
	return o.Presence != Present || o.Version.Compare(k.Past.Version) <= 0
}

// standsFor says what Past.Fell of a copy is after this sampling.
func (f *falls) standsFor(i CopyAt) bool {
	if f.fell && f.isDown(i) {
		return !f.spread(i)
	}
	return f.stillDown(i)
}
