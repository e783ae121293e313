package probes

import (
	"slices"
	"time"
)

// MostLeft nodes, brokers or instances that left are remembered in each place where some are: a source that names other servers each
// time must not fill the memory.
const MostLeft = 1000

// ForgottenBefore gives, by when each of them left, the time before which those left that are to be forgotten: they are more than
// MostLeft, and the last ones stay.
func ForgottenBefore(left []time.Time) time.Time {
	if len(left) <= MostLeft {
		return time.Time{}
	}
	slices.SortFunc(left, time.Time.Compare)
	return left[len(left)-MostLeft]
}
