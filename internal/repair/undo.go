package repair

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// undoEntry is a line of the undo file: a copy as it was, and by what one knows that it is still what repair put there. It
// holds the value, as its purpose is.
type undoEntry struct {
	Time    time.Time `json:"time"`
	Command string    `json:"command"`
	Place
	Hash bool `json:"hash"`
	Was  was  `json:"was"`
	// Wrote is the fingerprint of what was put there; empty: the copy was deleted.
	Wrote string `json:"wrote"`

	// at and size of the line in the file it was read from, in bytes: the values are read again when they are put back.
	at   int64
	size int
}

// was is a copy before it was overwritten.
type was struct {
	Present bool   `json:"present"`
	Value   []byte `json:"value,omitempty"`
	// Fields of a hash, names and values in turn.
	Fields [][]byte `json:"fields,omitempty"`
	Flags  *uint32  `json:"flags,omitempty"`
	// Expires is when the copy would have; nil: never where NoExpiry, else unknown.
	Expires  *time.Time `json:"expires,omitempty"`
	NoExpiry bool       `json:"no_expiry"`
}

func newWas(s probes.Stored) was {
	out := was{Present: s.Present, Value: s.Value, NoExpiry: s.NoExpiry}
	for _, f := range s.Fields {
		out.Fields = append(out.Fields, f.Name, f.Value)
	}
	if s.HasFlags {
		out.Flags = &s.Flags
	}
	if !s.Expires.IsZero() {
		out.Expires = new(s.Expires.UTC())
	}
	return out
}

func (w *was) stored() probes.Stored {
	out := probes.Stored{Present: w.Present, Value: w.Value, NoExpiry: w.NoExpiry}
	for i := 0; i+1 < len(w.Fields); i += 2 {
		out.Fields = append(out.Fields, probes.Field{Name: w.Fields[i], Value: w.Fields[i+1]})
	}
	if w.Flags != nil {
		out.Flags, out.HasFlags = *w.Flags, true
	}
	if w.Expires != nil {
		out.Expires = *w.Expires
	}
	return out
}

// fingerprint of a copy as it is stored, but for its expiry; empty: it is not there.
func fingerprint(s probes.Stored) string {
	if !s.Present {
		return ""
	}
	h := sha256.New()
	add := func(b []byte) {
		_ = binary.Write(h, binary.BigEndian, uint64(len(b))) // a hash takes all
		h.Write(b)
	}
	add(s.Value)
	_ = binary.Write(h, binary.BigEndian, s.Flags) // a hash takes all
	fields := slices.Clone(s.Fields)
	slices.SortFunc(fields, func(a, b probes.Field) int { return bytes.Compare(a.Name, b.Name) })
	for _, f := range fields {
		add(f.Name)
		add(f.Value)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// recordUndo puts on record what the changes overwrite, before they are made.
func (e *executor) recordUndo(writes []*Write, changes []change) error {
	var entries []any
	for i, w := range writes {
		c := &changes[i]
		if w.Outcome != nil || c.edit == nil {
			continue
		}
		wrote := c.next
		if !wrote.HasFlags {
			wrote.Flags = c.seen.Flags
		}
		entries = append(entries, undoEntry{
			Time: time.Now().UTC(), Command: command, Place: w.Place, Hash: c.key.Hash,
			Was: newWas(c.seen), Wrote: fingerprint(wrote),
		})
	}
	return record(e.undo, entries)
}

// readUndo reads an undo file, but for the values. A last line that is cut off belongs to a write that was never made.
func readUndo(f io.Reader, name string) (entries []*undoEntry, err error) {
	r := bufio.NewReader(f)
	at := int64(0)
	for number := 1; ; number++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the undo file: %w", err)
		}
		entry := &undoEntry{at: at, size: len(line)}
		at += int64(len(line))
		if json.Unmarshal(line, entry) != nil || entry.Command != command || entry.Node == "" {
			return nil, fmt.Errorf("%w: %s:%d: is no line of an undo file; name an undo-….jsonl that repair wrote", ErrUsage, name, number)
		}
		entry.Was.Value, entry.Was.Fields = nil, nil
		entries = append(entries, entry)
	}
}

