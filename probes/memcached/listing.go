package memcached

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

const (
	// listEvery is how often a server's keys are listed at most, and listAgain how soon after a try that failed.
	listEvery = 10 * time.Minute
	listAgain = time.Minute
	// listMost keys end a listing, and so does listLongest.
	listMost    = 200_000
	listLongest = 30 * time.Second
	// busyPause is the wait before a server is asked again whose crawler is busy with something else.
	busyPause = 500 * time.Millisecond
)

// errEnough ends a listing that has found listMost keys.
var errEnough = errors.New("enough keys were listed")

// listing is the listing of one server's keys. Nodes at one server share it.
type listing struct {
	mu   sync.Mutex
	next time.Time // no listing begins before
	// underWay is closed at the end of the listing that goes on; nil: none does.
	underWay chan struct{}
	// ended: a listing did, so that it is known which keys there are.
	ended bool
	lists map[*keyList]struct{} // of the nodes at this server
}

// keyList is what one node wants of its server's keys. A listing goes on in the background, over a connection of its own, and hands on
// each key as it comes: how many there are is the server's to say.
type keyList struct {
	// dump asks the server for its keys, and gives each to found.
	dump    func(ctx context.Context, found func(key string) error) error
	listing *listing

	life    context.Context // until close
	end     context.CancelFunc
	running sync.WaitGroup

	// Guarded by listing.mu.
	scan           *probes.Scan // that gets the keys
	prefix, suffix string       // of the keys wanted
	err            error        // of the last listing
}

func newKeyList(dump func(context.Context, func(string) error) error, of *listing) *keyList {
	k := &keyList{dump: dump, listing: of}
	k.life, k.end = context.WithCancel(context.Background())
	return k
}

// list has the server's keys given to scan, from now on and until another one is given. It begins a listing where one is due, and
// says why it is not known which keys there are.
func (k *keyList) list(ctx context.Context, scan *probes.Scan) error {
	if underWay := k.begin(scan); underWay != nil && scan.Wait {
		select {
		case <-underWay:
		case <-ctx.Done():
		}
	}
	k.listing.mu.Lock()
	defer k.listing.mu.Unlock()
	if k.err == nil && !k.listing.ended {
		return probes.ErrListing
	}
	return k.err
}

// begin a listing where one is due, and give a channel that is closed at the end of the one under way, if there is one.
func (k *keyList) begin(scan *probes.Scan) <-chan struct{} {
	l := k.listing
	l.mu.Lock()
	defer l.mu.Unlock()
	k.scan = scan
	k.prefix, k.suffix = literalEnds(scan.Match)
	if l.lists == nil {
		l.lists = map[*keyList]struct{}{}
	}
	l.lists[k] = struct{}{}
	if l.underWay == nil && !time.Now().Before(l.next) && k.life.Err() == nil {
		done := make(chan struct{})
		l.underWay = done
		k.running.Go(func() {
			defer close(done)
			k.run()
		})
	}
	return l.underWay
}

// run has the keys listed, and notes how that ended.
func (k *keyList) run() {
	ctx, cancel := context.WithTimeout(k.life, listLongest)
	defer cancel()
	began, listed := time.Now(), 0
	err := k.dump(ctx, func(key string) error {
		if listed++; listed > listMost {
			return errEnough
		}
		k.listing.add(key)
		return nil
	})
	switch {
	case errors.Is(err, errEnough) || listed > 0 && ctx.Err() != nil:
		err = nil // a part of the keys will do
	case err != nil:
		err = fmt.Errorf("lru_crawler metadump: %w", err)
	}
	k.listing.mu.Lock()
	defer k.listing.mu.Unlock()
	k.listing.underWay, k.listing.next = nil, began.Add(listEvery)
	if err != nil {
		k.listing.next = time.Now().Add(listAgain)
	}
	if k.life.Err() == nil {
		k.listing.ended = k.listing.ended || err == nil
		for other := range k.listing.lists {
			other.err = err
		}
	}
}

