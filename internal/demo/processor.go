package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
)

const (
	sessionStream = "session_invalidations"
	sessionGroup  = "session-processors"
	// keepEntries is how many entries the stream keeps; the group is never so far behind.
	keepEntries = 1000
	// probeKeys are written by the exporter's invalidation probe, and nowhere else.
	probeKeys = "cacheinv:probe:"
)

// processor tells how many invalidations were processed, as the history that the exporter asks.
type processor struct {
	*webServer
	succeeded atomic.Int64
}

func startProcessor(logger *slog.Logger) (*processor, error) {
	p := &processor{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, struct {
			Succeeded int64 `json:"succeeded"`
			Failed    int64 `json:"failed"`
		}{p.succeeded.Load(), 0})
	})
	web, err := startWeb(mux, logger)
	if err != nil {
		return nil, fmt.Errorf("processor: %w", err)
	}
	p.webServer = web
	return p, nil
}

// streamGroup is how far the group has come in the sessions' stream.
type streamGroup struct {
	mu                 sync.Mutex
	added, read, acked int
	last               string
}

func (g *streamGroup) add() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.added++
}

func (g *streamGroup) total() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.added
}

func (g *streamGroup) deliver(entries []redis.XMessage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.read += len(entries)
	g.last = entries[len(entries)-1].ID
}

func (g *streamGroup) ack() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.acked++
}

// tell answers XINFO GROUPS.
func (g *streamGroup) tell(c *server.Peer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.WriteLen(1)
	c.WriteMapLen(6)
	for name, n := range map[string]int{"consumers": 1, "pending": g.read - g.acked, "entries-read": g.read, "lag": max(0, g.added-g.read)} {
		c.WriteBulk(name)
		c.WriteInt(n)
	}
	for name, text := range map[string]string{"name": sessionGroup, "last-delivered-id": cmp.Or(g.last, "0-0")} {
		c.WriteBulk(name)
		c.WriteBulk(text)
	}
}

// tellStream answers XINFO about the sessions' stream; false: that is left to miniredis.
func (s *redisServer) tellStream(c *server.Peer, about string) bool {
	switch strings.ToUpper(about) {
	case "GROUPS":
		s.streamed.tell(c)
		return true
	case "STREAM":
	default:
		return false
	}
	entries, err := s.mini.Stream(sessionStream)
	if err != nil || len(entries) == 0 {
		return false
	}
	first, last := entries[0], entries[len(entries)-1]
	c.WriteMapLen(5)
	for name, n := range map[string]int{"length": len(entries), "entries-added": s.streamed.total()} {
		c.WriteBulk(name)
		c.WriteInt(n)
	}
	c.WriteBulk("last-generated-id")
	c.WriteBulk(last.ID)
	for name, e := range map[string]miniredis.StreamEntry{"first-entry": first, "last-entry": last} {
		c.WriteBulk(name)
		c.WriteLen(2)
		c.WriteBulk(e.ID)
		c.WriteStrings(e.Values)
	}
	return true
}

// sessions carries the invalidations of sessions in a stream of their own, to the pair that holds them.
type sessions struct {
	stream    *redisServer
	client    *redis.Client // of the stream's server
	primary   *redisServer
	processor *processor
}

func openSessions(ctx context.Context, stream, primary *redisServer, p *processor) (*sessions, error) {
	s := &sessions{stream: stream, client: redis.NewClient(&redis.Options{Addr: stream.addr(), DisableIdentity: true}), primary: primary, processor: p}
	if err := s.client.XGroupCreateMkStream(ctx, sessionStream, sessionGroup, "0").Err(); err != nil {
		s.close()
		return nil, fmt.Errorf("stream: %w", err)
	}
	return s, nil
}

func (s *sessions) close() { _ = s.client.Close() }

func (s *sessions) publish(ctx context.Context, m message) {
	// One that is lost as the demo ends is missed by nobody.
	_ = s.client.XAdd(ctx, &redis.XAddArgs{Stream: sessionStream, MaxLen: keepEntries, Values: []any{"message", m.encode()}}).Err()
}

// consume processes the stream. Sessions were written at once, so that only what a probe asks for is deleted.
func (s *sessions) consume(ctx context.Context) {
	for ctx.Err() == nil {
		read, err := s.client.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: sessionGroup, Consumer: "processor-1", Streams: []string{sessionStream, ">"}, Count: 100, Block: -1,
		}).Result()
		if err != nil || len(read) == 0 {
			pause.For(ctx, 20*time.Millisecond)
			continue
		}
		s.stream.streamed.deliver(read[0].Messages)
		for _, entry := range read[0].Messages {
			s.process(ctx, entry)
		}
	}
}

func (s *sessions) process(ctx context.Context, entry redis.XMessage) {
	text, _ := entry.Values["message"].(string)
	var m message
	if json.Unmarshal([]byte(text), &m) == nil && strings.HasPrefix(m.Key, probeKeys) {
		s.primary.do("DEL", m.Key)
	}
	s.processor.succeeded.Add(1)
	if s.client.XAck(ctx, sessionStream, sessionGroup, entry.ID).Err() == nil {
		s.stream.streamed.ack()
	}
}
