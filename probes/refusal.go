package probes

import "errors"

// ErrRefused is what an error is where a server answered, and refused what it was asked, or gave nothing of use (errors.Is): it
// can be reached.
var ErrRefused = errors.New("refused")

// Refusal marks err as ErrRefused; its text stays the same.
func Refusal(err error) error {
	if err == nil {
		return nil
	}
	return refusal{err}
}

type refusal struct{ error }

// Unwrap gives the error that was marked.
func (r refusal) Unwrap() error { return r.error }

// Is implements errors.Is.
func (refusal) Is(target error) bool { return target == ErrRefused }
