package redis

import (
	"bytes"
	"errors"
	"math"
	"strconv"

	"github.com/cacheinv/cacheinv_exporter/probes"
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

var errProtocol = probes.OtherServer(errors.New(
	"the server's answer is not RESP; is its address that of a Redis or Valkey, and does its port need tls, or none?"))

// unusable is what readHeader gives for a reply of one line whose content can't be used: it costs itself alone.
const unusable = '?'

// errUnusable is in the place of a reply that is none to what was asked. The connection is in order.
const errUnusable errReply = "UNUSABLE the answer is of another kind than the command's"

// noCount is why a number that counts something can't be used; nil: it can.
func noCount(n int64) error {
	if n < 0 || n > probes.MostCount {
		return errUnusable
	}
	return nil
}

// readHeader reads a reply's first line (RESP2): its type and number, or the text of a status, or of an error as it can be told,
// valid until the next read.
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
	case '-':
		return kind, 0, []byte(x.Secrets.Tell(string(b))), nil
	case '+':
		return kind, 0, b, nil
	case ':', '$', '*':
		n, ok := wire.ParseInt(bytes.TrimPrefix(b, []byte{'+'}))
		switch {
		case ok:
			return kind, n, nil, nil
		case kind == ':': // it announces nothing that follows
			return unusable, 0, b, nil
		}
	}
	return 0, 0, nil, errProtocol
}

// skip drops what follows a reply's first line.
func skip(x *wire.Exchange, kind byte, n int64) error {
	for left := int64(1); ; {
		left--
		switch {
		case kind == '$' && n >= 0:
			if err := x.Discard(n); err != nil {
				return err
			}
		case kind == '*' && n > 0:
			if n > math.MaxInt64-left {
				return errProtocol
			}
			left += n
		}
		if left == 0 {
			return nil
		}
		var err error
		if kind, n, _, err = readHeader(x); err != nil {
			return err
		}
	}
}

// readText reads a short reply as text; what the server refused, or gave no text for, is errReply.
func readText(x *wire.Exchange) (string, error) { return readTextUpTo(x, longestText) }

func readTextUpTo(x *wire.Exchange, most int64) (string, error) {
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
	case kind == '$' && n <= most:
		b, err := x.ReadBulk(nil, n)
		return string(b), err
	}
	if err := skip(x, kind, n); err != nil {
		return "", err
	}
	return "", errUnusable
}

const (
	// longestWord is how long an answer may be that is a word or two, such as TYPE's.
	longestWord = 256
	// longestText that is read as a whole, but for INFO's: its sections of commands and errors have no bound.
	longestText = 8 << 20
	// longestInfo is how much of INFO is kept: the sections that count are at its beginning, and the last.
	longestInfo = 1 << 20
)

// readInfoText reads INFO's reply: of one that is very long, what it begins and ends with.
func readInfoText(x *wire.Exchange) (string, error) {
	kind, n, s, err := readHeader(x)
	switch {
	case err != nil:
		return "", err
	case kind == '-':
		return "", errReply(s)
	case kind == '$' && n >= 0:
		b, err := x.ReadEnds(nil, n, longestInfo)
		return string(b), err
	}
	if err := skip(x, kind, n); err != nil {
		return "", err
	}
	return "", errUnusable
}

// readKey reads an element of SCAN's reply; false: it is no key that could be asked for.
func readKey(x *wire.Exchange) (string, bool, error) {
	kind, n, _, err := readHeader(x)
	if err != nil {
		return "", false, err
	}
	if kind != '$' || n < 0 || n > longestKey {
		return "", false, skip(x, kind, n)
	}
	b, err := x.ReadBulk(nil, n)
	return string(b), err == nil, err
}

// longestKey whose name is kept.
const longestKey = 64 << 10

// mostElements of a reply that is read as a whole, and how deep they are; what is beyond is nil. A long text counts as one for each
// elementBytes.
const (
	mostElements = 1 << 18
	elementBytes = 64
	mostDepth    = 8
)

// readReply reads a whole reply: int64, string, nil, or []any of these; what the server refused is errReply. An element that
// can't be used is nil.
func readReply(x *wire.Exchange) (any, error) {
	left := mostElements
	return readElement(x, &left, 0)
}

func readElement(x *wire.Exchange, left *int, depth int) (any, error) {
	kind, n, s, err := readHeader(x)
	*left--
	switch {
	case err != nil:
		return nil, err
	case kind == '-':
		return nil, errReply(s)
	case kind == '+':
		return string(s), nil
	case kind == ':':
		return n, nil
	case kind == unusable, n < 0:
		return nil, nil
	case *left < 0 || depth > mostDepth || kind == '$' && n > longestText:
		return nil, skip(x, kind, n)
	case kind == '$':
		if *left -= int(n / elementBytes); *left < 0 {
			return nil, x.Discard(n)
		}
		b, err := x.ReadBulk(nil, n)
		if err != nil {
			return nil, err
		}
		return string(b), nil
	}
	var out []any
	for range n {
		e, err := readElement(x, left, depth+1)
		var refused errReply
		if err != nil && !errors.As(err, &refused) {
			return nil, err
		}
		if *left >= 0 {
			out = append(out, e)
		}
	}
	return out, nil
}

// ignore reads a reply that doesn't matter.
func ignore(x *wire.Exchange) error {
	_, err := readTextUpTo(x, longestWord)
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
