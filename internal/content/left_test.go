package content

import (
	"errors"
	"regexp"
	"testing"
)

func TestLeft(t *testing.T) {
	for name, c := range map[string]struct {
		spec        Spec
		value, want string
		err         error
	}{
		"all":        {Spec{}, " {\"a\": 1.0}\n", " {\"a\": 1.0}\n", nil},
		"no JSON":    {Spec{}, "text\x00\xff", "text\x00\xff", nil},
		"decoded":    {Spec{Decode: []string{"base64"}}, "dGV4dA==", "text", nil},
		"a part":     {Spec{Select: "$.data"}, `{"data": {"b":2, "a": [1.50]}}`, `{"b":2, "a": [1.50]}`, nil},
		"a string":   {Spec{Select: "$.data"}, `{"data":"x\n\"y"}`, "x\n\"y", nil},
		"ignored":    {Spec{Ignore: []string{"$.a"}}, `{"a":1,"b":2}`, `{"a":1,"b":2}`, nil},
		"absent":     {Spec{Absent: regexp.MustCompile("^null$"), Select: "$.data"}, `{"data":null}`, "", ErrAbsent},
		"no part":    {Spec{Select: "$.data"}, `{}`, "", errSelectNothing},
		"not a part": {Spec{Select: "$.data"}, `text`, "", errSelectNoJSON},
	} {
		r, err := Compile(c.spec)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Left([]byte(c.value))
		if string(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q (%v), want %q (%v)", name, got, err, c.want, c.err)
		}
	}
}
