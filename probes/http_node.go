package probes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// httpNode is a cache that answers over HTTP: an edge, or an application's local cache.
type httpNode struct {
	id     Identity
	config config.HTTPNode
	client *httpClient
	keys   *urlTemplate
	// header of requests for keys.
	header http.Header
	// stats and health are nil where they are not configured.
	stats, health *url.URL
	counts        []statsCount

	mu sync.Mutex
	// answered: what tells that the node is up was answered since the last survey began.
	answered bool
	reads    *webReads
}

// webReads are our part of an HTTP node's own counts; seen is what these were when last told.
type webReads struct {
	mu                  sync.Mutex
	fills, hits, misses uint64
	seen                Survey
}

// statsCount is one of the node's own counters, and where it stands.
type statsCount struct {
	path content.Path
	of   func(*Survey) *Count
}

func newHTTPNode(id Identity, c config.HTTPNode, opt Options) (Node, error) {
	keys, err := newURLTemplate(c.URL)
	if err != nil {
		return nil, err
	}
	client, err := newHTTPClient(c.Client, c.Headers, keys.host, opt)
	if err != nil {
		return nil, err
	}
	client.site = siteOf(c.DNS)
	n := &httpNode{id: id, config: c, client: client, keys: keys, header: client.header.Clone(), reads: opt.Servers.webAt(c.URL.String())}
	if c.OnlyIfCached {
		n.header.Add("Cache-Control", "only-if-cached")
	}
	if c.HealthURL != "" {
		if n.health, err = client.parse(c.HealthURL); err != nil {
			return nil, fmt.Errorf("health_url: %w", err)
		}
	}
	if c.Stats != nil {
		if err := n.openStats(*c.Stats); err != nil {
			return nil, fmt.Errorf("stats: %w", err)
		}
	}
	return n, nil
}

func (n *httpNode) openStats(c config.HTTPStats) (err error) {
	if n.stats, err = n.client.parse(c.URL); err != nil {
		return err
	}
	for _, f := range []struct {
		path string
		of   func(*Survey) *Count
	}{
		{c.Hits, func(s *Survey) *Count { return &s.Hits }},
		{c.Misses, func(s *Survey) *Count { return &s.Misses }},
		{c.Evicted, func(s *Survey) *Count { return &s.Evicted }},
		{c.Items, func(s *Survey) *Count { return &s.Items }},
		{c.UptimeSeconds, func(s *Survey) *Count { return &s.UptimeSeconds }},
	} {
		if f.path == "" {
			continue
		}
		p, err := content.ParsePath(f.path, false)
		if err != nil {
			return err
		}
		n.counts = append(n.counts, statsCount{p, f.of})
	}
	return nil
}

func (n *httpNode) Identity() Identity { return n.id }

// Close ends all requests and connections.
func (n *httpNode) Close() { n.client.close() }

// Answered implements Answerer: by the stats and health URLs where they are configured, else by any key.
func (n *httpNode) Answered() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.answered
}

// Survey asks for stats and health, both at once. An error says what was wrong with them; where the node did answer, it is
// still up, which Answered tells then, too.
func (n *httpNode) Survey(ctx context.Context, _ *Scan) (Survey, error) {
	start := time.Now()
	n.mu.Lock()
	n.answered = false
	s := Survey{Unasked: n.stats == nil && n.health == nil, Fills: n.reads.filled()}
	n.mu.Unlock()
	if s.Unasked {
		return s, nil
	}
	up := [2]bool{true, true}
	var errs [2]error
	var wait sync.WaitGroup
	if n.stats != nil {
		wait.Go(func() { up[0], errs[0] = n.askStats(ctx, &s) })
	}
	if n.health != nil {
		wait.Go(func() { up[1], errs[1] = n.askHealth(ctx) })
	}
	wait.Wait()
	s.Took = time.Since(start)
	err := errors.Join(errs[:]...)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answered = up[0] && up[1]
	if err != nil {
		return Survey{Took: s.Took, Unasked: true, Fills: n.reads.filled()}, err
	}
	s.OwnHits, s.OwnMisses = n.reads.own(s)
	return s, nil
}

func (n *httpNode) askStats(ctx context.Context, s *Survey) (up bool, err error) {
	err = n.client.get(ctx, n.stats, n.client.header, func(a *httpAnswer) error {
		up = a.StatusCode < http.StatusInternalServerError
		if a.StatusCode != http.StatusOK {
			return statusError(a.StatusCode)
		}
		return a.hold(func(body []byte) error { return n.readStats(body, s) })
	})
	if err != nil {
		return up, fmt.Errorf("stats: %w", err)
	}
	return up, nil
}

func (n *httpNode) readStats(body []byte, s *Survey) error {
	if len(n.counts) == 0 {
		return nil
	}
	if !json.Valid(body) {
		return errors.New("the answer is not JSON; mend stats.url")
	}
	found := false
	for _, c := range n.counts {
		got := numberAt(body, c.path)
		*c.of(s) = got
		found = found || got.Known
	}
	if !found {
		return errors.New("the answer has a number at none of the configured paths; mend stats")
	}
	return nil
}

