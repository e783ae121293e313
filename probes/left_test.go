package probes

import (
	"testing"
	"time"
)

func TestThoseThatLeftLastAreRemembered(t *testing.T) {
	var left []time.Time
	began := time.Now()
	for i := range MostLeft {
		left = append(left, began.Add(time.Duration(MostLeft-i)*time.Second))
	}
	if got := ForgottenBefore(left); !got.IsZero() {
		t.Errorf("%d of %d: before %v", len(left), MostLeft, got)
	}
	left = append(left, began, began.Add(-time.Hour))
	if got := ForgottenBefore(left); !got.Equal(began.Add(time.Second)) {
		t.Errorf("%d of %d: before %v, want the first %v", len(left), MostLeft, got, began.Add(time.Second))
	}
}
