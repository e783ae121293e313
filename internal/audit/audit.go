// Package audit writes what a command changed, one JSON object a line. A Log that can't be written is an error of the
// command: what is not on record is not done.
package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Log is a file of JSON lines that only its owner can read. Its methods may be called by several goroutines at once.
type Log struct {
	mu   sync.Mutex
	file *os.File
	path string
}

// Open a new file DIR/KIND-TIME.jsonl. kind is audit or undo; two in the same millisecond get a number besides.
func Open(dir, kind string, now time.Time) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making --audit.dir: %w", err)
	}
	name := kind + "-" + now.UTC().Format("20060102T150405.000Z")
	for n := 1; ; n++ {
		path := filepath.Join(dir, name+".jsonl")
		if n > 1 {
			path = filepath.Join(dir, fmt.Sprintf("%s-%d.jsonl", name, n))
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("making a file in --audit.dir: %w", err)
		}
		if err := syncDir(dir); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return &Log{file: f, path: path}, nil
	}
}

// syncDir waits until the names of a folder's files are on the disk: a line is worth nothing in a file that nobody finds.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("making a file in --audit.dir: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// Path of the file.
func (l *Log) Path() string { return l.path }

// Write lines, one for each entry, and wait until they are on the disk: what is written before an act survives it.
func (l *Log) Write(entries ...any) error {
	var lines []byte
	for _, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("writing %s: %w", l.path, err)
		}
		lines = append(append(lines, line...), '\n')
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.file.Write(lines); err != nil {
		return err
	}
	return l.file.Sync()
}

// Close the file.
func (l *Log) Close() error { return l.file.Close() }
