package demo

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

// metaFlags of a meta command, in the order of the request.
type metaFlags []string

// has reports whether the flag stands there, and what follows it.
func (f metaFlags) has(flag byte) (token string, ok bool) {
	for _, s := range f {
		if s[0] == flag {
			return s[1:], true
		}
	}
	return "", false
}

func (f metaFlags) quiet() bool {
	_, ok := f.has('q')
	return ok
}

// metaKey reads the key of a meta command; ok is false where it is none, which was answered.
func (t *session) metaKey(args []string, flags metaFlags) (key string, ok bool) {
	key = args[0]
	if _, encoded := flags.has('b'); encoded {
		b, err := base64.StdEncoding.DecodeString(key)
		if err != nil || len(b) == 0 || len(b) > memcachedKeyMax {
			t.say("CLIENT_ERROR error decoding key\r\n")
			return "", false
		}
		return string(b), true
	}
	if !validKey(key) {
		t.say(badLine)
		return "", false
	}
	return key, true
}

// echo gives back what a client recognises its request by: k, b and O.
func echo(key string, flag string) string {
	switch flag[0] {
	case 'k':
		if !validKey(key) {
			return " k" + base64.StdEncoding.EncodeToString([]byte(key))
		}
		return " k" + key
	case 'b':
		if !validKey(key) {
			return " b"
		}
	case 'O':
		return " " + flag
	}
	return ""
}

func echoAll(key string, flags metaFlags) string {
	var b strings.Builder
	for _, f := range flags {
		b.WriteString(echo(key, f))
	}
	return b.String()
}

func (t *session) metaGet(args []string) {
	if len(args) == 0 {
		t.say("ERROR\r\n")
		return
	}
	flags := metaFlags(args[1:])
	key, ok := t.metaKey(args, flags)
	if !ok {
		return
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	i := t.s.fetch(key)
	if i == nil {
		if !flags.quiet() {
			t.say("EN%s\r\n", echoAll(key, flags))
		}
		return
	}
	now := time.Now()
	if token, ok := flags.has('T'); ok {
		if seconds, err := strconv.ParseInt(token, 10, 64); err == nil {
			i.expires = expiry(seconds)
		}
	}
	answer := metaAnswer(key, i, flags, now)
	if _, ok := flags.has('u'); !ok { // u: leave no trace of the read
		i.fetched, i.accessed = true, now
	}
	_, value := flags.has('v')
	switch {
	case value:
		t.say("VA %d%s\r\n%s\r\n", len(i.value), answer, i.value)
	default: // q silences misses alone, also without v
		t.say("HD%s\r\n", answer)
	}
}

// metaAnswer is the return flags of an item.
func metaAnswer(key string, i *item, flags metaFlags, now time.Time) string {
	var b strings.Builder
	number := func(flag byte, n int64) { b.WriteString(" " + string(flag) + strconv.FormatInt(n, 10)) }
	for _, f := range flags {
		switch f[0] {
		case 't':
			number('t', int64(i.ttl(now)))
		case 's':
			number('s', int64(len(i.value)))
		case 'f':
			number('f', int64(i.flags))
		case 'c':
			b.WriteString(" c" + strconv.FormatUint(i.cas, 10))
		case 'h':
			if i.fetched {
				number('h', 1)
			} else {
				number('h', 0)
			}
		case 'l':
			number('l', int64(now.Sub(i.accessed).Seconds()))
		default:
			b.WriteString(echo(key, f))
		}
	}
	return b.String()
}

// numbers of ms: the TTL in seconds (T) and the client's flags (F).
func (f metaFlags) numbers() (seconds int64, client uint64, err error) {
	if token, ok := f.has('T'); ok {
		seconds, err = strconv.ParseInt(token, 10, 64)
	}
	if token, ok := f.has('F'); ok && err == nil {
		client, err = strconv.ParseUint(token, 10, 32)
	}
	return seconds, client, err
}

func (t *session) metaSet(args []string) error {
	if len(args) < 2 {
		t.say("CLIENT_ERROR bad command line format\r\n")
		return nil
	}
	flags := metaFlags(args[2:])
	value, ok, err := t.data(args[1])
	if err != nil || !ok {
		return err
	}
	key, ok := t.metaKey(args, flags)
	if !ok {
		return nil
	}
	seconds, client, err := flags.numbers()
	if err != nil {
		t.say("CLIENT_ERROR bad token in command line format\r\n")
		return nil
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.counts["cmd_set"]++
	old := t.s.get(key)
	mode, _ := flags.has('M')
	compare, comparing := flags.has('C')
	switch {
	case comparing && old == nil:
		t.say("NF%s\r\n", echoAll(key, flags))
		return nil
	case comparing && strconv.FormatUint(old.cas, 10) != compare:
		t.say("EX%s\r\n", echoAll(key, flags))
		return nil
	case strings.EqualFold(mode, "E") && old != nil, strings.ContainsAny(mode, "APRapr") && old == nil:
		t.say("NS%s\r\n", echoAll(key, flags))
		return nil
	}
	expires := expiry(seconds)
	switch strings.ToUpper(mode) {
	case "A", "P":
		if strings.EqualFold(mode, "A") {
			value = append(append([]byte(nil), old.value...), value...)
		} else {
			value = append(value, old.value...)
		}
		client, expires = uint64(old.flags), old.expires
	}
	stored := t.s.store(key, value, uint32(client), expires)
	if flags.quiet() {
		return nil
	}
	answer := echoAll(key, flags)
	if _, ok := flags.has('c'); ok {
		answer += " c" + strconv.FormatUint(stored.cas, 10)
	}
	t.say("HD%s\r\n", answer)
	return nil
}

func (t *session) metaDelete(args []string) {
	if len(args) == 0 {
		t.say("ERROR\r\n")
		return
	}
	flags := metaFlags(args[1:])
	key, ok := t.metaKey(args, flags)
	if !ok {
		return
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	i := t.s.get(key)
	compare, comparing := flags.has('C')
	switch {
	case i == nil:
		t.s.counts["delete_misses"]++
		if !flags.quiet() {
			t.say("NF%s\r\n", echoAll(key, flags))
		}
	case comparing && strconv.FormatUint(i.cas, 10) != compare:
		t.say("EX%s\r\n", echoAll(key, flags))
	default:
		t.s.counts["delete_hits"]++
		delete(t.s.items, key)
		if !flags.quiet() {
			t.say("HD%s\r\n", echoAll(key, flags))
		}
	}
}
