package content

import (
	"errors"
	"fmt"
	"regexp"
	"sync"
	"testing"
)

// remembered contents of a Reader.
func (r *Reader) remembered() (n int) {
	for i := range r.memo.parts {
		n += len(r.memo.parts[i].recent) + len(r.memo.parts[i].older)
	}
	return n
}

func TestReaderRemembers(t *testing.T) {
	r, err := Compile(Spec{Version: &VersionSpec{JSON: "$.v"}, Ignore: []string{"$.t"}})
	if err != nil {
		t.Fatal(err)
	}
	value := func(i, v int) []byte { return fmt.Appendf(nil, `{"t":%d,"v":%d}`, i, v) }
	for round := range 3 {
		r.Forget()
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for i := range 100 {
					got, err := r.Value(value(i, round))
					want, _ := r.read(value(i, round))
					if err != nil || got != want || got.Version != ReadVersion(fmt.Sprint(round)) {
						t.Errorf("%+v %v, want %+v", got, err, want)
					}
				}
			})
		}
		readers.Wait()
	}
	if n := r.remembered(); n != 200 {
		t.Errorf("%d contents are remembered, want those of two rounds", n)
	}
	for range 2 {
		r.Forget()
	}
	if n := r.remembered(); n != 0 {
		t.Errorf("%d contents are remembered that nobody read in two rounds", n)
	}
}

// A value that is read in each round stays, and is not parsed again.
func TestReaderKeepsWhatIsReadAgain(t *testing.T) {
	r, err := Compile(Spec{})
	if err != nil {
		t.Fatal(err)
	}
	value := []byte(`{"a":1}`)
	if _, err := r.Value(value); err != nil {
		t.Fatal(err)
	}
	// What it is remembered as shows that nothing was parsed.
	k, other := r.memo.key(value), Content{Digest: Digest{1}}
	r.memo.put(k, other)
	for range 5 {
		r.Forget()
		if got, err := r.Value(value); err != nil || got != other {
			t.Fatalf("%+v %v: it was parsed again", got, err)
		}
	}
}

func TestReaderRemembersNoFaults(t *testing.T) {
	r, err := Compile(Spec{Compare: []string{"$.a"}, Absent: regexp.MustCompile("^null$")})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.Value([]byte("null")); !errors.Is(err, ErrAbsent) {
			t.Error(err)
		}
		if _, err := r.Value([]byte(`{"b":1}`)); !errors.Is(err, errNoPath) {
			t.Error(err)
		}
	}
	if n := r.remembered(); n != 0 {
		t.Errorf("%d contents are remembered of values that have none", n)
	}
}

func TestReaderRemembersABoundedNumber(t *testing.T) {
	r, err := Compile(Spec{})
	if err != nil {
		t.Fatal(err)
	}
	const most = memoParts * memoPartSize
	for round := range 3 {
		r.Forget()
		for i := range 2 * most {
			if _, err := r.Value(fmt.Append(nil, round, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := r.remembered(); n > 2*most || n < most {
		t.Errorf("%d contents are remembered", n)
	}
}
