package consistency

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// A small world of contents and versions: content n is made by version n unless said otherwise.
func digest(n int) content.Digest { return content.Digest{byte(n), byte(n >> 8)} }

func version(t interface{ Fatalf(string, ...any) }, n int) content.Version {
	r, err := content.Compile(content.Spec{Version: &content.VersionSpec{JSON: "$.v", Kind: "integer"}, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	c, err := r.Value([]byte(`{"v":` + itoa(n) + `}`))
	if err != nil || c.Version.IsZero() {
		t.Fatalf("version %d: %v", n, err)
	}
	return c.Version
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// drawCase makes a key of up to 6 copies in up to 3 layers, some of them replicas, with two arbitrary reads.
func drawCase(t *rapid.T) *Case {
	c := &Case{Reread: true, Versions: rapid.Bool().Draw(t, "versions")}
	layers := rapid.IntRange(1, 3).Draw(t, "layers")
	for range layers {
		c.Layers = append(c.Layers, time.Duration(rapid.IntRange(0, 2).Draw(t, "policy"))*time.Minute)
	}
	n := rapid.IntRange(1, 6).Draw(t, "copies")
	observe := func() Observation {
		o := Observation{Presence: Presence(rapid.IntRange(0, 2).Draw(t, "presence"))}
		if o.Presence == Present {
			id := rapid.IntRange(1, 3).Draw(t, "content")
			o.Content = digest(id)
			if c.Versions && rapid.IntRange(0, 4).Draw(t, "versioned") > 0 {
				o.Version = version(t, id)
			}
			o.TooOld = rapid.IntRange(0, 9).Draw(t, "old") == 0
		}
		return o
	}
	for i := range n {
		k := Copy{Layer: rapid.IntRange(0, layers-1).Draw(t, "layer"), Primary: -1, Held: time.Hour}
		if i > 0 && c.Copies[i-1].Primary < 0 && rapid.IntRange(0, 3).Draw(t, "replica") == 0 {
			k.Primary, k.Layer = i-1, c.Copies[i-1].Layer
		}
		k.Reads[0] = observe()
		k.Reads[1] = k.Reads[0]
		if rapid.Bool().Draw(t, "moves") {
			k.Reads[1] = observe()
		}
		c.Copies = append(c.Copies, k)
	}
	if rapid.Bool().Draw(t, "origin") {
		for i := range c.Origin {
			id := rapid.IntRange(1, 3).Draw(t, "answer")
			c.Origin[i] = Answer{Asked: true, Content: digest(id)}
			if c.Versions {
				c.Origin[i].Version = version(t, id)
			}
		}
	}
	return c
}

func TestOrderOfNodesChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCase(t)
		var j, other Judge
		got := j.Decide(c)
		order := rapid.Permutation(indices(len(c.Copies))).Draw(t, "order")
		shuffled := *c
		shuffled.Copies = make([]Copy, len(c.Copies))
		place := make([]int, len(c.Copies))
		for to, from := range order {
			place[from] = to
		}
		for to, from := range order {
			shuffled.Copies[to] = c.Copies[from]
			if p := c.Copies[from].Primary; p >= 0 {
				shuffled.Copies[to].Primary = place[p]
			}
		}
		then := other.Decide(&shuffled)
		if got.Reference != then.Reference || got.Conflict != then.Conflict || got.OriginBehind != then.OriginBehind {
			t.Fatalf("the key's verdict changed: %+v, then %+v", got, then)
		}
		for i := range c.Copies {
			if a, b := got.Copies[i].State, then.Copies[place[i]].State; a != b {
				t.Fatalf("copy %d was %s, then %s", i, a, b)
			}
		}
	})
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// A node more that holds what the reference holds must not make any other copy look worse.
func TestANodeThatAgreesHarmsNoOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCase(t)
		var j, other Judge
		before := slices.Clone(j.Decide(c).Copies)
		agreed := slices.IndexFunc(before, func(o Outcome) bool { return o.State == Fresh && o.By < ByNone })
		if agreed < 0 || c.Copies[agreed].Primary >= 0 || c.Copies[agreed].Reads[0] != c.Copies[agreed].Reads[1] {
			return
		}
		more := *c
		more.Copies = append(slices.Clone(c.Copies), c.Copies[agreed])
		after := other.Decide(&more).Copies
		if after[len(after)-1].State != Fresh {
			t.Fatalf("the copy that agrees is %s", after[len(after)-1].State)
		}
		for i := range before {
			if before[i].State == Fresh && after[i].State != Fresh {
				t.Fatalf("copy %d was fresh, and is %s by %s", i, after[i].State, after[i].By)
			}
		}
	})
}

// Writers that only ever raise the version, at whatever moment each node is read: nobody is convicted who is not
// behind what existed before.
func TestAMonotoneWriterIsNeverConvicted(t *testing.T) {
	versions := make([]content.Version, 40)
	for i := range versions {
		versions[i] = version(t, i)
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 6).Draw(t, "copies")
		c := &Case{Reread: true, Versions: true, Layers: []time.Duration{0}}
		// One write is under way at most: each node has the current version, or the one before it.
		at := []int{rapid.IntRange(2, 19).Draw(t, "first"), 0}
		at[1] = at[0] + rapid.IntRange(1, 10).Draw(t, "second")
		for range n {
			k := Copy{Primary: -1, Held: time.Hour}
			for read := range k.Reads {
				v := at[read] - rapid.IntRange(0, 1).Draw(t, "behind")
				k.Reads[read] = Observation{Presence: Present, Content: digest(v), Version: versions[v]}
			}
			c.Copies = append(c.Copies, k)
		}
		// The writer moved on between the reads, so no node still holds what was under way in the first.
		if at[1]-at[0] < 2 {
			return
		}
		var j Judge
		for i, o := range j.Decide(c).Copies {
			if o.State == Stale || o.State == Undecided {
				t.Fatalf("copy %d is %s", i, o.State)
			}
		}
	})
}

func TestOneCopyThatStoppedIsConvictedAmongMovingOnes(t *testing.T) {
	c := &Case{Reread: true, Versions: true, Layers: []time.Duration{0}}
	for i := range 3 {
		k := Copy{Primary: -1}
		for read := range k.Reads {
			v := 5 + read
			if i == 2 {
				v = 3
			}
			k.Reads[read] = Observation{Presence: Present, Content: digest(v), Version: version(t, v)}
		}
		c.Copies = append(c.Copies, k)
	}
	var j Judge
	got := j.Decide(c)
	if got.Copies[2].State != Stale || got.Copies[2].By != ByVersion || got.Copies[0].State != Fresh {
		t.Fatalf("%+v", got.Copies)
	}
}
