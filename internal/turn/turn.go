// Package turn bounds how many answers are made at once: [Line].
package turn

import "net/http"

// Line in which requests wait for their turn to be answered, where making an answer takes several times its length in memory.
type Line chan struct{}

// NewLine of which most are answered at once.
func NewLine(most int) Line { return make(Line, most) }

// Wait for a place, which [Line.Leave] gives back. One that is free is taken even if the request's time is up: what is known by then
// is its answer. False: the request ended before its turn, and was told so.
func (l Line) Wait(w http.ResponseWriter, r *http.Request) bool {
	select {
	case l <- struct{}{}:
		return true
	default:
	}
	select {
	case l <- struct{}{}:
		return true
	case <-r.Context().Done():
		http.Error(w, "the request ended before its turn to be answered", http.StatusServiceUnavailable)
		return false
	}
}

// Leave the place.
func (l Line) Leave() { <-l }
