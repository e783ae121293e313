package message

import (
	"errors"
	"slices"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// ErrNoKeyPath is the error of a queue whose configuration does not say where a message's keys are: what would be guessed
// there can't be what a message is removed for.
var ErrNoKeyPath = errors.New(
	"where its messages' keys are is not configured; write the path, such as message: {key: $.key}, or {key: $} where the message is the key")

// KeyReader reads which keys a message invalidates, all of them, or says why they can't be read. It is safe for concurrent use.
type KeyReader struct {
	path content.Path
	text string
}

// NewKeyReader gives a reader for messages as configured; ErrNoKeyPath where that does not name the key.
func NewKeyReader(m *probes.Message) (*KeyReader, error) {
	if m == nil || m.Key == "" {
		return nil, ErrNoKeyPath
	}
	p, err := content.ParsePath(m.Key, false)
	if err != nil {
		return nil, err
	}
	return &KeyReader{path: p, text: m.Key}, nil
}

// Read gives the keys of a message, each once, and else what is wrong with it. At the path there is a key, or a list of keys.
// Where the path is $, a word that is no JSON is itself the key.
func (r *KeyReader) Read(value []byte) (keys []string, poison string) {
	keys, ok, json := content.LookupList(value, r.path)
	if !json && r.text == "$" && content.IsWord(value) {
		return []string{string(value)}, ""
	}
	return r.check(keys, ok, json)
}

// ReadEntry gives the keys of a stream's entry, names and values in turn, as Reader.ReadEntry reads it.
func (r *KeyReader) ReadEntry(fields []string) (keys []string, poison string) {
	keys, ok, json := content.LookupList(entryObject(fields, false), r.path)
	if only := len(keys) == 1 && opens([]byte(keys[0])); !ok || only { // the path leads into a value, or the value is a list
		if deep, found, _ := content.LookupList(entryObject(fields, true), r.path); found {
			keys, ok = deep, true
		}
	}
	return r.check(keys, ok, json)
}

func (r *KeyReader) check(keys []string, ok, json bool) ([]string, string) {
	switch {
	case !json:
		return nil, "it is no JSON"
	case !ok || len(keys) == 0:
		return nil, "it has no key at " + r.text
	case slices.Contains(keys, ""):
		return nil, "its key at " + r.text + " is empty"
	}
	slices.Sort(keys)
	return slices.Compact(keys), ""
}
