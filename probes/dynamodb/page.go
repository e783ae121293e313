package dynamodb

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// chunkBytes of a page are read at once.
const chunkBytes = 32 << 10

// readPage reads an answer whole, if the SDK can make its values of it without taking much memory. It ends with the first value too
// many, so that no more of it is held. hold is called before more than a chunk is read.
func readPage(body io.Reader, hold func() error) ([]byte, error) {
	page := make([]byte, 0, chunkBytes)
	count := valueCounter{n: 1}
	for {
		from := len(page)
		switch from {
		case 0:
		case chunkBytes:
			if err := hold(); err != nil {
				return nil, err
			}
			fallthrough
		default:
			if cap(page)-from < chunkBytes {
				page = slices.Grow(page, from) // twice as much: what is outgrown is garbage
			}
		}
		n, err := io.ReadFull(body, page[from:from+chunkBytes])
		page = page[:from+n]
		count.add(page[from:])
		switch {
		case len(page) > maxPage:
			return nil, fmt.Errorf("the answer has more than %d MiB; check that the endpoint is a DynamoDB's", maxPage>>20)
		case count.n > maxValues:
			return nil, fmt.Errorf("the answer has more than %d values; check that the endpoint is a DynamoDB's", maxValues)
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return page, nil
		case err != nil:
			return nil, err
		}
	}
}

// valueCounter counts the values in a JSON text that comes in parts: there are no more than n.
type valueCounter struct {
	n               int
	quoted, escaped bool
}

func (v *valueCounter) add(text []byte) {
	for _, c := range text {
		switch {
		case v.escaped:
			v.escaped = false
		case v.quoted && c == '\\':
			v.escaped = true
		case c == '"':
			v.quoted = !v.quoted
		case v.quoted:
		case c == ',' || c == '[' || c == '{':
			v.n++
		}
	}
}

// room in memory for the page of one query, until what the SDK made of it has been taken.
type room struct {
	cancel context.CancelCauseFunc
	held   *probes.Hold
}

type roomKey struct{}

// withRoom gives the context of a query, whose page may take room; end gives it back.
func withRoom(ctx context.Context) (_ context.Context, end func()) {
	r := &room{}
	ctx, r.cancel = context.WithCancelCause(context.WithValue(ctx, roomKey{}, r))
	return ctx, func() {
		r.cancel(nil)
		if r.held != nil {
			r.held.Release()
		}
	}
}

// page of an answer to a request of a query; one beyond a chunk holds as much room as the largest needs.
func (a sdkClient) page(ctx context.Context, body io.Reader) ([]byte, error) {
	r, ok := ctx.Value(roomKey{}).(*room)
	hold := func() (err error) {
		if ok && r.held == nil {
			r.held, err = a.client.Hold(ctx, maxPage, func() { r.cancel(probes.ErrTooSlow) })
		}
		return err
	}
	page, err := readPage(body, hold)
	if err == nil && ok && r.held != nil {
		r.held.Arrived()
	}
	return page, err
}
