package config

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// mostKeys of one class in one scrape: far above what a scrape has time for.
const mostKeys = 1_000_000

// class reads one class of canaries.
func (r *reader) class(v form.Value, classes form.Taken) Class {
	b := v.Block()
	k := Class{}
	name := b.Get("class")
	if b.Require(name, "the class's name, such as user_profile") {
		k.Name = name.Name("the class's name, such as user_profile")
		classes.Add(name, k.Name, "class")
	}
	names := readKeys(b, &k)
	typ := b.Get("type")
	k.Hash = typ.OneOf("string", "string", "hash") == "hash"
	k.Version, k.CachedAt = readVersion(b.Get("version"), k.Hash, false), readVersion(b.Get("cached_at"), k.Hash, true)
	age := b.Get("max_age")
	const oldest = "how old a copy may be, such as 10m"
	k.MaxAge = age.PositiveDuration(0, oldest)
	if age.Given() && k.CachedAt == nil {
		age.Fault("stands without cached_at; write where a copy says when it was made")
	}
	ignore, compare := b.Get("ignore"), b.Get("compare")
	k.Ignore, k.Compare = readComparePaths(ignore, k.Hash), readComparePaths(compare, k.Hash)
	if ignore.Given() && compare.Given() {
		compare.Fault("conflicts with ignore; keep one of them")
	}
	decode, selects, absent := b.Get("decode"), b.Get("select"), b.Get("absent")
	k.Absent = absent.Regexp()
	common := ClassLayer{Decode: readDecode(decode), Select: selects.JSONPath(), Absent: k.Absent}
	refuseForHash(k.Hash, decode, selects, absent)
	list := b.Get("layers")
	b.Require(list, "the layers that hold these keys")
	seen := map[string]bool{}
	for _, item := range list.List("layers") {
		k.Layers = append(k.Layers, r.classLayer(item, common, names, k.Hash, seen))
	}
	if pattern := b.Get("pattern"); k.Pattern != "" && !r.listable(k.Layers) {
		pattern.Fault("is in no layer that can list keys; name a layer of %s nodes, whose key holds {key} and no other name",
			r.kinds("or", func(k probes.Backend) bool { return k.NodeTraits.ListsKeys }))
	}
	if origin := b.Get("origin"); origin.Given() {
		k.Origin = r.origin(origin, names)
		if k.Hash {
			origin.Fault("conflicts with type: hash, as a body can't be compared with fields; leave it out")
		}
	}
	if refresh := b.Get("refresh"); refresh.Given() {
		k.Refresh = r.refresher(refresh, names)
	}
	if events := b.Get("events"); events.Given() {
		k.Events = r.events(events, &k)
	}
	b.Done()
	return k
}

// refresher reads how an application is asked to make its copies of a key anew.
func (r *reader) refresher(v form.Value, names []string) probes.RefresherSource {
	b := v.Block()
	_, source := choose(b, r.backends, "where copies are asked to be made anew", func(k *probes.Backend) func(form.Value) probes.RefresherSource {
		if k.Refresher == nil {
			return nil
		}
		return func(block form.Value) probes.RefresherSource { return k.Refresher(block, names) }
	})
	b.Done()
	return source
}

// readKeys reads which keys a class has, and the names that templates may use for their parts; nil: any.
func readKeys(b *form.Block, k *Class) (names []string) {
	keys, pattern, sample, match := b.Get("keys"), b.Get("pattern"), b.Get("sample"), b.Get("match")
	if b.NoneGiven(keys, pattern, b.Get("events")) {
		b.Fault("has none of keys, pattern and events; write keys to read on every scrape, a pattern, or the queue whose messages name them")
	}
	var items []form.Value
	k.Keys, items = keys.Words("keys", "a key")
	k.Pattern = pattern.Word("a pattern such as user:*:profile")
	k.Sample = int(sample.Whole(100, mostKeys))
	if sample.Given() && !pattern.Given() {
		sample.Fault("stands without pattern; write one, or leave sample out, since literal keys are all read")
	}
	if !match.Given() {
		return []string{"key"}
	}
	if k.Match = match.Regexp(); k.Match == nil {
		return nil
	}
	names = []string{"key"}
	for _, n := range k.Match.SubexpNames() {
		if n == "key" {
			match.Fault("names a part {key}, which is the whole key; write another name")
		} else if n != "" {
			names = append(names, n)
		}
	}
	for i, key := range k.Keys {
		if key != "" && !k.Match.MatchString(key) {
			items[i].Fault("%s does not match the class's match; fix the key or the expression", items[i].Quoted())
		}
	}
	return names
}

