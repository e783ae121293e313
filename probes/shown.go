package probes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// LongestShown is how long a name that a server tells may be where it is shown, in bytes.
	LongestShown = 512
	// digestDigits tell names apart of which only a part is shown.
	digestDigits = 16
	// ellipsis stands before them.
	ellipsis = "…"
)

// Shown gives a name as it can be shown, in a label or in a text: servers may tell any bytes as the names of groups, topics, nodes and
// settings. What is no UTF-8 is shown as \xNN, and what is too long is cut. Such a name ends with an ellipsis and a digest of the
// whole, so that distinct names stay distinct; so does one that looks as if it ended in this way.
func Shown(name string) string {
	if len(name) <= LongestShown && utf8.ValidString(name) && !endsInDigest(name) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	tail := ellipsis + hex.EncodeToString(sum[:])[:digestDigits]
	var b strings.Builder
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(name[i:])
		one := name[i : i+size]
		if r == utf8.RuneError && size == 1 {
			one = fmt.Sprintf(`\x%02x`, name[i])
		}
		if b.Len()+len(one)+len(tail) > LongestShown {
			break
		}
		b.WriteString(one)
		i += size
	}
	return b.String() + tail
}

// endsInDigest reports whether a name ends as shortened ones do.
func endsInDigest(name string) bool {
	at := len(name) - digestDigits - len(ellipsis)
	return at >= 0 && name[at:at+len(ellipsis)] == ellipsis
}
