package content

import (
	"runtime"
	"strings"
	"testing"
)

// What reading a text takes is a small multiple of the text, whatever stands in it: a tree of a dense array would be dozens of times as
// large.
func TestDenseTextsTakeLittleMemory(t *testing.T) {
	const size = 256 << 10
	members := func(member string, i func(int) string) string {
		var b strings.Builder
		for n := 0; b.Len() < size; n++ {
			b.WriteString(strings.Replace(member, "#", i(n), 1))
		}
		return "{" + b.String() + `"z":0}`
	}
	for name, doc := range map[string]string{
		"numbers":        "[" + strings.Repeat("0,", size/2) + "0]",
		"arrays":         "[" + strings.Repeat("[],", size/3) + "[]]",
		"deep arrays":    "[" + strings.Repeat(strings.Repeat("[", 900)+strings.Repeat("]", 900)+",", size/1801) + "[]]",
		"objects":        "[" + strings.Repeat("{},", size/3) + "{}]",
		"members":        members(`"#":0,`, func(n int) string { return string([]byte{'a' + byte(n/676%26), 'a' + byte(n/26%26), 'a' + byte(n%26)}) }),
		"one name":       members(`"#":0,`, func(int) string { return "" }),
		"escaped":        "[" + strings.Repeat(`"\u0041",`, size/9) + "0]",
		"in the way":     `{"d":[` + strings.Repeat("0,", size/2) + `0],"v":1}`,
		"a text of JSON": `{"d":"[` + strings.Repeat("0,", size/2) + `0]"}`,
	} {
		for what, spec := range map[string]Spec{
			"whole":   {Version: &VersionSpec{JSON: "$.v"}},
			"select":  {Select: "$.d"},
			"ignore":  {Ignore: []string{"$[*].a", "$[0]", "$[-1]", "$.d[-1]"}},
			"compare": {Compare: []string{"$[0]", "$[-1]", "$.d[1]", "$.z"}, Ignore: []string{"$[1]"}},
		} {
			r, before := compile(t, spec), runtime.MemStats{}
			runtime.ReadMemStats(&before)
			_, _ = r.read([]byte(doc)) // some have nothing at the path
			after := runtime.MemStats{}
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > 16*uint64(len(doc)) {
				t.Errorf("%s, %s: reading %d bytes took %d", name, what, len(doc), took)
			}
		}
	}
}
