package http

import (
	"hash/fnv"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// isFill reports whether the cache status says that the answer, a 200, came from the origin. What the configuration names comes
// before the headers that edges commonly send. Of each the last member counts, which is the cache closest to us, unless the
// configuration says that this cache writes its own at the front.
func isFill(h http.Header, c *cacheStatusConfig) bool {
	first := c != nil && c.First
	if c != nil && c.Hit != nil {
		if own := memberOf(h, c.Header, first); own != "" {
			return !c.Hit.MatchString(own)
		}
	}
	if own := memberOf(h, "Cache-Status", first); own != "" {
		if held, said := cacheStatusHeld(own); said {
			return !held
		}
	}
	for _, name := range []string{"CF-Cache-Status", "X-Cache"} {
		if own := memberOf(h, name, first); own != "" {
			return !saysHeld(own)
		}
	}
	return false
}

// memberOf a header that is a list, over all its lines: the last one, or the first; empty where there is none.
func memberOf(h http.Header, name string, first bool) string {
	member := ""
	for part := range splitUnquoted(strings.Join(h.Values(name), ","), ',') {
		if part = strings.Trim(part, " \t"); part != "" {
			if member = part; first {
				break
			}
		}
	}
	return member
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

// cacheStatusHeld reads one member of RFC 9211's Cache-Status, NAME;hit or NAME;fwd=WHY. It says nothing where it has
// neither parameter. A cache that asked its origin held the copy all the same where that answered 304 (it was as good as
// before) or could not answer: the body is the cache's own, as our answer is a 200.
func cacheStatusHeld(member string) (held, said bool) {
	hit, forwarded, status, first := false, false, 0, true
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
		case "fwd-status":
			status, _ = strconv.Atoi(value) // what is no number says nothing
		}
	}
	if forwarded {
		return status == http.StatusNotModified || status >= http.StatusInternalServerError && status <= 599, said
	}
	return hit, said
}

// heldWords are words that edges write for a copy that was held, though its time was up, and that do not say hit: those of nginx
// and Cloudflare, Apache's REVALIDATE, and Squid's for a copy that its origin called unchanged, or could not replace.
var heldWords = map[string]bool{
	"stale": true, "updating": true, "revalidated": true, "revalidate": true,
	"tcp_refresh_unmodified": true, "tcp_refresh_fail_old": true, "tcp_refresh_ignored": true,
}

// saysHeld reads what CDNs and proxies write: HIT, Hit from cloudfront, TCP_MEM_HIT from a-host, or one of heldWords. Only the
// first word counts, for a host's name may hold anything.
func saysHeld(member string) bool {
	word, _, _ := strings.Cut(strings.ToLower(member), " ")
	if heldWords[word] {
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
	// What passed long ago is as far away as a Duration goes: an age taken off would wrap.
	return max(0, max(0, until.Sub(now))-age(h)), true
}

// age gives the header Age; 0 where there is none.
func age(h http.Header) time.Duration {
	d, _ := deltaSeconds(h.Get("Age"))
	return d
}

// hashTag gives a number in the place of an entity tag, which may be long; 0: there is none.
func hashTag(tag string) uint64 {
	if tag == "" {
		return 0
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, tag) // it never fails
	return max(h.Sum64(), 1)
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
