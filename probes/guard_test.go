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
	for name, p := range map[string]any{
		"a text": "s3cret", "an error": errors.New("s3cret"), "bytes": []byte("s3cret"), "a struct": struct{ Value string }{"s3cret"}, "a nil": nil,
	} {
		err := Guarded(func() error { panic(p) })
		if !errors.Is(err, ErrPanic) || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "115 51") || !strings.Contains(err.Error(), "TestGuarded") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is told of a panic has the functions that it broke off, and neither what it says nor an argument.
func TestPanicReport(t *testing.T) {
	var report string
	func() {
		defer func() { report = PanicReport(recover()) }()
		breakOff("s3cret", 0xABCDEF)
	}()
	if strings.Contains(report, "s3cret") || strings.Contains(strings.ToLower(report), "abcdef") || strings.Contains(report, "runtime.gopanic") {
		t.Error(report)
	}
	lines := strings.Split(report, "\n")
	if len(lines) < 3 || lines[0] != "a value of type string" || !strings.Contains(lines[1], "probes.breakOff:") || !strings.Contains(lines[2], "probes.TestPanicReport") {
		t.Error(report)
	}
}

//go:noinline
func breakOff(value string, n int) {
	panic(value + strings.Repeat("!", n%3))
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