// listable: some layer's nodes can list the class's keys. What has had a fault counts as such.
func (r *reader) listable(own []ClassLayer) bool {
	layers := r.config.Layers
	return len(own) == 0 || slices.ContainsFunc(own, func(cl ClassLayer) bool {
		i := layerAt(layers, cl.Name)
		if i < 0 || cl.Key.IsZero() {
			return true
		}
		names, nodes := cl.Key.Names(), layers[i].Nodes
		return len(names) == 1 && names[0] == "key" && slices.ContainsFunc(nodes, lists)
	})
}

func lists(n Node) bool { return n.can(func(t probes.NodeTraits) bool { return t.ListsKeys }) }

func holdsHashes(n Node) bool { return n.can(func(t probes.NodeTraits) bool { return t.Hashes }) }

func layerAt(layers []Layer, name string) int {
	return slices.IndexFunc(layers, func(l Layer) bool { return l.Name == name })
}

func refuseForHash(hash bool, fields ...form.Value) {
	for _, f := range fields {
		if hash && f.Given() {
			f.Fault("conflicts with type: hash, whose fields are compared as they are; leave it out")
		}
	}
}

// fieldPath is a path that names one field of a hash.
var fieldPath = regexp.MustCompile(`^\$(\.[^.\[]+|\[[^\[]+\])$`)

// readComparePaths reads paths of compare and ignore; of a hash they name fields.
func readComparePaths(v form.Value, hash bool) []string {
	words, items := v.Words("paths", "a path such as $.trace_id")
	var out []string
	for i, s := range words {
		switch item := items[i]; {
		case s == "":
			continue
		case hash && !strings.HasPrefix(s, "$"):
		case item.JSONPathPattern() == "":
			continue
		case s == "$":
			item.Fault("is all of the content; write the paths of parts of it")
			continue
		case hash && !fieldPath.MatchString(s):
			item.Fault("%s goes deeper than a hash's fields; write the name of a field", item.Quoted())
			continue
		}
		out = append(out, s)
	}
	return out
}

// readDecode reads steps of decoding; a ? behind one's name makes it optional.
func readDecode(v form.Value) []string {
	const what = "gzip, zlib, zstd, snappy or base64 (with a ? behind it where some values are stored without it)"
	var out []string
	for _, item := range v.List("decode steps") {
		step, ok := item.Text(what)
		switch {
		case !ok:
		case !slices.Contains([]string{"gzip", "zlib", "zstd", "snappy", "base64"}, strings.TrimSuffix(step, "?")):
			item.Fault("is %s; write %s", item.Quoted(), what)
		default:
			out = append(out, step)
		}
	}
	return out
}

