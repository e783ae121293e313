package dynamodb

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sync/semaphore"
)

const (
	// chunkBytes of a page are read at once.
	chunkBytes = 64 << 10
	// manyPages are the bytes of pages that the SDK makes values of at once, in all histories: some twenty bytes for each.
	manyPages = 4 << 20
)

// readPage reads an answer whole, if the SDK can make its values of it without taking much memory. It ends with the first value too
// many, so that no more of it is held.
func readPage(body io.Reader) ([]byte, error) {
	var page []byte
	count := valueCounter{n: 1}
	for {
		from := len(page)
		page = append(page, make([]byte, chunkBytes)...)
		n, err := io.ReadFull(body, page[from:])
		page = page[:from+n]
		count.add(page[from:])
		switch {
		case len(page) > maxPage:
			return nil, fmt.Errorf("the answer has more than %d MiB; check that the endpoint is a DynamoDB's", maxPage>>20)
		case count.n > maxValues:
			return nil, fmt.Errorf("the answer has more than %d values; check that the endpoint is a DynamoDB's", maxValues)
		case err == io.EOF || err == io.ErrUnexpectedEOF: //nolint:errorlint // ReadFull gives them as they are
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

// parsing bounds the pages of which values are made at the same time. A page waits once it is there, so that a slow table holds up
// no other.
var parsing = semaphore.NewWeighted(manyPages)

// turn of a query's page to be parsed.
type turn struct{ bytes int64 }

type turnKey struct{}

// withTurn gives the context of a query, whose page may take its turn; end gives it to another.
func withTurn(ctx context.Context) (_ context.Context, end func()) {
	t := &turn{}
	return context.WithValue(ctx, turnKey{}, t), func() { parsing.Release(t.bytes) }
}

// takeTurn waits until a page of so many bytes may be parsed; the query's end gives the turn back.
func takeTurn(ctx context.Context, bytes int) error {
	t, ok := ctx.Value(turnKey{}).(*turn)
	n := int64(min(bytes, manyPages))
	if !ok || n <= chunkBytes {
		return nil
	}
	if err := parsing.Acquire(ctx, n); err != nil {
		return err
	}
	t.bytes += n
	return nil
}