// key of the entry's copy on its node.
func (u *undoEntry) key() probes.Key {
	name := u.Key
	switch {
	case u.StoredKeyBase64 != nil:
		name = string(u.StoredKeyBase64)
	case u.StoredKey != "":
		name = u.StoredKey
	case u.KeyBase64 != nil:
		name = string(u.KeyBase64)
	}
	return probes.Key{Name: name, Hash: u.Hash}
}

// runUndo puts back what an undo file holds, or plans it.
func runUndo(ctx context.Context, cfg *config.Config, opt Options) (*Report, error) {
	f, err := os.Open(opt.Undo)
	if err != nil {
		return nil, fmt.Errorf("%w: the undo file can't be read: %w", ErrUsage, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	entries, err := readUndo(f, opt.Undo)
	if err != nil {
		return nil, err
	}
	report := &Report{Strategy: undoing, Writes: []*Write{}, NotRepaired: []Left{}, Following: []Left{}, Unreadable: []Unreadable{}}
	now := time.Now()
	for _, u := range slices.Backward(entries) { // the last write is undone first
		if opt.Check.Class != "" && u.Class != opt.Check.Class {
			continue
		}
		w := &Write{Place: u.Place, Action: actionRestore, From: &opt.Undo, key: u.key(), entry: u}
		if !u.Was.Present {
			w.Action = actionDelete
		}
		switch {
		case u.Was.NoExpiry:
			w.NoExpiry = new(true)
		case u.Was.Expires != nil:
			w.TTLSeconds, w.NoExpiry = new(max(u.Was.Expires.Sub(now).Seconds(), 0)), new(false)
		}
		report.Writes = append(report.Writes, w)
	}
	if !opt.Apply || len(report.Writes) == 0 {
		return report, nil
	}
	fleet, err := cfg.OpenFleet(opt.Check.Env)
	if err != nil {
		return nil, fmt.Errorf("opening the nodes: %w", err)
	}
	defer fleet.Close()
	return report, apply(ctx, report, opt, &undoer{heirs: survey(ctx, fleet), file: f})
}

// undoer prepares what an undo file says.
type undoer struct {
	*heirs
	file io.ReaderAt
}

func (*undoer) pace(func(context.Context) error) {}
func (*undoer) close()                           {}

// stored is the copy that an entry of the file holds.
func (u *undoer) stored(e *undoEntry) (probes.Stored, error) {
	line := make([]byte, e.size)
	if _, err := u.file.ReadAt(line, e.at); err != nil {
		return probes.Stored{}, fmt.Errorf("reading the undo file: %w", err)
	}
	var whole undoEntry
	if err := json.Unmarshal(line, &whole); err != nil {
		return probes.Stored{}, errors.New("the undo file has changed meanwhile")
	}
	return whole.Was.stored(), nil
}

// prepare implements changer.
func (u *undoer) prepare(ctx context.Context, w *Write) (change, string, error) {
	edit, err := u.holder(w)
	if err != nil {
		return change{}, Failed, err
	}
	now, err := edit.Load(ctx, w.key)
	if errors.Is(err, probes.ErrChanged) {
		return change{}, Changed, err
	}
	if err != nil {
		return change{}, Failed, err
	}
	back, err := u.stored(w.entry)
	if err != nil {
		return change{}, Failed, err
	}
	was := fingerprint(back)
	if back.Present && !back.NoExpiry && !back.Expires.IsZero() && time.Until(back.Expires) <= 0 {
		back = probes.Stored{} // it would be gone by now
	}
	switch is := fingerprint(now); {
	case is == was, is == fingerprint(back):
		return change{}, Unchanged, nil
	case is != w.entry.Wrote:
		return change{}, Changed, errors.New("the copy is no longer what repair put there")
	}
	return change{edit: edit, key: w.key, seen: now, next: back}, "", nil
}
