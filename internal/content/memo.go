package content

import (
	"hash/maphash"
	"sync"
)

const (
	// memoParts that a memo has, each with a lock of its own: many nodes are read at once.
	memoParts = 16
	// memoPartSize is how many contents a part remembers since the last Forget, and as many of before: in all at most 32,768 of
	// about 100 bytes, whatever there is to read.
	memoPartSize = 1024
)

// memo is what a Reader found in the values that it read last. All copies of a key that agree hold the same bytes, and most hold
// the same from one sampling to the next, so that most values need not be parsed. It holds no values: it knows each by a hash of
// 128 bits, with seeds of its own that nobody outside the process can know.
type memo struct {
	seeds [2]maphash.Seed
	parts [memoParts]memoPart
}

type memoPart struct {
	mu sync.Mutex
	// recent are those that were read since the last Forget, older those of before.
	recent, older map[memoKey]Content
}

// memoKey stands for the bytes of a value.
type memoKey [2]uint64

func newMemo() *memo {
	m := &memo{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	for i := range m.parts {
		m.parts[i].recent, m.parts[i].older = map[memoKey]Content{}, map[memoKey]Content{}
	}
	return m
}

func (m *memo) key(value []byte) memoKey {
	return memoKey{maphash.Bytes(m.seeds[0], value), maphash.Bytes(m.seeds[1], value)}
}

func (m *memo) part(k memoKey) *memoPart { return &m.parts[k[0]%memoParts] }

// get what is remembered of a value.
func (m *memo) get(k memoKey) (Content, bool) {
	p := m.part(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.recent[k]
	if !ok {
		if c, ok = p.older[k]; ok {
			p.add(k, c)
		}
	}
	return c, ok
}

// put what was found in a value.
func (m *memo) put(k memoKey, c Content) {
	p := m.part(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(k, c)
}

// add one to those that were read lately, if there is room. The caller holds mu.
func (p *memoPart) add(k memoKey, c Content) {
	if len(p.recent) < memoPartSize {
		p.recent[k] = c
	}
}

// Forget what was found in values that were not read since the call before. Who reads again and again calls it before each time;
// without it a Reader remembers the values that it read first.
func (r *Reader) Forget() {
	for i := range r.memo.parts {
		p := &r.memo.parts[i]
		p.mu.Lock()
		p.recent, p.older = p.older, p.recent
		clear(p.recent)
		p.mu.Unlock()
	}
}
