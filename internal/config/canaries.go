package config

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// mostKeys of one class in one scrape: far above what a scrape has time for.
const mostKeys = 1_000_000

// class of canaries; layers are those that it may name.
func (v value) class(layers []Layer, classes taken) Class {
	s := v.section()
	k := Class{}
	name := s.get("class")
	if s.require(name, "the class's name, such as user_profile") {
		k.Name = name.name("the class's name, such as user_profile")
		classes.add(name, k.Name, "class")
	}
	names := s.keys(&k)
	typ := s.get("type")
	k.Hash = typ.oneOf("string", "string", "hash") == "hash"
	k.Version, k.CachedAt = s.get("version").version(k.Hash, false), s.get("cached_at").version(k.Hash, true)
	age := s.get("max_age")
	const oldest = "how old a copy may be, such as 10m"
	if text, ok := age.text(oldest); ok {
		k.MaxAge = age.parsePositive(text, oldest)
	}
	if age.given() && k.CachedAt == nil {
		age.fault("stands without cached_at; write where a copy says when it was made")
	}
	ignore, compare := s.get("ignore"), s.get("compare")
	k.Ignore, k.Compare = ignore.comparePaths(k.Hash), compare.comparePaths(k.Hash)
	if ignore.given() && compare.given() {
		compare.fault("stands beside ignore; keep one of them")
	}
	decode, selects := s.get("decode"), s.get("select")
	common := ClassLayer{Decode: decode.decode(), Select: selects.jsonPath()}
	refuseForHash(k.Hash, decode, selects)
	list := s.get("layers")
	s.require(list, "the layers that hold these keys")
	seen := map[string]bool{}
	for _, item := range list.list("layers") {
		k.Layers = append(k.Layers, item.classLayer(layers, common, names, k.Hash, seen))
	}
	if pattern := s.get("pattern"); k.Pattern != "" && !listable(k.Layers, layers) {
		pattern.fault("is in no layer that can list keys; name a layer of redis or memcached nodes, whose key holds {key} and no other name")
	}
	if origin := s.get("origin"); origin.given() {
		k.Origin = origin.origin(names)
		if k.Hash {
			origin.fault("stands beside type: hash, and a body can't be compared with fields; leave it out")
		}
	}
	s.done()
	return k
}

// keys reads which keys a class has, and the names that templates may use for their parts; nil: any.
func (s *section) keys(k *Class) (names []string) {
	keys, pattern, sample, match := s.get("keys"), s.get("pattern"), s.get("sample"), s.get("match")
	if s.ok && !keys.given() && !pattern.given() {
		s.reader.fault(s.node.Line, s.path, "has neither keys nor pattern; write keys to read on every scrape, a pattern, or both")
	}
	var items []value
	k.Keys, items = keys.words("keys", "a key")
	k.Pattern = pattern.word("a pattern such as user:*:profile")
	k.Sample = int(sample.whole(100, mostKeys))
	if sample.given() && !pattern.given() {
		sample.fault("stands without pattern; write one, or leave sample out, since literal keys are all read")
	}
	if !match.given() {
		return []string{"key"}
	}
	if k.Match = match.regexp(); k.Match == nil {
		return nil
	}
	names = []string{"key"}
	for _, n := range k.Match.SubexpNames() {
		if n == "key" {
			match.fault("names a part {key}, which is the whole key; write another name")
		} else if n != "" {
			names = append(names, n)
		}
	}
	for i, key := range k.Keys {
		if key != "" && !k.Match.MatchString(key) {
			items[i].fault("%s does not match the class's match; mend the key or the expression", items[i].quoted())
		}
	}
	return names
}

// listable: some layer's nodes can list the class's keys. What has had a fault counts as such.
func listable(own []ClassLayer, layers []Layer) bool {
	return len(own) == 0 || slices.ContainsFunc(own, func(cl ClassLayer) bool {
		i := layerAt(layers, cl.Name)
		if i < 0 || cl.Key.IsZero() {
			return true
		}
		names, nodes := cl.Key.Names(), layers[i].Nodes
		return len(names) == 1 && names[0] == "key" && slices.ContainsFunc(nodes, func(n Node) bool { return n.HTTP == nil })
	})
}

func layerAt(layers []Layer, name string) int {
	return slices.IndexFunc(layers, func(l Layer) bool { return l.Name == name })
}

func refuseForHash(hash bool, fields ...value) {
	for _, f := range fields {
		if hash && f.given() {
			f.fault("stands beside type: hash, whose fields are compared as they are; leave it out")
		}
	}
}

// fieldPath is a path that names one field of a hash.
var fieldPath = regexp.MustCompile(`^\$(\.[^.\[]+|\[[^\[]+\])$`)

