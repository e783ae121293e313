package probes

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

const (
	// longestSaid of what a server says that is told, in bytes.
	longestSaid = 200
	// leastPart of a secret that is not told, in bytes: a server may cut what it repeats.
	leastPart = 6
	// keptLogins are those that were given last: a file may bring another password while answers to the one before still come.
	keptLogins = 3
)

// Secrets are what was given to a server to log in. Servers and proxies may repeat the arguments of a command in an error about it;
// where such a text is told, Tell leaves them out. This is the only rule for that. The zero value is ready, and nil has none.
type Secrets struct {
	mu sync.Mutex
	// logins are the ways in which each may be written, the newest last.
	logins [][]string
}

// Add a login; user may be empty. What there is already becomes the newest.
func (s *Secrets) Add(user, password string) {
	s.add(waysOf(user, password))
}

// AddAll adds secrets that are given together, as one login. An empty one counts for nothing.
func (s *Secrets) AddAll(secrets ...string) {
	var ways []string
	for _, one := range secrets {
		ways = append(ways, waysOf("", one)...)
	}
	s.add(ways)
}

func (s *Secrets) add(ways []string) {
	if len(ways) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.logins); n > 0 && slices.Equal(s.logins[n-1], ways) {
		return
	}
	s.logins = append(slices.DeleteFunc(s.logins, func(had []string) bool { return slices.Equal(had, ways) }), ways)
	s.logins = slices.Clone(s.logins[max(0, len(s.logins)-keptLogins):])
}

// waysOf writing a password: as it is, in URLs, quoted, in base64, and in base64 behind its user, as HTTP's and SASL's logins have it.
func waysOf(user, password string) []string {
	if password == "" {
		return nil
	}
	quoted := strconv.Quote(password)
	ascii := strconv.QuoteToASCII(password)
	out := []string{password, url.QueryEscape(password), url.PathEscape(password), quoted[1 : len(quoted)-1], ascii[1 : len(ascii)-1]}
	for _, text := range []string{password, user + ":" + password, "\x00" + user + "\x00" + password, user + " " + password} {
		out = append(out, base64.RawStdEncoding.EncodeToString([]byte(text)), base64.RawURLEncoding.EncodeToString([]byte(text)))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Tell gives what a server said as it can be told: its beginning, without secrets.
func (s *Secrets) Tell(said string) string {
	return s.Hide(strings.ToValidUTF8(said[:min(len(said), longestSaid)], ""))
}

// Hide gives a text of which, where it repeats a part of a secret, the first word alone is left, or nothing where that does.
func (s *Secrets) Hide(said string) string {
	if s == nil {
		return said
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.repeated(said) {
		return said
	}
	word, _, _ := strings.Cut(said, " ")
	if s.repeated(word) {
		return "(it repeats a secret)"
	}
	return word
}

// repeated reports whether a text has a part of a secret; of one that is shorter than a part, whether it has it as a word, for its
// letters are in many.
func (s *Secrets) repeated(text string) bool {
	for _, login := range s.logins {
		for _, way := range login {
			if len(way) < leastPart {
				if hasWord(text, way) {
					return true
				}
				continue
			}
			for i := 0; i+leastPart <= len(way); i++ {
				if strings.Contains(text, way[i:i+leastPart]) {
					return true
				}
			}
		}
	}
	return false
}

// hasWord reports whether a word is in a text with neither a letter nor a digit beside it.
func hasWord(text, word string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		from += i
		before, _ := utf8.DecodeLastRuneInString(text[:from])
		after, _ := utf8.DecodeRuneInString(text[from+len(word):])
		if !alphanumeric(before) && !alphanumeric(after) {
			return true
		}
		from++
	}
}

func alphanumeric(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
