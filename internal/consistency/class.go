package consistency

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/glob"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// class is a canary class, ready to be read.
type class struct {
	config.Class
	// layerOf a name is the class's own index of a layer, by which policies (max_staleness) and perLayer are in order.
	layerOf  map[string]int
	policies []time.Duration
	perLayer []layerSpec
	origin   probes.Origin
	reader   *content.Reader // of the origin's answers
	// ttl for which a confirmed version is remembered; 0: for ever.
	ttl time.Duration
	// literal is 1 and the index of each literal key; 0: it is none.
	literal map[string]int
	memory  *classMemory
	// sampled keys of the pattern; nil: there is none. Nodes list keys while another configuration is opened, so that it is the class's own.
	sampled *sampledKeys
}

// layerSpec is how a class's copies are read in one layer.
type layerSpec struct {
	reader *content.Reader
	// ttl of the layer; 0: no expiry.
	ttl time.Duration
	// identity is what contents of the layer depend on.
	identity string
}

// open makes a class ready, with what is remembered of it.
func (s *Sampler) open(c config.Class) (*class, error) {
	k := &class{Class: c, layerOf: map[string]int{}, literal: map[string]int{}}
	for i, key := range c.Keys {
		k.literal[key] = i + 1
	}
	spec := content.Spec{Compare: c.Compare, Ignore: c.Ignore, MaxBytes: s.env.MaxValueBytes}
	spec.Version, spec.CachedAt = versionSpec(c.Version), versionSpec(c.CachedAt)
	for i, l := range c.Layers {
		k.layerOf[l.Name] = i
		k.policies = append(k.policies, l.MaxStaleness)
		own := spec
		own.Decode, own.Select, own.Absent = l.Decode, l.Select, l.Absent
		r, err := content.Compile(own)
		if err != nil {
			return nil, err
		}
		k.perLayer = append(k.perLayer, layerSpec{
			reader: r, ttl: s.layers[l.Name].TTL, identity: layerIdentity(l),
		})
	}
	k.ttl = longestTTL(k.perLayer)
	if c.Origin != nil {
		own := spec
		own.Decode, own.Select, own.Absent, own.MaxBytes = c.Origin.Decode, c.Origin.Select, c.Absent, s.env.MaxBody
		var err error
		if k.reader, err = content.Compile(own); err != nil {
			return nil, err
		}
		if k.origin, err = c.Origin.Source.Open(s.env); err != nil {
			return nil, err
		}
	}
	k.memory = s.memory.class(c.Name, identity(c), time.Now())
	k.memory.askedThrough(c.Origin)
	switch {
	case c.Pattern == "":
		k.memory.sampled = nil
	case k.memory.sampled == nil:
		k.memory.sampled = newSampledKeys(s.opt.DigestKey, c.Sample)
	default: // a reload keeps the choice
		k.memory.sampled = k.memory.sampled.resized(s.opt.DigestKey, c.Sample, k.takes, k.memory.inEpisode)
	}
	k.sampled = k.memory.sampled
	return k, nil
}

// longestTTL of the layers; 0: in one of them copies do not expire.
func longestTTL(layers []layerSpec) time.Duration {
	longest := time.Duration(0)
	for _, l := range layers {
		if l.ttl == 0 {
			return 0
		}
		longest = max(longest, l.ttl)
	}
	return longest
}

// identity is what contents and versions of a class depend on in every layer.
func identity(c config.Class) string {
	return fmt.Sprintf("%t %v %v %q %q", c.Hash, versionText(c.Version), versionText(c.CachedAt), c.Ignore, c.Compare)
}

// layerIdentity is what contents of a class depend on in a layer.
func layerIdentity(l config.ClassLayer) string {
	return fmt.Sprintf("%s %q %q %q %v", l.Name, l.Key.String(), l.Decode, l.Select, l.Absent)
}

// ContentsOf a class is a text that is the same where what is remembered of its copies can be compared with copies of it.
func ContentsOf(c config.Class) string {
	text := identity(c)
	for _, l := range c.Layers {
		text += "\x00" + layerIdentity(l)
	}
	return text
}

