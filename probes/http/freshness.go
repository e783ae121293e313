package http

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// isFill reports whether the cache status says that the answer came from the origin. What the configuration names comes
// before the headers that edges commonly send; in each, the last member is the cache closest to us.
func isFill(h http.Header, c *cacheStatusConfig) bool {
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

// age gives the header Age; 0 where there is none.
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
