package http

import (
	"context"
	"fmt"
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

// question is one request: for a key, or for one variant of it.
type question struct {
	key int
	// variant by its index in the configuration; 0 where there is none.
	variant int
}

// failedKey got no answer, which is the node's failure unless others get one.
type failedKey struct {
	of  question
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
		r.hand(f.of, probes.Raw{Err: f.err})
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

// hand gives the caller one answer.
func (r *reading) hand(q question, raw probes.Raw) {
	if variants := r.node.config.Variants; len(variants) > 0 {
		raw.Variant = variants[q.variant]
		if raw.Err != nil {
			raw.Err = fmt.Errorf("variant %s: %w", raw.Variant, raw.Err)
		}
	}
	raw.Further = q.variant > 0
	r.mu.Lock()
	defer r.mu.Unlock()
	if !raw.Further {
		r.visited++
	}
	r.visit(q.key, raw)
}

// ask for a key, one variant after the other.
func (r *reading) ask(key int) {
	n := r.node
	raw, err := n.keys.Expand(map[string]string{"key": r.keys[key].Name})
	if err != nil {
		r.hand(question{key: key}, probes.Raw{Err: err})
		return
	}
	u, err := n.client.Parse(raw)
	if err != nil {
		r.hand(question{key: key}, probes.Raw{Err: err})
		return
	}
	for variant, header := range n.headers {
		q := question{key, variant}
		handed := false
		err = n.client.Get(r.ctx, u, header, func(a *httpclient.Answer) error {
			handed = r.judge(q, a)
			return nil
		})
		if err != nil {
			handed = r.fail(q, err)
		}
		if !handed {
			return // nothing was learned of the key, and no other variant would tell more
		}
	}
}

// fail notes a question without an answer, and says whether the caller was told of it.
func (r *reading) fail(q question, err error) (handed bool) {
	if q.variant > 0 { // the key itself was answered
		r.hand(q, probes.Raw{Err: err})
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return false // the time was up, which is no fault of this key
	}
	r.failed = append(r.failed, failedKey{q, err})
	if !r.answered && len(r.failed) >= httpclient.MaxConns {
		r.giveUp()
	}
	return false
}

// judge gives the caller what an answer says of its key, and says whether it did.
func (r *reading) judge(q question, a *httpclient.Answer) (handed bool) {
	r.mu.Lock()
	r.answered = true
	r.mu.Unlock()
	switch r.node.note(a) {
	case copyMissing:
		r.hand(q, probes.Raw{})
		return true
	case copyRefused:
		r.hand(q, probes.Raw{Err: httpclient.StatusError(a.StatusCode)})
		return true
	}
	out := probes.Raw{Present: true, ETag: hashTag(a.Header.Get("ETag"))}
	out.Age, out.HasAge = deltaSeconds(a.Header.Get("Age"))
	if r.node.config.TTLFromHeaders {
		out.TTL, out.HasTTL = remainingTTL(a.Header, r.node.config.Edge, time.Now())
	}
	err := a.Hold(func(body []byte) error {
		out.Value = body
		r.hand(q, out)
		return nil
	})
	if err != nil && (r.ctx.Err() == nil || q.variant > 0) {
		r.hand(q, probes.Raw{Err: err})
		return true
	}
	return err == nil
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
	if (httpclient.Answers(a.StatusCode) || notCached) && n.stats == nil && n.health == nil {
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
