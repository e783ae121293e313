package config

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

// Events of a class: keys that come out of an invalidation queue, each of which is looked at on every node when it has reached the ages
// of the windows.
type Events struct {
	// Queue is the name of one of Config.Queues.
	Queue string
	// Keys that a message names, from {key} (the message's own) and the names of Vars; empty: the message's own key.
	Keys []form.Template
	// Vars are paths in the message, by the name that templates have for what stands there: the first of them at which there is something.
	Vars map[string][]string
	// Version is the path of the version that the message tells of; empty: the queue's Message.Version.
	Version string
	// Patterns are paths of Redis globs, each of which stands for all keys that it fits.
	Patterns []string
	// Sample is the most events that one sampling takes (default 200).
	Sample int
	// Within is the promise: the age at which an invalidation is to have taken effect (default 1m). It is the age of one of the windows.
	Within time.Duration
	// Windows at which is looked, the youngest first.
	Windows []EventWindow
	// Group whose progress counts; empty: messages are delivered at once, or never.
	Group string
	// TTLMin is the shortest TTL that is ever set; 0: not known.
	TTLMin time.Duration
}

// EventWindow is an age of an event at which is looked.
type EventWindow struct {
	Age time.Duration
	// Text as written, which is its label: 1m.
	Text string
}

const (
	// mostEvents of one sampling: those that wait for their looks are bounded in all.
	mostEvents  = 20_000
	mostWindows = 5
	// shortestWindow: clocks of servers differ by as much.
	shortestWindow = time.Second
	// longestWindow: no event is looked at after an hour.
	longestWindow = time.Hour
)

// varName is what a template can name.
var varName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// events reads where a class takes its keys from; k is the class so far.
func (r *reader) events(v form.Value, k *Class) *Events {
	b := v.Block()
	e := &Events{}
	queue, group := b.Get("queue"), b.Get("group")
	if b.Require(queue, "the name of one of queues") {
		e.Queue = queue.Word("the name of one of queues")
	}
	e.Group = group.Word("the name of a consumer group")
	if e.Queue != "" {
		r.eventQueue(b, queue, group, e)
	}
	readEventKeys(b, e)
	version, patterns := b.Get("version"), b.Get("patterns")
	e.Version = version.JSONPath()
	if version.Given() && k.Version == nil {
		version.Fault("stands in a class whose copies have no version to compare it with; write the class's version too, or leave it out")
	}
	e.Patterns = readPaths(patterns)
	e.Sample = int(b.Get("sample").Whole(200, mostEvents))
	readWindows(b, e, k.Layers)
	ttl := b.Get("ttl_min")
	e.TTLMin = ttl.PositiveDuration(0, "the shortest TTL that is ever set, such as 50m")
	for _, own := range k.Layers {
		if i := layerAt(r.config.Layers, own.Name); i >= 0 && !r.config.Layers[i].NoExpiry && e.TTLMin > r.config.Layers[i].TTL && r.config.Layers[i].TTL > 0 {
			ttl.Fault("is above the ttl of layer %q, and no TTL there is longer than that; write the shortest that is ever set", own.Name)
		}
	}
	b.Done()
	return e
}

// eventQueue checks the queue and whose progress in it counts.
func (r *reader) eventQueue(b *form.Block, queue, group form.Value, e *Events) {
	queues := r.config.Queues
	i := slices.IndexFunc(queues, func(q Queue) bool { return q.Name == e.Queue })
	if i < 0 {
		queue.Fault("%s is no queue; write the name of one of queues", queue.Quoted())
		return
	}
	source := queues[i].Source
	if source == nil {
		return // it has had its fault
	}
	traits, watched := source.Traits(), source.Watched()
	switch {
	case !traits.Events && traits.LengthOnly:
		queue.Fault("%s is a %s, whose messages are gone once they are taken; publish them to a stream or a channel too, and name that",
			queue.Quoted(), source.Kind())
	case !traits.Events:
		queue.Fault("%s is of the kind %s, which shows no messages one by one; name a queue that does, of redis or kafka", queue.Quoted(), source.Kind())
	case traits.AtOnce && group.Given():
		group.Fault("has no meaning for a %s, whose messages are delivered at once; leave it out", source.Kind())
	case traits.AtOnce:
	case group.Given() && e.Group != "" && !form.Selected(watched, e.Group):
		group.Fault("%s is none of the groups that queue %q watches; write one of them, or add it there", group.Quoted(), e.Queue)
	case !group.Given() && len(watched) == 1 && watched[0].Regexp == nil:
		e.Group = watched[0].Exact
	default:
		b.Require(group, fmt.Sprintf("the group of queue %q whose progress counts, as the queue's groups are not one by name", e.Queue))
	}
}

