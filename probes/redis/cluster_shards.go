package redis

import (
	"strconv"

	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// shardAddress is where a node of a Cluster is, as CLUSTER SHARDS tells.
type shardAddress struct{ id, address string }

// mostWord is the longest word of CLUSTER SHARDS that is kept: a host's name.
const mostWord = mostHostName

// readShards reads the reply to CLUSTER SHARDS while it arrives: of each node the endpoint that clients are meant to use, else its ip.
// What can't be read costs itself alone. secure: the TLS port counts. The error is errReply where the server refused.
func readShards(x *wire.Exchange, secure bool) (out []shardAddress, err error) {
	kind, shards, said, err := readHeader(x)
	switch {
	case err != nil:
		return nil, err
	case kind == '-':
		return nil, errReply(said)
	case kind != '*':
		return nil, skip(x, kind, shards)
	}
	for range shards {
		err := eachField(x, func(name string, kind byte, n int64) error {
			if name != "nodes" || kind != '*' {
				return skip(x, kind, n)
			}
			for range n {
				if err := readShardNode(x, secure, func(a shardAddress) {
					if len(out) < mostPeers {
						out = append(out, a)
					}
				}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readShardNode reads one node of a shard.
func readShardNode(x *wire.Exchange, secure bool, add func(shardAddress)) error {
	var id, endpoint, ip string
	port, tlsPort := int64(-1), int64(-1)
	err := eachField(x, func(name string, kind byte, n int64) (err error) {
		switch {
		case name == "id" && kind == '$':
			id, err = readWord(x, n)
		case name == "endpoint" && kind == '$':
			endpoint, err = readWord(x, n)
		case name == "ip" && kind == '$':
			ip, err = readWord(x, n)
		case name == "port" && kind == ':':
			port = n
		case name == "tls-port" && kind == ':':
			tlsPort = n
		default:
			return skip(x, kind, n)
		}
		return err
	})
	if err != nil {
		return err
	}
	if tlsPort >= 0 && (secure || port < 0) {
		port = tlsPort
	}
	for _, host := range []string{endpoint, ip} {
		if at := announcedAddress(host, strconv.FormatInt(port, 10)); at != "" && id != "" {
			add(shardAddress{id, at})
			break
		}
	}
	return nil
}

// eachField calls visit for each field of a list of names and values in turn, with the value's first line: it reads what follows.
func eachField(x *wire.Exchange, visit func(name string, kind byte, n int64) error) error {
	kind, n, _, err := readHeader(x)
	if err != nil {
		return err
	}
	if kind != '*' {
		return skip(x, kind, n)
	}
	for ; n > 0; n -= 2 {
		kind, size, _, err := readHeader(x)
		if err != nil {
			return err
		}
		name := ""
		if kind == '$' {
			name, err = readWord(x, size)
		} else {
			err = skip(x, kind, size)
		}
		if err != nil || n == 1 { // a name without a value
			return err
		}
		if kind, size, _, err = readHeader(x); err != nil {
			return err
		}
		if err := visit(name, kind, size); err != nil {
			return err
		}
	}
	return nil
}

// readWord reads a bulk of so many bytes; one that is absent or too long is empty.
func readWord(x *wire.Exchange, n int64) (string, error) {
	if n < 0 || n > mostWord {
		return "", skip(x, '$', n)
	}
	var err error
	x.Buf, err = x.ReadBulk(x.Buf[:0], n)
	return string(x.Buf), err
}
