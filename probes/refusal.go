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

// ErrOtherServer is what an error is, besides ErrRefused, where what answered is no server of the kind that was asked.
var ErrOtherServer = errors.New("another server")

// OtherServer marks err as ErrOtherServer and ErrRefused; its text stays the same.
func OtherServer(err error) error { return otherServer{refusal{err}} }

type otherServer struct{ refusal }

// Is implements errors.Is.
func (o otherServer) Is(target error) bool { return target == ErrOtherServer || o.refusal.Is(target) }
