package drain

import (
	"crypto/rand"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/cacheinv/cacheinv_exporter/internal/audit"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// entry is one line of the audit log. Keys are in it, texts of messages and values are not.
//
// A run that was killed can be followed: of the messages that a queue had at its queue_begins, those of its batch_removed are
// gone, those of a last batch_applied without a batch_removed may be, and all others are there at the next queue_begins.
type entry struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"`
	Run   string    `json:"run"`
	Queue string    `json:"queue,omitempty"`
	// Waiting and Processing messages of queue_begins, and Left ones of queue_ends; null: unknown.
	Waiting    *int64 `json:"waiting,omitempty"`
	Processing *int64 `json:"processing,omitempty"`
	Left       *int64 `json:"left,omitempty"`
	// Batch is its number in the run of this queue, with its Messages and Keys.
	Batch    int      `json:"batch,omitempty"`
	Messages *int     `json:"messages,omitempty"`
	Keys     []string `json:"keys,omitempty"`
	// KeysBase64 are the bytes of those of Keys that are no UTF-8, in their order; KeptKeysBase64 of KeptKeys.
	KeysBase64     [][]byte `json:"keys_base64,omitempty"`
	KeptKeysBase64 [][]byte `json:"kept_keys_base64,omitempty"`
	// Applied, Dead and Kept messages, Removed ones, and Keys that could not be deleted everywhere.
	Applied  *int64   `json:"applied,omitempty"`
	Dead     *int64   `json:"dead_letters,omitempty"`
	Kept     *int64   `json:"kept,omitempty"`
	Removed  *int64   `json:"removed,omitempty"`
	KeptKeys []string `json:"kept_keys,omitempty"`
	// ID and Reason of a dead letter, and In which list or file it is.
	ID     string `json:"id,omitempty"`
	Reason string `json:"reason,omitempty"`
	In     string `json:"in,omitempty"`
	Error  string `json:"error,omitempty"`
}

// recorder writes the audit log, and the file of dead letters.
type recorder struct {
	log   *audit.Log
	run   string
	queue string
	// pending lines wait for the next that must be on the disk: what they say has been done already.
	pending []any

	folder string
	dead   *audit.Log
}

func newRecorder(log *audit.Log, folder string) *recorder {
	return &recorder{log: log, run: rand.Text(), folder: folder}
}

func (r *recorder) stamp(e entry) entry {
	e.Time, e.Run, e.Queue = time.Now().UTC(), r.run, r.queue
	e.Keys, e.KeysBase64 = probes.KeyTexts(e.Keys)
	e.KeptKeys, e.KeptKeysBase64 = probes.KeyTexts(e.KeptKeys)
	return e
}

// later writes a line with the next one.
func (r *recorder) later(e entry) {
	if r.log != nil {
		r.pending = append(r.pending, r.stamp(e))
	}
}

// write lines, which are on the disk afterwards.
func (r *recorder) write(entries ...entry) error {
	if r.log == nil {
		return nil
	}
	lines := r.pending
	for _, e := range entries {
		lines = append(lines, r.stamp(e))
	}
	r.pending = nil
	if len(lines) == 0 {
		return nil
	}
	return r.log.Write(lines...)
}

// deadLetter is one message in the file of dead letters. Text is as it was; Base64 holds it where that is no UTF-8.
type deadLetter struct {
	Time   time.Time `json:"time"`
	Queue  string    `json:"queue"`
	ID     string    `json:"id"`
	Reason string    `json:"reason"`
	Text   string    `json:"text,omitempty"`
	Base64 []byte    `json:"base64,omitempty"`
}

// keepDead writes a batch's dead letters to the file, and gives its path; empty: there is no folder for one.
func (r *recorder) keepDead(b *batch) (path string, err error) {
	if r.folder == "" || b.dead == 0 {
		return "", nil
	}
	if r.dead == nil {
		if r.dead, err = audit.Open(r.folder, "dead-letter", time.Now()); err != nil {
			return "", err
		}
	}
	var lines []any
	for i, m := range b.messages {
		reason, dead := b.reasons[i]
		if !dead {
			continue
		}
		line := deadLetter{Time: time.Now().UTC(), Queue: r.queue, ID: m.ID, Reason: reason}
		if utf8.Valid(m.Text) {
			line.Text = string(m.Text)
		} else {
			line.Base64 = slices.Clone(m.Text)
		}
		lines = append(lines, line)
	}
	return r.dead.Path(), r.dead.Write(lines...)
}

// close the file of dead letters.
func (r *recorder) close() error {
	if r.dead == nil {
		return nil
	}
	return r.dead.Close()
}