func (n *httpNode) askHealth(ctx context.Context) (up bool, err error) {
	err = n.client.get(ctx, n.health, n.client.header, func(a *httpAnswer) error {
		if up = a.StatusCode < http.StatusInternalServerError; !up {
			return statusError(a.StatusCode)
		}
		return nil
	})
	if err != nil {
		return up, fmt.Errorf("health_url: %w", err)
	}
	return up, nil
}

func (w *webReads) filled() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fills
}

// own gives our part of the hits and misses that the node just told. A node that began anew, or whose counts were reset,
// holds nothing of ours.
func (w *webReads) own(told Survey) (hits, misses uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fell := func(before, now Count) bool { return before.Known && now.Known && now.Value < before.Value }
	if fell(w.seen.Hits, told.Hits) || fell(w.seen.Misses, told.Misses) || fell(w.seen.UptimeSeconds, told.UptimeSeconds) {
		w.hits, w.misses = 0, 0
	}
	w.seen = told
	return w.hits, w.misses
}

// keyReads is one Read under way.
type keyReads struct {
	node *httpNode
	keys []Key
	ctx  context.Context
	// giveUp ends what goes on, once nothing was answered so often that nothing will be.
	giveUp context.CancelFunc

	mu       sync.Mutex
	visit    func(int, Raw)
	next     int
	visited  int
	answered bool
	failed   []failedKey
}

// failedKey got no answer, which is the node's failure unless others get one.
type failedKey struct {
	key int
	err error
}

// Read asks for each key by itself, httpLanes at once.
func (n *httpNode) Read(ctx context.Context, keys []Key, visit func(int, Raw)) error {
	r := &keyReads{node: n, keys: keys, visit: visit}
	r.ctx, r.giveUp = context.WithCancel(ctx)
	defer r.giveUp()
	var lanes sync.WaitGroup
	for range min(httpLanes, len(keys)) {
		lanes.Go(r.run)
	}
	lanes.Wait()
	gaveUp := r.ctx.Err() != nil || !r.answered && len(r.failed) > 0
	if gaveUp && ctx.Err() == nil {
		return r.failed[0].err
	}
	for _, f := range r.failed {
		r.hand(f.key, Raw{Err: f.err})
	}
	if r.visited < len(keys) {
		return noAnswer(ctx)
	}
	return nil
}

func (r *keyReads) run() {
	for {
		i, ok := r.take()
		if !ok {
			return
		}
		r.ask(i)
	}
}

func (r *keyReads) take() (int, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == len(r.keys) || r.ctx.Err() != nil {
		return 0, false
	}
	r.next++
	return r.next - 1, true
}

// hand gives the caller one key's answer.
func (r *keyReads) hand(i int, raw Raw) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.visited++
	r.visit(i, raw)
}

func (r *keyReads) ask(i int) {
	n := r.node
	raw, err := n.keys.expand(map[string]string{"key": r.keys[i].Name})
	if err != nil {
		r.hand(i, Raw{Err: err})
		return
	}
	u, err := n.client.parse(raw)
	if err != nil {
		r.hand(i, Raw{Err: err})
		return
	}
	err = n.client.get(r.ctx, u, n.header, func(a *httpAnswer) error {
		r.judge(i, a)
		return nil
	})
	if err != nil {
		r.fail(i, err)
	}
}

func (r *keyReads) fail(i int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return // the time was up, not the key's turn to fail
	}
	r.failed = append(r.failed, failedKey{i, err})
	if !r.answered && len(r.failed) >= httpLanes {
		r.giveUp()
	}
}

// judge hands on what an answer says of its key.
func (r *keyReads) judge(i int, a *httpAnswer) {
	r.mu.Lock()
	r.answered = true
	r.mu.Unlock()
	switch r.node.note(a) {
	case copyMissing:
		r.hand(i, Raw{})
		return
	case copyRefused:
		r.hand(i, Raw{Err: statusError(a.StatusCode)})
		return
	}
	out := Raw{Present: true}
	if r.node.config.TTLFromHeaders {
		out.TTL, out.HasTTL = remainingTTL(a.Header, r.node.config.Edge, time.Now())
	}
	err := a.hold(func(body []byte) error {
		out.Value = body
		r.hand(i, out)
		return nil
	})
	if err != nil && r.ctx.Err() == nil {
		r.hand(i, Raw{Err: err})
	}
}

// What an answer says of its key.
const (
	copyHeld = iota
	copyMissing
	copyRefused
)

