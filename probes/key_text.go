package probes

import (
	"strconv"
	"unicode/utf8"
)

// KeyText is a key as JSON can hold it. Of one that is no UTF-8 raw holds the bytes: JSON would write one sign for many.
func KeyText(key string) (text string, raw []byte) {
	if utf8.ValidString(key) {
		return key, nil
	}
	quoted := strconv.Quote(key)
	return quoted[1 : len(quoted)-1], []byte(key)
}

// KeyTexts are keys as JSON can hold them; raw holds the bytes of those that are no UTF-8, in their order.
func KeyTexts(keys []string) (texts []string, raw [][]byte) {
	if keys == nil {
		return nil, nil
	}
	texts = make([]string, len(keys))
	for i, key := range keys {
		var odd []byte
		if texts[i], odd = KeyText(key); odd != nil {
			raw = append(raw, odd)
		}
	}
	return texts, raw
}
