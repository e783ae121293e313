package incident

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// Digests are contents as they are shown: keyed, so that nobody can try which value has one.
type Digests struct{ key []byte }

// NewDigests with a key; where it is empty, a random one.
func NewDigests(key []byte) Digests {
	if len(key) == 0 {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // it never fails
	}
	return Digests{key}
}

// Of a content.
func (d Digests) Of(c content.Digest) string {
	mac := hmac.New(sha256.New, d.key)
	mac.Write(c[:])
	return hex.EncodeToString(mac.Sum(nil)[:16])
}
