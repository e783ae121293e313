package demo

import (
	"sync"

	"github.com/alicebob/miniredis/v2"
)

// channel carries invalidations to the local caches of the application's instances.
const channel = "l1-invalidation"

// hearing is one instance's subscription to the channel.
type hearing struct {
	sub  *miniredis.Subscriber
	stop chan struct{}
	once sync.Once
}

// hear the channel on a server.
func hear(s *redisServer) *hearing {
	h := &hearing{sub: s.mini.NewSubscriber(), stop: make(chan struct{})}
	h.sub.Subscribe(channel)
	go func() {
		for {
			select {
			case <-h.sub.Messages():
			case <-h.stop:
				return
			}
		}
	}()
	return h
}

// close ends the subscription, once. The server goes on with a subscriber of no channel.
func (h *hearing) close() {
	h.once.Do(func() {
		h.sub.Unsubscribe(channel)
		close(h.stop)
	})
}