// readEventKeys reads which keys a message names.
func readEventKeys(b *form.Block, e *Events) {
	keys, vars := b.Get("keys"), b.Get("vars")
	names, named := []string{"key"}, map[string]bool{}
	e.Vars = map[string][]string{}
	entries := map[string]form.Value{}
	if vars.Given() {
		for name, at := range vars.Block().Entries() {
			switch {
			case name == "key":
				at.Fault("is the message's own key; write another name")
				continue
			case !varName.MatchString(name):
				at.Fault("is no name for a template; write letters, digits and _")
				continue
			}
			names = append(names, name)
			entries[name] = at
			e.Vars[name] = readPaths(at)
		}
	}
	_, items := keys.Words("keys", "a key such as user:{id}:profile")
	for _, item := range items {
		t := item.Template(names)
		if !t.IsZero() {
			e.Keys = append(e.Keys, t)
		}
		for _, n := range t.Names() {
			named[n] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if !named[name] {
			entries[name].Fault("is named by none of keys; write {%s} in one of them, or leave it out", name)
		}
	}
}

// readPaths reads a path or a list of paths.
func readPaths(v form.Value) (paths []string) {
	if !v.IsList() {
		if path := v.JSONPath(); path != "" {
			paths = append(paths, path)
		}
		return paths
	}
	_, items := v.Words("paths", "a path such as $.id")
	for _, item := range items {
		if path := item.JSONPath(); path != "" {
			paths = append(paths, path)
		}
	}
	return paths
}

// readWindows reads the promise and the ages at which is looked.
func readWindows(b *form.Block, e *Events, layers []ClassLayer) {
	within, windows := b.Get("within"), b.Get("windows")
	const promise = "the age at which an invalidation is to have taken effect, such as 1m"
	text := "1m"
	e.Within = within.PositiveDuration(time.Minute, promise)
	if s, ok := within.Text(promise); ok {
		text = s
	}
	checkWindow(within, e.Within)
	all, items := windows.Words("ages", "an age such as 5m")
	for i, item := range items {
		age := item.PositiveDuration(0, "an age such as 5m")
		if age == 0 {
			continue
		}
		checkWindow(item, age)
		if slices.ContainsFunc(e.Windows, func(w EventWindow) bool { return w.Age == age && w.Text != all[i] }) {
			item.Fault("%s is as long as another of them; keep one", item.Quoted())
		}
		e.Windows = append(e.Windows, EventWindow{age, all[i]})
	}
	switch {
	case len(e.Windows) > mostWindows:
		windows.Fault("has %d ages; write up to %d", len(e.Windows), mostWindows)
	case !windows.Given():
		e.Windows = []EventWindow{{e.Within, text}}
	case !slices.ContainsFunc(e.Windows, func(w EventWindow) bool { return w.Age == e.Within }) && len(e.Windows) > 0:
		windows.Fault("lacks the age of within (%s); add it, or write one of these as within", text)
	}
	if i := slices.IndexFunc(e.Windows, func(w EventWindow) bool { return w.Age == e.Within }); i >= 0 && e.Within >= shortestWindow && !rulesKnow(e.Windows[i]) {
		within.Fault("%s is not found by the alert rules as it is written; write whole seconds, minutes or hours, such as 90s, 2m or 1m30s", e.Windows[i].Text)
	}
	slices.SortStableFunc(e.Windows, func(a, b EventWindow) int { return cmp.Compare(a.Age, b.Age) })
	if len(layers) > 0 && !slices.ContainsFunc(layers, func(l ClassLayer) bool { return l.MaxStaleness < e.Within }) {
		b.Fault("asks no layer within %s, as each may be stale by design for as long; write a longer within, or a shorter max_staleness", text)
	}
}

// rulesKnow says whether the rules find the window of the promise by its seconds: class_window:cacheinv_event_within:info writes them in
// these ways.
func rulesKnow(w EventWindow) bool {
	s := w.Age.Seconds()
	return slices.Contains([]string{
		fmt.Sprintf("%vs", s), fmt.Sprintf("%vm", s/60), fmt.Sprintf("%vh", s/3600), fmt.Sprintf("%vm%vs", math.Floor(s/60), math.Mod(s, 60)),
	}, w.Text)
}

func checkWindow(v form.Value, age time.Duration) {
	switch {
	case !v.Given():
	case age < shortestWindow:
		v.Fault("%s is less than a second, and clocks differ by as much; write 1s or more", v.Quoted())
	case age > longestWindow:
		v.Fault("%s is more than an hour, and no event is looked at for longer; write 1h or less", v.Quoted())
	}
}

// Summary says in a line what is looked at, and when.
func (e *Events) Summary() string {
	var ages []string
	passed, within := "", ""
	for _, w := range e.Windows {
		ages = append(ages, w.Text)
		if w.Age == e.Within {
			within = w.Text
		}
	}
	if e.Group != "" {
		passed = fmt.Sprintf(", as far as group %q has processed it,", e.Group)
	}
	return fmt.Sprintf("what queue %q invalidates%s is looked at after %s, and promised within %s", e.Queue, passed, strings.Join(ages, ", "), within)
}

// EventQueues are the queues whose messages some class takes its keys from, by name.
func (c *Config) EventQueues() map[string]bool {
	out := map[string]bool{}
	for _, k := range c.Canaries {
		if k.Events != nil {
			out[k.Events.Queue] = true
		}
	}
	return out
}
