// Package glob is Redis's glob, as SCAN MATCH knows it: * ? [a-z] [^a] \x. The sampler chooses a class's keys by it, and
// check-config refuses what it would choose wrongly, so there is one of it: [Match].
package glob

import "strings"

var quoted = strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`)

// Quote gives the pattern that matches s alone.
func Quote(s string) string { return quoted.Replace(s) }

// Match reports whether s matches the pattern. Both are bytes, as in Redis: a letter of several bytes is several elements to
// ? and [].
func Match(pattern, s string) bool {
	// The usual two-pointer walk: on a mismatch go back to the last star, so the cost stays len(pattern)*len(s).
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			star, mark = p, i
			p++
			continue
		}
		if next, ok := matchOne(pattern, p, s[i]); ok {
			p, i = next, i+1
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches one byte against the element at p and gives the place of the next element.
func matchOne(pattern string, p int, c byte) (int, bool) {
	if p >= len(pattern) {
		return p, false
	}
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '\\':
		if p+1 < len(pattern) {
			return p + 2, pattern[p+1] == c
		}
		return p + 1, c == '\\'
	case '[':
		i, not, hit := p+1, false, false
		if i < len(pattern) && pattern[i] == '^' {
			not = true
			i++
		}
		for ; i < len(pattern) && pattern[i] != ']'; i++ {
			switch {
			case pattern[i] == '\\' && i+1 < len(pattern):
				i++
				hit = hit || pattern[i] == c
			case i+2 < len(pattern) && pattern[i+1] == '-':
				low, high := min(pattern[i], pattern[i+2]), max(pattern[i], pattern[i+2])
				hit = hit || low <= c && c <= high
				i += 2
			default:
				hit = hit || pattern[i] == c
			}
		}
		if i < len(pattern) {
			i++
		}
		return i, hit != not
	}
	return p + 1, pattern[p] == c
}
