package probes

import (
	"context"
	"errors"
	"fmt"
)

// errClosed is what a node gives after Close.
var errClosed = errors.New("the node is closed")

// noAnswer is what is told of a server that did not answer before ctx ended.
func noAnswer(ctx context.Context) error { return fmt.Errorf("no answer in time: %w", ctx.Err()) }