// note says what an answer means, and counts it as the node itself does: by its head, whatever becomes of the body.
func (n *httpNode) note(a *httpAnswer) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	notCached := a.StatusCode == http.StatusGatewayTimeout && n.config.OnlyIfCached
	if (a.StatusCode < http.StatusInternalServerError || notCached) && n.stats == nil && n.health == nil {
		n.answered = true
	}
	w := n.reads
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case a.StatusCode == http.StatusOK && n.config.Edge && isFill(a.Header, n.config.CacheStatus):
		w.fills++
		w.misses++
		return copyMissing
	case a.StatusCode == http.StatusOK:
		w.hits++
		return copyHeld
	case a.StatusCode == http.StatusNotFound, a.StatusCode == http.StatusGone, notCached && n.config.Edge:
		w.misses++
		return copyMissing
	}
	return copyRefused
}

// isFill: the cache status calls the answer no hit, so that it came from the origin. What the configuration names comes
// before the headers that edges commonly send; in each, the last member is the cache closest to us.
func isFill(h http.Header, c *config.CacheStatus) bool {
	if c != nil {
		if last := lastMember(h, c.Header); last != "" {
			return !c.Hit.MatchString(last)
		}
	}
	if last := lastMember(h, "Cache-Status"); last != "" {
		if hit, said := cacheStatusHit(last); said {
			return !hit
		}
	}
	for _, name := range []string{"CF-Cache-Status", "X-Cache"} {
		if last := lastMember(h, name); last != "" {
			return !saysHit(last)
		}
	}
	return false
}

// lastMember of a header that is a list, over all its lines; empty where there is none.
func lastMember(h http.Header, name string) string {
	last := ""
	for part := range splitUnquoted(strings.Join(h.Values(name), ","), ',') {
		if part = strings.Trim(part, " \t"); part != "" {
			last = part
		}
	}
	return last
}

// splitUnquoted cuts s at each separator outside of "quoted strings".
func splitUnquoted(s string, separator byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := 0; i < len(s); i++ {
			switch {
			case s[i] == '"':
				quoted = !quoted
			case quoted && s[i] == '\\':
				i++
			case !quoted && s[i] == separator:
				if !yield(s[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(s[start:])
	}
}

// cacheStatusHit reads one member of RFC 9211's Cache-Status, NAME;hit or NAME;fwd=WHY. It says nothing where it has
// neither parameter.
func cacheStatusHit(member string) (hit, said bool) {
	forwarded, first := false, true
	for part := range splitUnquoted(member, ';') {
		if first {
			first = false // the cache's name
			continue
		}
		name, value, has := strings.Cut(strings.Trim(part, " \t"), "=")
		switch name {
		case "hit":
			hit, said = !has || value == "?1", true
		case "fwd":
			forwarded, said = true, true
		}
	}
	return hit && !forwarded, said
}

// saysHit reads what CDNs and proxies write: HIT, Hit from cloudfront, TCP_MEM_HIT from a-host, or nginx's and
// Cloudflare's words for a copy that was held, though its time was up. Only the first word counts, for a host's name may
// hold anything.
func saysHit(member string) bool {
	word, _, _ := strings.Cut(strings.ToLower(member), " ")
	switch word {
	case "stale", "updating", "revalidated":
		return true
	}
	// A hit-for-pass or hit-for-miss is none.
	return strings.Contains(word, "hit") && !strings.Contains(word, "pass") && !strings.Contains(word, "miss")
}

// remainingTTL of a copy by its headers. A shared cache takes s-maxage before max-age (RFC 9111, 4.2.1).
func remainingTTL(h http.Header, shared bool, now time.Time) (time.Duration, bool) {
	names := []string{"max-age", "s-maxage"}
	if shared {
		slices.Reverse(names)
	}
	for _, name := range names {
		if lifetime, ok := directiveSeconds(h, name); ok {
			return max(0, lifetime-age(h)), true
		}
	}
	expires := h.Values("Expires")
	if len(expires) == 0 {
		return 0, false
	}
	until, err := http.ParseTime(expires[0])
	if err != nil {
		return 0, true // RFC 9111, 5.3: whatever is no date, 0 above all, has already passed
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return max(0, until.Sub(now)-age(h)), true
}

func age(h http.Header) time.Duration {
	d, _ := deltaSeconds(h.Get("Age"))
	return d
}

// directiveSeconds gives a directive of Cache-Control; of several the first counts.
func directiveSeconds(h http.Header, name string) (time.Duration, bool) {
	for part := range splitUnquoted(strings.Join(h.Values("Cache-Control"), ","), ',') {
		directive, value, _ := strings.Cut(strings.Trim(part, " \t"), "=")
		if strings.EqualFold(directive, name) {
			return deltaSeconds(strings.Trim(value, `"`))
		}
	}
	return 0, false
}

// deltaSeconds reads a whole number of seconds; one too large for 31 bits counts as that many (RFC 9111, 1.2.2).
func deltaSeconds(s string) (time.Duration, bool) {
	if s = strings.Trim(s, " \t"); s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > math.MaxInt32 {
		n = math.MaxInt32
	}
	return time.Duration(n) * time.Second, true
}