// comparePaths of compare and ignore; of a hash they name fields.
func (v value) comparePaths(hash bool) []string {
	words, items := v.words("paths", "a path such as $.trace_id")
	var out []string
	for i, s := range words {
		switch item := items[i]; {
		case s == "":
			continue
		case hash && !strings.HasPrefix(s, "$"):
		case item.checkPath(s, true) == "":
			continue
		case s == "$":
			item.fault("is all of the content; write the paths of parts of it")
			continue
		case hash && !fieldPath.MatchString(s):
			item.fault("%s goes deeper than a hash's fields; write the name of a field", item.quoted())
			continue
		}
		out = append(out, s)
	}
	return out
}

func (v value) decode() []string {
	var out []string
	for _, item := range v.list("decode steps") {
		if step := item.oneOf("", "gzip", "zlib", "zstd", "snappy", "base64"); step != "" {
			out = append(out, step)
		}
	}
	return out
}

// version reads where a version stands, or the time of cached_at.
func (v value) version(hash, isTime bool) *Version {
	if !v.given() {
		return nil
	}
	s := v.section()
	out := &Version{MaxClockSkew: 5 * time.Second}
	json, re, name, kind := s.get("json"), s.get("regexp"), s.get("field"), s.get("kind")
	s.exactlyOne(json, re, name)
	out.JSON, out.Regexp, out.Field = json.jsonPath(), re.regexp(), name.word("the name of a hash's field")
	if out.Regexp != nil && out.Regexp.NumSubexp() == 0 {
		re.fault("has no group; write parentheses around what is meant")
	}
	for _, f := range []value{json, re} {
		if hash && f.given() {
			f.fault("stands in a class of type: hash; write field: and the field's name")
		}
	}
	if name.given() && !hash {
		name.fault("stands in a class without type: hash; write json or regexp")
	}
	times := []string{"timestamp", "timestamp_ms", "rfc3339"}
	if isTime {
		if s.require(kind, "timestamp, timestamp_ms or rfc3339") {
			out.Kind = kind.oneOf("", times...)
		}
		s.done()
		return out
	}
	out.Kind = kind.oneOf("integer", append([]string{"integer"}, append(times, "dotted")...)...)
	skew := s.get("max_clock_skew")
	out.MaxClockSkew = skew.duration(out.MaxClockSkew)
	if skew.given() && (out.Kind == "integer" || out.Kind == "dotted") {
		skew.fault("goes with the kinds timestamp, timestamp_ms and rfc3339; leave it out")
	}
	s.done()
	return out
}

// classLayer is a layer's name, or a mapping with what differs there from common.
func (v value) classLayer(layers []Layer, common ClassLayer, names []string, hash bool, seen map[string]bool) ClassLayer {
	out := common
	out.Key, _ = ParseTemplate("{key}")
	name, staleness := v, value{}
	if v.node.Kind == yaml.MappingNode {
		s := v.section()
		name, staleness = s.get("name"), s.get("max_staleness")
		s.require(name, "the layer's name")
		if key := s.get("key"); key.given() {
			out.Key = key.template(names)
			if !out.Key.IsZero() && len(out.Key.Names()) == 0 {
				key.fault("holds no {key}, so that all keys would be one; write it, or a name of match")
			}
		}
		decode, selects := s.get("decode"), s.get("select")
		if decode.given() {
			out.Decode = decode.decode()
		}
		if selects.given() {
			out.Select = selects.jsonPath()
		}
		refuseForHash(hash, decode, selects)
		s.done()
	}
	if out.Name = name.word("a layer's name"); out.Name != "" {
		if seen[out.Name] {
			name.fault("%s stands twice; keep one", name.quoted())
		}
		seen[out.Name] = true
		switch i := layerAt(layers, out.Name); {
		case i < 0:
			name.fault("%s is no layer; write the name of one of the layers", name.quoted())
		case hash && slices.ContainsFunc(layers[i].Nodes, func(n Node) bool { return n.Memcached != nil || n.HTTP != nil }):
			name.fault("%s has nodes that are no redis, and only redis holds a hash; leave the layer out, or type: hash", name.quoted())
		default:
			out.MaxStaleness = layers[i].MaxStaleness
		}
	}
	out.MaxStaleness = staleness.duration(out.MaxStaleness)
	return out
}

// origin reads where the truth of a key is asked.
func (v value) origin(names []string) *Origin {
	s := v.section()
	o := &Origin{}
	http := s.get("http")
	if s.require(http, "http: {url: …} with the URL of the truth, such as http://app/api/users/{key}") {
		t := http.section()
		u := t.get("url")
		if t.require(u, "the URL of the truth, such as http://app/api/users/{key}") {
			o.URL = u.urlTemplate(names)
			if !o.URL.IsZero() && len(o.URL.Names()) == 0 {
				u.fault("holds no {key}; write it, or a name of match, where the key stands")
			}
		}
		o.Client = t.client()
		o.Headers = t.headers(o.Client)
		t.done()
	}
	o.Decode, o.Select = s.get("decode").decode(), s.get("select").jsonPath()
	o.MaxLag = s.get("max_lag").duration(0)
	o.MaxPerScrape = int(s.get("max_per_scrape").whole(50, mostKeys))
	s.done()
	return o
}
