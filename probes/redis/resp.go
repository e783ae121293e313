package redis

import (
	"errors"
	"strconv"

	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// errReply is an error that the server itself replied with; the connection is in order.
type errReply string

func (e errReply) Error() string { return string(e) }

// word is the error's first word (NOPERM, LOADING, …). Servers may repeat a command's arguments after it.
func (e errReply) word() string {
	for i := range len(e) {
		if e[i] == ' ' {
			return string(e[:i])
		}
	}
	return string(e)
}

var errProtocol = errors.New("the server's answer is not RESP")

// readHeader reads a reply's first line (RESP2): its type and number, or the text of a status or an error, valid until the
// next read.
func readHeader(x *wire.Exchange) (kind byte, n int64, text []byte, err error) {
	b, err := x.ReadLine()
	if err != nil {
		return 0, 0, nil, err
	}
	if len(b) == 0 {
		return 0, 0, nil, errProtocol
	}
	kind, b = b[0], b[1:]
	switch kind {
	case '-', '+':
		return kind, 0, b, nil
	case ':', '$', '*':
		n, ok := wire.ParseInt(b)
		if !ok {
			return 0, 0, nil, errProtocol
		}
		return kind, n, nil, nil
	}
	return 0, 0, nil, errProtocol
}

// readText reads a short reply as text; what the server refused is errReply.
func readText(x *wire.Exchange) (string, error) {
	kind, n, s, err := readHeader(x)
	switch {
	case err != nil:
		return "", err
	case kind == '-':
		return "", errReply(s)
	case kind == '+':
		return string(s), nil
	case kind == ':':
		return strconv.FormatInt(n, 10), nil
	case kind == '$' && n < 0:
		return "", nil
	case kind == '$' && n <= 1<<20:
		b, err := x.ReadBulk(nil, n)
		return string(b), err
	}
	return "", errProtocol
}

// mostElements of a reply that is read as a whole.
const mostElements = 1 << 20

// readReply reads a whole reply: int64, string, nil, or []any of these; what the server refused is errReply.
func readReply(x *wire.Exchange) (any, error) {
	left := mostElements
	return readElement(x, &left, 0)
}

func readElement(x *wire.Exchange, left *int, depth int) (any, error) {
	if *left--; *left < 0 || depth > 8 {
		return nil, errProtocol
	}
	kind, n, s, err := readHeader(x)
	switch {
	case err != nil:
		return nil, err
	case kind == '-':
		return nil, errReply(s)
	case kind == '+':
		return string(s), nil
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$' && n <= 1<<20:
		b, err := x.ReadBulk(nil, n)
		if err != nil {
			return nil, err
		}
		return string(b), nil
	case kind == '$':
		return nil, errProtocol
	}
	var out []any
	for range n {
		e, err := readElement(x, left, depth+1)
		var refused errReply
		if err != nil && !errors.As(err, &refused) {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// ignore reads a reply that doesn't matter.
func ignore(x *wire.Exchange) error {
	_, err := readText(x)
	var said errReply
	if errors.As(err, &said) {
		return nil
	}
	return err
}

// appendCommand writes a command as RESP.
func appendCommand(b []byte, args ...string) []byte {
	b = append(strconv.AppendInt(append(b, '*'), int64(len(args)), 10), "\r\n"...)
	for _, a := range args {
		b = appendArg(b, a)
	}
	return b
}

func appendArg(b []byte, a string) []byte {
	b = append(strconv.AppendInt(append(b, '$'), int64(len(a)), 10), "\r\n"...)
	return append(append(b, a...), "\r\n"...)
}
