package probes

import (
	"context"
	"errors"
	"fmt"
)

// ErrClosed is what a node gives after Close.
var ErrClosed = errors.New("the node is closed")

// NoAnswer is what is told of a server that did not answer before ctx ended.
func NoAnswer(ctx context.Context) error { return fmt.Errorf("no answer in time: %w", ctx.Err()) }
