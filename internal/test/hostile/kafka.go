package hostile

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// kafkaAnswers are the bodies of a broker's answers, by the key of the request; it has no request but these, up to this version. One
// without a body is not answered, and nothing after it is.
type kafkaAnswers map[kmsg.Key]kafkaAnswer

type kafkaAnswer struct {
	version int16
	body    []byte
}

// talk answers one connection, until it is asked for something else.
func (a kafkaAnswers) talk(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	a.answer(conn, conn)
}

// answer what comes over a connection, and say it to somebody.
func (a kafkaAnswers) answer(conn net.Conn, to io.Writer) {
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
		one, known := a[key]
		body := one.body
		switch {
		case key == kmsg.ApiVersions:
			body = a.versions(version)
		case !known:
			return
		case body == nil:
			_, _ = io.Copy(io.Discard, conn)
			return
		}
		answer := binary.BigEndian.AppendUint32(nil, uint32(4+len(body)))
		answer = append(append(answer, request[4:8]...), body...) // the request's number
		if _, err := to.Write(answer); err != nil {
			return
		}
	}
}

// slowly writes one byte a second.
type slowly struct{ io.Writer }

// Write implements io.Writer.
func (s slowly) Write(p []byte) (n int, err error) {
	for n = range p {
		if _, err = s.Writer.Write(p[n : n+1]); err != nil {
			return n, err
		}
		time.Sleep(time.Second)
	}
	return len(p), nil
}

// stallingKafka are brokers that accept connections and never come to an end with some answer. All but the first list themselves as
// the only broker, with a topic that they lead.
func stallingKafka() []Attack {
	newest := kafkaAnswers{}
	for _, key := range []kmsg.Key{kmsg.ListOffsets, kmsg.FindCoordinator, kmsg.OffsetFetch, kmsg.DescribeGroups, kmsg.ListGroups, kmsg.Fetch} {
		newest[key] = kafkaAnswer{version: kmsg.ResponseForKey(int16(key)).MaxVersion()}
	}
	of := func(name string, talk func(conn net.Conn, broker kafkaAnswers)) Attack {
		return Attack{Name: name, Start: func(t testing.TB) Config {
			at := servers.Listen(t, func(conn net.Conn) {
				defer func() { _ = conn.Close() }()
				broker := maps.Clone(newest)
				broker[kmsg.Metadata] = kafkaAnswer{9, aloneLeading(conn.LocalAddr())}
				talk(conn, broker)
			})
			return kafkaQueue(name, at)
		}}
	}
	return []Attack{together("kafka-stalls",
		Attack{Name: "kafka-hangs", Start: func(t testing.TB) Config { return kafkaQueue("kafka-hangs", servers.Hung(t)) }},
		of("kafka-hangs-later", func(conn net.Conn, broker kafkaAnswers) { broker.answer(conn, conn) }),
		of("kafka-hangs-in-answers", func(conn net.Conn, broker kafkaAnswers) { broker.answer(conn, inPart{conn}) }),
		of("kafka-drips", func(conn net.Conn, broker kafkaAnswers) { broker.answer(conn, slowly{conn}) }),
	)}
}

// inPart writes all but the last byte of what is long.
type inPart struct{ io.Writer }

// Write implements io.Writer.
func (w inPart) Write(p []byte) (int, error) {
	const long = 200
	if len(p) < long {
		return w.Writer.Write(p)
	}
	return w.Writer.Write(p[:len(p)-1])
}

// aloneLeading is the metadata, version 9, of a broker that is alone and leads the partitions of a topic.
func aloneLeading(at net.Addr) []byte {
	const partitions = 20
	resp := kmsg.NewPtrMetadataResponse()
	resp.Version = 9
	broker, topic := kmsg.NewMetadataResponseBroker(), kmsg.NewMetadataResponseTopic()
	address := at.(*net.TCPAddr)
	broker.NodeID, broker.Host, broker.Port = 1, address.IP.String(), int32(address.Port)
	topic.Topic = kmsg.StringPtr("t")
	for i := range int32(partitions) {
		one := kmsg.NewMetadataResponseTopicPartition()
		one.Partition, one.Leader, one.Replicas, one.ISR = i, 1, []int32{1}, []int32{1}
		topic.Partitions = append(topic.Partitions, one)
	}
	resp.Brokers, resp.ControllerID, resp.Topics = append(resp.Brokers, broker), 1, append(resp.Topics, topic)
	return append([]byte{0}, resp.AppendTo(nil)...) // no tags
}

// kafkaQueue is a queue of a topic t in a cluster, which a group reads.
func kafkaQueue(name, broker string) Config {
	return Config{Queues: []string{fmt.Sprintf("  - {name: %s, kafka: {brokers: [%q], topics: [t], groups: [g]}}\n", name, broker)}}
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
			return kafkaQueue(name, servers.Listen(t, broker.talk))
		}}
	}
	return []Attack{together("kafka", of("kafka-compact-brokers", 9, compact), of("kafka-plain-brokers", 8, plain))}
}
