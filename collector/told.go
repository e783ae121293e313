package collector

import (
	"regexp"
	"strings"
	"time"
)

const (
	// forgetTold is how long a fault must not have been seen to be told again when it comes back.
	forgetTold = 10 * time.Minute
	// mostTold kinds of faults are told of one collector in that time, and longestTold is how many bytes of one text: the rest is for debug.
	mostTold    = 50
	longestTold = 4 << 10
)

// told are the faults of a collector that were logged, by kind, and when each was seen last.
type told map[string]time.Time

// news gives those lines of an error's text that are of a kind which was not told lately, as one text; empty: there is none.
func (t told) news(text string, now time.Time) string {
	for kind, seen := range t {
		if now.Sub(seen) > forgetTold {
			delete(t, kind)
		}
	}
	var news strings.Builder
	for line := range strings.Lines(text) {
		kind := kindOf(line)
		_, known := t[kind]
		if !known && len(t) >= mostTold {
			continue
		}
		t[kind] = now
		if !known && news.Len()+len(line) <= longestTold {
			news.WriteString(line)
		}
	}
	return strings.TrimSuffix(news.String(), "\n")
}

var (
	// subject with which a line begins: node redis-1: …
	subject = regexp.MustCompile(`^[a-z]+ \S+: `)
	// varying parts of a text: all that has a digit, such as ports, times, addresses and the ids of requests. A status is none.
	varying = regexp.MustCompile(`status \d{3}\b|[0-9A-Za-z]*[0-9][0-9A-Za-z]*`)
	// several varying parts with signs between, as in 10.3s, 127.0.0.1:80 and a UUID, are one.
	joined = regexp.MustCompile(`#(?:[-.:+_/]*#)+`)
)

// kindOf a line: what it is about and what it says, without what varies from one time to the next.
func kindOf(line string) string {
	line = strings.TrimSpace(line)
	about := subject.FindString(line)
	says := varying.ReplaceAllStringFunc(line[len(about):], func(s string) string {
		if strings.HasPrefix(s, "status ") {
			return s
		}
		return "#"
	})
	return about + joined.ReplaceAllString(says, "#")
}