// readVersion reads where a version stands, or the time of cached_at.
func readVersion(v form.Value, hash, isTime bool) *Version {
	if !v.Given() {
		return nil
	}
	b := v.Block()
	out := &Version{MaxClockSkew: 5 * time.Second}
	json, re, name, kind := b.Get("json"), b.Get("regexp"), b.Get("field"), b.Get("kind")
	b.ExactlyOne(json, re, name)
	out.JSON, out.Regexp, out.Field = json.JSONPath(), re.Regexp(), name.Word("the name of a hash's field")
	if out.Regexp != nil && out.Regexp.NumSubexp() == 0 {
		re.Fault("has no group; write parentheses around what is meant")
	}
	for _, f := range []form.Value{json, re} {
		if hash && f.Given() {
			f.Fault("stands in a class of type: hash; write field: and the field's name")
		}
	}
	if name.Given() && !hash {
		name.Fault("stands in a class without type: hash; write json or regexp")
	}
	times := []string{"timestamp", "timestamp_ms", "rfc3339"}
	if isTime {
		if b.Require(kind, "timestamp, timestamp_ms or rfc3339") {
			out.Kind = kind.OneOf("", times...)
		}
		b.Done()
		return out
	}
	out.Kind = kind.OneOf("integer", append([]string{"integer"}, append(times, "dotted")...)...)
	skew := b.Get("max_clock_skew")
	out.MaxClockSkew = skew.Duration(out.MaxClockSkew)
	if skew.Given() && (out.Kind == "integer" || out.Kind == "dotted") {
		skew.Fault("goes with the kinds timestamp, timestamp_ms and rfc3339; leave it out")
	}
	b.Done()
	return out
}

// classLayer reads a layer's name, or a mapping with what differs there from common.
func (r *reader) classLayer(v form.Value, common ClassLayer, names []string, hash bool, seen map[string]bool) ClassLayer {
	out := common
	out.Key, _ = form.ParseTemplate("{key}")
	name, staleness := v, form.Value{}
	if v.IsMapping() {
		b := v.Block()
		name, staleness = b.Get("name"), b.Get("max_staleness")
		b.Require(name, "the layer's name")
		if key := b.Get("key"); key.Given() {
			out.Key = key.Template(names)
			if !out.Key.IsZero() && len(out.Key.Names()) == 0 {
				key.Fault("holds no {key}, so that all keys would be one; write it, or a name of match")
			}
		}
		decode, selects, absent := b.Get("decode"), b.Get("select"), b.Get("absent")
		if decode.Given() {
			out.Decode = readDecode(decode)
		}
		if selects.Given() {
			out.Select = selects.JSONPath()
		}
		if absent.Given() {
			out.Absent = absent.Regexp()
		}
		refuseForHash(hash, decode, selects, absent)
		b.Done()
	}
	if out.Name = name.Word("a layer's name"); out.Name != "" {
		if seen[out.Name] {
			name.Fault("%s stands twice; keep one", name.Quoted())
		}
		seen[out.Name] = true
		layers := r.config.Layers
		switch i := layerAt(layers, out.Name); {
		case i < 0:
			name.Fault("%s is no layer; write the name of one of the layers", name.Quoted())
		case hash && slices.ContainsFunc(layers[i].Nodes, func(n Node) bool { return !holdsHashes(n) }):
			only := r.kinds("or", func(k probes.Backend) bool { return k.NodeTraits.Hashes })
			name.Fault("%s has nodes that are no %s, and only %s holds a hash; leave the layer out, or type: hash", name.Quoted(), only, only)
		default:
			out.MaxStaleness = layers[i].MaxStaleness
		}
	}
	out.MaxStaleness = staleness.Duration(out.MaxStaleness)
	return out
}

// origin reads where the truth of a key is asked.
func (r *reader) origin(v form.Value, names []string) *Origin {
	b := v.Block()
	o := &Origin{}
	_, o.Source = choose(b, r.backends, "where the truth of a key is asked", func(k *probes.Backend) func(form.Value) probes.OriginSource {
		if k.Origin == nil {
			return nil
		}
		return func(block form.Value) probes.OriginSource { return k.Origin(block, names) }
	})
	o.Decode, o.Select = readDecode(b.Get("decode")), b.Get("select").JSONPath()
	o.MaxLag = b.Get("max_lag").Duration(0)
	o.MaxPerScrape = int(b.Get("max_per_scrape").Whole(50, mostKeys))
	b.Done()
	return o
}
