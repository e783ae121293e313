package http

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
)

// reading is one Read under way.
type reading struct {
	node *node
	keys []probes.Key
	ctx  context.Context
	// giveUp ends what goes on, once nothing was answered so often that nothing will be.
	giveUp context.CancelFunc

	// mu guards what follows.
	mu    sync.Mutex
	visit func(int, probes.Raw)
	// next is the first key that nobody has taken yet.
	next    int
	visited int
	// answered: some key got an answer.
	answered bool
	failed   []failedKey
}

// failedKey got no answer, which is the node's failure unless others get one.
type failedKey struct {
	key int
	err error
}

// Read asks for each key by itself, httpclient.MaxConns at once.
func (n *node) Read(ctx context.Context, keys []probes.Key, visit func(int, probes.Raw)) error {
	r := &reading{node: n, keys: keys, visit: visit}
	r.ctx, r.giveUp = context.WithCancel(ctx)
	defer r.giveUp()
	var asking sync.WaitGroup
	for range min(httpclient.MaxConns, len(keys)) {
		asking.Go(r.run)
	}
	asking.Wait()
	// Read gave up, or nothing was answered to the end.
	gaveUp := r.ctx.Err() != nil || !r.answered && len(r.failed) > 0
	if gaveUp && ctx.Err() == nil {
		return r.failed[0].err
	}
	for _, f := range r.failed {
		r.hand(f.key, probes.Raw{Err: f.err})
	}
	if r.visited < len(keys) {
		return probes.NoAnswer(ctx)
	}
	return nil
}

func (r *reading) run() {
	for {
		i, ok := r.take()
		if !ok {
			return
		}
		r.ask(i)
	}
}

// take gives the next key to ask for; false: there is none, or the time is up.
func (r *reading) take() (int, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == len(r.keys) || r.ctx.Err() != nil {
		return 0, false
	}
	r.next++
	return r.next - 1, true
}

// hand gives the caller one key's answer.
func (r *reading) hand(i int, raw probes.Raw) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.visited++
	r.visit(i, raw)
}

func (r *reading) ask(i int) {
	n := r.node
	raw, err := n.keys.Expand(map[string]string{"key": r.keys[i].Name})
	if err != nil {
		r.hand(i, probes.Raw{Err: err})
		return
	}
	u, err := n.client.Parse(raw)
	if err != nil {
		r.hand(i, probes.Raw{Err: err})
		return
	}
	err = n.client.Get(r.ctx, u, n.header, func(a *httpclient.Answer) error {
		r.judge(i, a)
		return nil
	})
	if err != nil {
		r.fail(i, err)
	}
}

func (r *reading) fail(i int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return // the time was up, which is no fault of this key
	}
	r.failed = append(r.failed, failedKey{i, err})
	if !r.answered && len(r.failed) >= httpclient.MaxConns {
		r.giveUp()
	}
}

// judge gives the caller what an answer says of its key.
func (r *reading) judge(i int, a *httpclient.Answer) {
	r.mu.Lock()
	r.answered = true
	r.mu.Unlock()
	switch r.node.note(a) {
	case copyMissing:
		r.hand(i, probes.Raw{})
		return
	case copyRefused:
		r.hand(i, probes.Raw{Err: httpclient.StatusError(a.StatusCode)})
		return
	}
	out := probes.Raw{Present: true}
	if r.node.config.TTLFromHeaders {
		out.TTL, out.HasTTL = remainingTTL(a.Header, r.node.config.Edge, time.Now())
	}
	err := a.Hold(func(body []byte) error {
		out.Value = body
		r.hand(i, out)
		return nil
	})
	if err != nil && r.ctx.Err() == nil {
		r.hand(i, probes.Raw{Err: err})
	}
}

// copyState is what the head of an answer says of its key.
type copyState uint8

const (
	copyHeld copyState = iota
	copyMissing
	copyRefused
)

// note says what an answer means, and counts it as the node itself does: by its head, whatever becomes of the body.
func (n *node) note(a *httpclient.Answer) copyState {
	n.mu.Lock()
	defer n.mu.Unlock()
	notCached := a.StatusCode == http.StatusGatewayTimeout && n.config.OnlyIfCached
	if (a.StatusCode < http.StatusInternalServerError || notCached) && n.stats == nil && n.health == nil {
		n.answered = true
	}
	o := n.reads
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case a.StatusCode == http.StatusOK && n.config.Edge && isFill(a.Header, n.config.CacheStatus):
		o.fills++
		o.misses++
		return copyMissing
	case a.StatusCode == http.StatusOK:
		o.hits++
		return copyHeld
	case a.StatusCode == http.StatusNotFound, a.StatusCode == http.StatusGone, notCached && n.config.Edge:
		o.misses++
		return copyMissing
	}
	return copyRefused
}
