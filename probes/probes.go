// Package probes has the roles that backends play, and the plain data that they give: copies, statistics, positions and
// versions. It knows no Prometheus, and no type of a backend's library stands here.
//
// Backend is one kind of server, a folder below this one; package backends lists them all. What a Backend reads from the
// configuration is a source (NodeSource, QueueSource …), which opens what is asked: Node, Queue, History, Publisher, Origin,
// Application. A Fleet is all cache nodes of a configuration, and an Env what all backends of the process share.
package probes

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// Count is a number that a server may not report; Value is valid where it is Known.
type Count struct {
	Value float64
	Known bool
}

// MostCount is more than servers count up to: beyond it a float64 no longer holds each whole number. A counter that fell below 0 says
// 2^64-1, which would stay in every sum.
const MostCount = 1 << 53

// ParseCount reads a decimal number, as INFO and stats report them; text that is none, and what can be no count, below 0 or beyond
// MostCount, gives a Count that is not known.
func ParseCount(s string) Count {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > MostCount {
		return Count{}
	}
	return Count{Value: f, Known: true}
}

// OddCount reports whether a text is a number that can be no count.
func OddCount(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return (err == nil || errors.Is(err, strconv.ErrRange)) && !ParseCount(s).Known
}

// ErrClosed is the error of what is asked after Close.
var ErrClosed = errors.New("the node is closed")

// NoAnswer is the error of a server that did not answer before ctx ended.
func NoAnswer(ctx context.Context) error { return fmt.Errorf("no answer in time: %w", ctx.Err()) }
