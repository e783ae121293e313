package probes

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
)

// brokenNode panics as a library does over what a server announces.
type brokenNode struct{ Node }

func (brokenNode) Identity() Identity { return Identity{Name: "broken"} }

func (brokenNode) Survey(context.Context, *Scan) (Survey, error) {
	n := -1
	return Survey{Version: string(make([]byte, n))}, nil
}

func TestGuarded(t *testing.T) {
	failed := errors.New("failed")
	if err := Guarded(func() error { return failed }); !errors.Is(err, failed) || errors.Is(err, ErrPanic) {
		t.Error(err)
	}
	if err := Guarded(func() error { return nil }); err != nil {
		t.Error(err)
	}
	if err := Guarded(func() error { panic(strings.Repeat("\xff long", 100)) }); !errors.Is(err, ErrPanic) || len(err.Error()) > 400 {
		t.Error(err)
	}
}

// A panic over one node is that node's error, and the same one each time.
func TestSurveyPanicCostsItsNode(t *testing.T) {
	f := &Fleet{members: []Members{Single(brokenNode{}), Single(brokenNode{})}}
	said := map[string]bool{}
	var mu sync.Mutex
	f.Survey(t.Context(), func(Identity) *Scan { return nil }, func(_ Node, _ Survey, err error) {
		if !errors.Is(err, ErrPanic) || !strings.Contains(err.Error(), "makeslice") || !strings.Contains(err.Error(), "brokenNode") {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		said[err.Error()] = true
	})
	if len(said) != 1 {
		t.Errorf("it is told as %v", said)
	}
}