// memoryOn a node is where the class's copies there are remembered. A layer that is decoded otherwise than before begins
// anew.
func (c *class) memoryOn(n *NodeResult, layer int, at time.Time) memoryAt {
	return c.memory.indexOf(c.perLayer[layer].identity+"\x00"+n.Name, at)
}

// nodeOf is the node's name in that of an index.
func nodeOf(index string) string { return index[strings.LastIndexByte(index, 0)+1:] }

// takes says whether the class's pattern is for this key.
func (c *class) takes(key string) bool {
	return c.literal[key] == 0 && glob.Match(c.Pattern, key) && (c.Match == nil || c.Match.MatchString(key))
}

// hasCanaries: keys of the class are read on every scrape.
func (c *class) hasCanaries() bool { return len(c.Keys) > 0 || c.Pattern != "" }

// known keys of the class.
func (c *class) known() []string {
	out := slices.Clone(c.Keys)
	if c.sampled != nil {
		out = append(out, c.sampled.keys()...)
	}
	return out
}

func versionText(v *config.Version) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf("%q %v %q %s", v.JSON, v.Regexp, v.Field, v.Kind)
}

func versionSpec(v *config.Version) *content.VersionSpec {
	if v == nil {
		return nil
	}
	return &content.VersionSpec{JSON: v.JSON, Regexp: v.Regexp, Field: v.Field, Kind: v.Kind}
}

// vars are what a template of the class may name for a key.
func (c *class) vars(key string) map[string]string {
	vars := map[string]string{"key": key}
	if c.Match != nil {
		if groups := c.Match.FindStringSubmatch(key); groups != nil {
			for i, name := range c.Match.SubexpNames() {
				if name != "" {
					vars[name] = groups[i]
				}
			}
		}
	}
	return vars
}

// digest turns a raw copy into an observation.
func (c *class) digest(reader *content.Reader, raw probes.Raw, now time.Time) reading {
	out := reading{ttl: raw.TTL, hasTTL: raw.HasTTL, noExpiry: raw.NoExpiry, suspect: raw.Suspect}
	switch {
	case raw.Err != nil:
		out.detail = &detail{err: raw.Err}
		return out
	case !raw.Present:
		out.Presence = verdict.Absent
		return out
	}
	var got content.Content
	var err error
	if c.Hash {
		fields := make([]content.Field, len(raw.Fields))
		for i, f := range raw.Fields {
			fields[i] = content.Field{Name: f.Name, Value: f.Value}
		}
		got, err = reader.Fields(fields)
	} else {
		got, err = reader.Value(raw.Value)
	}
	switch {
	case errors.Is(err, content.ErrAbsent): // what is left to live is the marker's, not a copy's
		return reading{Observation: verdict.Observation{Presence: verdict.Absent}, suspect: raw.Suspect}
	case err != nil:
		out.detail = &detail{err: err}
		return out
	}
	out.Presence, out.Content = verdict.Present, got.Digest
	out.unversioned = c.Version != nil && got.Version.IsZero()
	out.Version, out.Future = c.trust(got.Version, now)
	if !got.CachedAt.IsZero() {
		out.cachedAt = got.CachedAt.UnixNano()
	}
	return out
}

// trust drops a timestamp that lies further in the future than clocks may differ.
func (c *class) trust(v content.Version, now time.Time) (trusted content.Version, future bool) {
	if c.Version == nil {
		return content.Version{}, false
	}
	if at, ok := v.Time(); ok && at.After(now.Add(c.Version.MaxClockSkew)) {
		return content.Version{}, true
	}
	return v, false
}

// tooOld: made longer than max_age ago, unless the origin held the same content at most max_age ago.
func (c *class) tooOld(o *reading, h *keyMemory, now time.Time) bool {
	if c.MaxAge == 0 || o.cachedAt == 0 || now.Sub(time.Unix(0, o.cachedAt)) <= c.MaxAge {
		return false
	}
	vouched := h != nil && !h.originAt.IsZero() && h.originContent == o.Content && now.Sub(h.originAt) <= c.MaxAge
	return !vouched
}