// add gives a key to those that want it. The ends of a pattern are a rough filter; who asked matches exactly.
func (l *listing) add(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.lists {
		if strings.HasPrefix(key, k.prefix) && strings.HasSuffix(key, k.suffix) {
			k.scan.Offer(key)
		}
	}
}

// close ends a listing that this node began, and waits for it.
func (k *keyList) close() {
	k.end()
	k.running.Wait()
	k.listing.mu.Lock()
	delete(k.listing.lists, k)
	k.listing.mu.Unlock()
}

// literalEnds gives what all keys that match a glob begin and end with.
func literalEnds(glob string) (prefix, suffix string) {
	first := strings.IndexAny(glob, `*?[\`)
	switch {
	case first < 0:
		return glob, glob
	case strings.ContainsAny(glob, `[\`): // where such an element ends takes a parser
		return glob[:first], ""
	}
	return glob[:first], glob[strings.LastIndexAny(glob, "*?")+1:]
}

// listKeys has the server's crawler list keys: by the hash table or, where that is unknown, by the LRUs.
func (n *node) listKeys(ctx context.Context, found func(string) error) error {
	conn, err := n.link.Dial(ctx)
	if err != nil {
		return err
	}
	c := n.link.Conn(conn)
	defer c.Close()
	if err := n.login(ctx, c); err != nil {
		return err
	}
	for what := "hash"; ; {
		var refused string
		err := c.Converse(ctx, wire.Request{Commands: []byte("lru_crawler metadump " + what + "\r\n"), Read: func(x *wire.Exchange) error {
			var err error
			refused, err = readDump(x, found)
			return err
		}})
		switch word := verb([]byte(refused)); {
		case err != nil || refused == "":
			return err
		case word == "BADCLASS" && what == "hash":
			what = "all"
		case word != "BUSY":
			return refusedDump{refused}
		default:
			if !pause.For(ctx, busyPause) {
				return fmt.Errorf("refused (%.100s)", refused)
			}
		}
	}
}

// refusedDump is the error of a server that does not list its keys.
type refusedDump struct{ said string }

// Error says what to do about it.
func (e refusedDump) Error() string {
	return fmt.Sprintf("refused (%.100s); run memcached 1.5.6 or newer with lru_crawler and without -X, or give the class keys instead of a pattern", e.said)
}

// readDump reads a listing, or why it was refused. Its lines end in a line feed alone, unlike all other answers. Once a key came, a
// line that is none costs itself alone.
func readDump(x *wire.Exchange, found func(string) error) (refused string, err error) {
	for listed := 0; ; {
		line, err := x.ReadLooseLine()
		if err != nil {
			return "", err
		}
		rest, ok := bytes.CutPrefix(line, []byte("key="))
		switch {
		case ok:
		case listed > 0 && !isDumpEnd(line):
			continue
		default:
			return dumpEnd(x, line, listed)
		}
		name, _, _ := bytes.Cut(rest, []byte{' '})
		if key, err := url.PathUnescape(string(name)); err == nil && cannotHold(probes.Key{Name: key}) == nil {
			if err := found(key); err != nil { // binary clients may use keys that nobody could ask for here
				return "", err
			}
		}
		listed++
	}
}

// isDumpEnd: no more keys come after such a line.
func isDumpEnd(line []byte) bool {
	word := verb(line)
	return word == "END" || word == "BUSY" || word == "BADCLASS" || isError(line)
}

// dumpEnd judges the line that ends a listing.
func dumpEnd(x *wire.Exchange, line []byte, listed int) (refused string, err error) {
	switch {
	case !isDumpEnd(line):
		return "", x.Foreign
	case verb(line) == "END":
		return "", nil
	case listed == 0:
		return x.Secrets.Tell(string(line)), nil
	}
	return "", saidError(x, line)
}
