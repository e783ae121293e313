package hostile

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// kafkaAnswers are the bodies of a broker's answers, by the key of the request; it has no request but these, up to this version.
type kafkaAnswers map[kmsg.Key]struct {
	version int16
	body    []byte
}

// talk answers one connection, until it is asked for something else.
func (a kafkaAnswers) talk(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for {
		var length [4]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		request := make([]byte, binary.BigEndian.Uint32(length[:])%(1<<20))
		if _, err := io.ReadFull(conn, request); err != nil || len(request) < 8 {
			return
		}
		key, version := kmsg.Key(binary.BigEndian.Uint16(request)), int16(binary.BigEndian.Uint16(request[2:]))
		body := a[key].body
		if key == kmsg.ApiVersions {
			body = a.versions(version)
		}
		if body == nil {
			return
		}
		answer := binary.BigEndian.AppendUint32(nil, uint32(4+len(body)))
		answer = append(append(answer, request[4:8]...), body...) // the request's number
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// versions are what there is to ask for.
func (a kafkaAnswers) versions(version int16) []byte {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = version
	resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: int16(kmsg.ApiVersions), MaxVersion: 3})
	for key, one := range a {
		resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: int16(key), MaxVersion: one.version})
	}
	return resp.AppendTo(nil)
}

// kafkaReplies announce lists for which a reader would take room that is not there.
func kafkaReplies() []Attack {
	const size = 7 << 20
	// Behind the tags and the throttling are the brokers: as many as there are bytes.
	compact := append([]byte{0, 0, 0, 0, 0}, binary.AppendUvarint(nil, size)...)
	plain := binary.BigEndian.AppendUint32(make([]byte, 4), size)
	of := func(name string, version int16, begin []byte) Attack {
		return Attack{Name: name, Start: func(t testing.TB) Config {
			broker := kafkaAnswers{kmsg.Metadata: {version, append(begin, make([]byte, size)...)}}
			return Config{Queues: []string{
				fmt.Sprintf("  - {name: %s, kafka: {brokers: [%q], topics: [t], groups: [g]}}\n", name, servers.Listen(t, broker.talk)),
			}}
		}}
	}
	return []Attack{together("kafka", of("kafka-compact-brokers", 9, compact), of("kafka-plain-brokers", 8, plain))}
}
