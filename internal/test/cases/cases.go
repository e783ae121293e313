// Package cases holds situations of one key each and the states that they must give, for tests: played
// against nodes in memory they test the verdict, played on real servers the whole exporter.
//
// [All] gives the cases. A [Case] is steps that a [World] plays, with the states that are expected after each.
package cases

import (
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

//go:embed cases.json
var data []byte

// Case is one situation.
type Case struct {
	Name   string         `json:"name"`
	Why    string         `json:"why"`
	Layers []Layer        `json:"layers"`
	Class  map[string]any `json:"class"`
	Steps  []Step         `json:"steps"`
}

// Layer of a case.
type Layer struct {
	Name         string `json:"name"`
	TTL          string `json:"ttl"`
	MaxStaleness string `json:"max_staleness"`
	Nodes        []Node `json:"nodes"`
}

// Node of a case. Group and ReplicaOf say who replicates whom.
type Node struct {
	Name, Kind, Group string
	ReplicaOf         string `json:"replica_of"`
}

// Step is some operations and the scrape after them.
type Step struct {
	Do     []Operation `json:"do"`
	Scrape Expected    `json:"scrape"`
}

// Operation on a node, on the origin, or on time.
type Operation struct {
	Set         string          `json:"set"`
	Value       json.RawMessage `json:"value"`
	TTLSeconds  int             `json:"ttl_seconds"`
	Delete      string          `json:"delete"`
	Cut         string          `json:"cut"`
	Freeze      string          `json:"freeze"`
	Thaw        string          `json:"thaw"`
	Origin      json.RawMessage `json:"origin"`
	WaitSeconds float64         `json:"wait_seconds"`
	// Others names a node that gets Count other keys.
	Others string `json:"others"`
	Count  int    `json:"count"`
}

// Value of a copy: exactly one of the fields is meant; Status is an HTTP status without content (0: none).
type Value struct {
	Bytes  []byte
	Hash   map[string]string
	List   []string
	Status int
	// Nonce: another body on each request. Serial: the same on all such nodes that were asked as often.
	Nonce, Serial bool
}

// Expected is what a scrape shows of the case's class.
type Expected struct {
	States             map[string]string `json:"states"`
	Reference          map[string]int    `json:"reference"`
	Overdue            []string          `json:"overdue"`
	VersionConflicts   *int              `json:"version_conflict_keys"`
	VersionRegressions *int              `json:"version_regressions_total"`
	OriginBehind       *int              `json:"origin_behind_keys"`
	DivergentKeys      *int              `json:"divergent_keys"`
	// Survivors are nodes with one that counts; nil: any.
	Survivors []string `json:"survivors"`
	// ReferenceOpen are references of which any may count the key.
	ReferenceOpen []string `json:"reference_open"`
}

// World is where a case is played. Time is Wait's.
type World interface {
	Set(node Node, v Value, ttl time.Duration)
	Delete(node Node)
	// Cut ends a replica's replication; it keeps what it has.
	Cut(node Node)
	Freeze(node Node)
	Thaw(node Node)
	// Others puts so many other keys on the node.
	Others(node Node, count int)
	// Origin answers with body, or with a status.
	Origin(body string, status int)
	Wait(d time.Duration)
	// Settle waits until replicas have what their primaries have, cut ones aside.
	Settle()
	// Scrape gives what the exporter shows of class; nodes are named as in the case.
	Scrape() Expected
}

// All cases.
func All(t testing.TB) []Case {
	t.Helper()
	var file struct {
		Cases []Case `json:"cases"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file.Cases
}

// Node of the case by its name.
func (c *Case) Node(t testing.TB, name string) Node {
	t.Helper()
	for _, l := range c.Layers {
		for _, n := range l.Nodes {
			if n.Name == name {
				return n
			}
		}
	}
	t.Fatalf("case %q has no node %q", c.Name, name)
	return Node{}
}

// HasVersions and HasOrigin of the case's class.
func (c *Case) HasVersions() bool { return c.Class["version"] != nil }

// HasOrigin of the case's class.
func (c *Case) HasOrigin() bool { return c.Class["origin"] != nil }

// Config is the exporter's configuration for the case: YAML, of which JSON is a part. address gives host:port of
// a node; a URL for an HTTP node and the origin is made of it.
func (c *Case) Config(class, key string, address func(Node) string, origin string) []byte {
	var layers []any
	for _, l := range c.Layers {
		var nodes []any
		for _, n := range l.Nodes {
			switch {
			case n.Kind == "http":
				nodes = append(nodes, map[string]any{"name": n.Name, "http": map[string]any{"url": "http://" + address(n) + "/{key}"}})
			case n.Kind == "memcached":
				nodes = append(nodes, map[string]any{"name": n.Name, "memcached": map[string]any{"address": address(n)}})
			case n.Group != "" && n.ReplicaOf == "":
				nodes = append(nodes, map[string]any{"name": n.Group, "redis": map[string]any{"replication": []string{address(n)}}})
			case n.ReplicaOf == "":
				nodes = append(nodes, map[string]any{"name": n.Name, "redis": map[string]any{"address": address(n)}})
			}
		}
		layer := map[string]any{"name": l.Name, "ttl": l.TTL, "nodes": nodes}
		if l.MaxStaleness != "" {
			layer["max_staleness"] = l.MaxStaleness
		}
		layers = append(layers, layer)
	}
	canary := maps.Clone(c.Class)
	canary["class"] = class
	canary["keys"] = []string{key}
	if o, ok := canary["origin"].(map[string]any); ok {
		o = maps.Clone(o)
		o["http"] = map[string]any{"url": origin}
		canary["origin"] = o
	}
	out, err := json.MarshalIndent(map[string]any{"layers": layers, "canaries": []any{canary}}, "", " ")
	if err != nil {
		panic(err)
	}
	return out
}

// Play a case in a world; every scrape must show what is expected.
func (c *Case) Play(t testing.TB, w World) {
	t.Helper()
	start := time.Now()
	regressions := 0
	for i, s := range c.Steps {
		for _, o := range s.Do {
			c.do(t, w, o, start)
		}
		w.Settle()
		got := w.Scrape()
		if i == 0 && got.VersionRegressions != nil && s.Scrape.VersionRegressions != nil {
			regressions = *got.VersionRegressions - *s.Scrape.VersionRegressions
		}
		if got.VersionRegressions != nil {
			*got.VersionRegressions -= regressions
		}
		if faults := s.Scrape.differences(got); len(faults) > 0 {
			t.Errorf("%s (%s), step %d:\n  %s", c.Name, c.Why, i+1, strings.Join(faults, "\n  "))
		}
	}
}

func (c *Case) do(t testing.TB, w World, o Operation, start time.Time) {
	t.Helper()
	switch {
	case o.Set != "":
		w.Set(c.Node(t, o.Set), parseValue(t, o.Value, start), time.Duration(o.TTLSeconds)*time.Second)
	case o.Delete != "":
		w.Delete(c.Node(t, o.Delete))
	case o.Cut != "":
		w.Settle()
		w.Cut(c.Node(t, o.Cut))
	case o.Freeze != "":
		w.Freeze(c.Node(t, o.Freeze))
	case o.Thaw != "":
		w.Thaw(c.Node(t, o.Thaw))
	case o.Others != "":
		w.Others(c.Node(t, o.Others), o.Count)
	case o.WaitSeconds > 0:
		w.Wait(time.Duration(o.WaitSeconds * float64(time.Second)))
	case o.Origin != nil:
		var status int
		if json.Unmarshal(o.Origin, &status) == nil {
			w.Origin("", status)
			return
		}
		var body string
		if err := json.Unmarshal(o.Origin, &body); err != nil {
			t.Fatal(err)
		}
		w.Origin(times(body, start), 200)
	default:
		t.Fatalf("case %q: an operation that says nothing", c.Name)
	}
}

func parseValue(t testing.TB, raw json.RawMessage, start time.Time) Value {
	t.Helper()
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return Value{Bytes: []byte(times(text, start))}
	}
	var v struct {
		Hash   map[string]string
		List   []string
		Base64 *string
		Status int
		Nonce  bool
		Serial bool
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	out := Value{Hash: v.Hash, List: v.List, Status: v.Status, Nonce: v.Nonce, Serial: v.Serial}
	if v.Base64 != nil {
		var err error
		if out.Bytes, err = base64.StdEncoding.DecodeString(*v.Base64); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

var placeholder = regexp.MustCompile(`@(ms|s|rfc3339)([+-]\d+)@`)

// times fills in @ms-60@ and the like.
func times(text string, start time.Time) string {
	return placeholder.ReplaceAllStringFunc(text, func(s string) string {
		m := placeholder.FindStringSubmatch(s)
		seconds, err := strconv.Atoi(m[2])
		if err != nil {
			return s
		}
		at := start.Add(time.Duration(seconds) * time.Second)
		switch m[1] {
		case "ms":
			return strconv.FormatInt(at.UnixMilli(), 10)
		case "s":
			return strconv.FormatInt(at.Unix(), 10)
		}
		return at.Format(time.RFC3339)
	})
}

func (e Expected) differences(got Expected) []string {
	var faults []string
	for _, node := range slices.Sorted(maps.Keys(e.States)) {
		if got.States[node] != e.States[node] {
			faults = append(faults, fmt.Sprintf("node %s is %q, not %q", node, got.States[node], e.States[node]))
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(e.Reference)) {
		if slices.Contains(e.ReferenceOpen, ref) {
			continue
		}
		if got.Reference[ref] != e.Reference[ref] {
			faults = append(faults, fmt.Sprintf("%d keys by %s, not %d", got.Reference[ref], ref, e.Reference[ref]))
		}
	}
	if want, have := slices.Sorted(slices.Values(e.Overdue)), slices.Sorted(slices.Values(got.Overdue)); !slices.Equal(want, have) {
		faults = append(faults, fmt.Sprintf("overdue are %v, not %v", have, want))
	}
	if want, have := slices.Sorted(slices.Values(e.Survivors)), slices.Sorted(slices.Values(got.Survivors)); e.Survivors != nil && !slices.Equal(want, have) {
		faults = append(faults, fmt.Sprintf("survivors are on %v, not %v", have, want))
	}
	for _, c := range []struct {
		name      string
		want, got *int
	}{
		{"divergent_keys", e.DivergentKeys, got.DivergentKeys},
		{"version_conflict_keys", e.VersionConflicts, got.VersionConflicts},
		{"version_regressions_total", e.VersionRegressions, got.VersionRegressions},
		{"origin_behind_keys", e.OriginBehind, got.OriginBehind},
	} {
		switch {
		case c.want == nil:
		case c.got == nil:
			faults = append(faults, c.name+" is absent")
		case *c.want != *c.got:
			faults = append(faults, fmt.Sprintf("%s is %d, not %d", c.name, *c.got, *c.want))
		}
	}
	return faults
}
