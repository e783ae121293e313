package server

import (
	"sync"
	"time"
)

const (
	// mostHeld is how much the bodies of all answers together hold before slow clients are cut off.
	mostHeld = 32 << 20
	// blockSize is what is held, and sent, as one piece. The end of a body takes a whole one.
	blockSize = 16 << 10
)

// body of an answer, in blocks: it grows without copies, and each block is free once it is sent.
type body struct {
	blocks [][]byte
	length int
	// moved is when the client last took something. cutOff: others need what it holds. Both are guarded by bodies.mu.
	moved  time.Time
	cutOff bool
}

// bodies that are held. Where there is no room for another block, the client that has taken nothing for the longest time is cut off, so
// that no answer waits for those who read slowly. What is being made is never cut off: that the makers are few bounds it.
type bodies struct {
	most int

	mu   sync.Mutex
	held int
	// sending are the bodies on their way, with what cuts each off.
	sending map[*body]func()
	// unused blocks of earlier bodies.
	unused sync.Pool
}

func newBodies() *bodies {
	return &bodies{
		most: mostHeld / blockSize, sending: map[*body]func(){},
		unused: sync.Pool{New: func() any { return new([blockSize]byte) }},
	}
}

// write to a body that is being made.
func (b *bodies) write(to *body, p []byte) {
	to.length += len(p)
	for len(p) > 0 {
		last := len(to.blocks) - 1
		if last < 0 || len(to.blocks[last]) == blockSize {
			to.blocks = append(to.blocks, b.block())
			last++
		}
		n := min(len(p), blockSize-len(to.blocks[last]))
		to.blocks[last] = append(to.blocks[last], p[:n]...)
		p = p[n:]
	}
}

// block that is empty, for which there is room or is made some.
func (b *bodies) block() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.held >= b.most && b.cutOffSlowest() {
	}
	b.held++
	return b.unused.Get().(*[blockSize]byte)[:0]
}

// cutOffSlowest client, and report that there is one. What its body holds counts no more: its write fails at once.
func (b *bodies) cutOffSlowest() bool {
	var slowest *body
	for k := range b.sending {
		if len(k.blocks) > 0 && (slowest == nil || k.moved.Before(slowest.moved)) {
			slowest = k
		}
	}
	if slowest == nil {
		return false
	}
	b.sending[slowest]()
	delete(b.sending, slowest)
	slowest.cutOff = true
	b.held -= len(slowest.blocks)
	return true
}

// begin to send a body. The function cutOff makes the write under way fail.
func (b *bodies) begin(k *body, cutOff func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k.moved = time.Now()
	b.sending[k] = cutOff
}

// sent is called when the client has taken the first block that is left.
func (b *bodies) sent(k *body) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k.moved = time.Now()
	b.release(k, 1)
}

// end of a body, whose rest is free, and report whether its client was cut off.
func (b *bodies) end(k *body) (cutOff bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sending, k)
	b.release(k, len(k.blocks))
	return k.cutOff
}

// release the first n blocks of a body.
func (b *bodies) release(k *body, n int) {
	for _, block := range k.blocks[:n] {
		b.unused.Put((*[blockSize]byte)(block[:blockSize]))
	}
	k.blocks = k.blocks[n:]
	if !k.cutOff {
		b.held -= n
	}
}
