package servers

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
)

// RedisSaying starts a server that speaks RESP and says what answer gives for a command, in RESP; empty: +OK. It gives the
// address. answer is called by several goroutines at once; the command's words are in upper case as far as they are names.
func RedisSaying(t testing.TB, answer func(command []string) string) string {
	t.Helper()
	return RedisWriting(t, func(command []string, to io.Writer) error {
		said := answer(command)
		if said == "" {
			said = "+OK\r\n"
		}
		_, err := io.WriteString(to, said)
		return err
	})
}

// RedisWriting starts a server that speaks RESP, whose answers are written as they come: they may be endless. It gives the address.
// answer is as RedisSaying's; an error ends the connection.
func RedisWriting(t testing.TB, answer func(command []string, to io.Writer) error) string {
	t.Helper()
	return Listen(t, func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		in := bufio.NewReader(conn)
		for {
			command, err := readCommand(in)
			if err != nil {
				return
			}
			if answer(command, conn) != nil {
				return
			}
		}
	})
}

// BulkText is a text in RESP.
func BulkText(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

// BulkTexts is a list of texts in RESP.
func BulkTexts(texts ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(texts))
	for _, s := range texts {
		b.WriteString(BulkText(s))
	}
	return b.String()
}

// readCommand reads a command, of which the first two words are names.
func readCommand(in *bufio.Reader) ([]string, error) {
	number := func(kind byte) (int, error) {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] != kind {
			return 0, fmt.Errorf("%q is no command", line)
		}
		return strconv.Atoi(line[1:])
	}
	n, err := number('*')
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range n {
		size, err := number('$')
		if err != nil {
			return nil, err
		}
		word := make([]byte, size+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return nil, err
		}
		s := string(word[:size])
		if i == 0 || i == 1 && (out[0] == "CLUSTER" || out[0] == "SENTINEL" || out[0] == "CLIENT") {
			s = strings.ToUpper(s)
		}
		out = append(out, s)
	}
	return out, nil
}
