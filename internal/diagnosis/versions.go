package diagnosis

import (
	"cmp"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// compareVersions of an application or a server: 2.9.0 is older than 2.10.0, and 2.10.0-rc1 than both 2.10.0 and 2.10.0-rc2. What
// begins with no dotted number is older than what does, in the order of its text.
func compareVersions(a, b string) int {
	numberA, earlyA := release(a)
	numberB, earlyB := release(b)
	return cmp.Or(numberA.Compare(numberB), compareEarly(earlyA, earlyB), strings.Compare(a, b))
}

// release is the dotted number that a version begins with, and what makes it earlier than that (rc1). A build (+abc) does not.
func release(version string) (number content.Version, early string) {
	version, _, _ = strings.Cut(version, "+")
	version, early, _ = strings.Cut(version, "-")
	if number = content.ReadVersionOf("dotted", version); number.IsZero() {
		return number, ""
	}
	return number, early
}

// compareEarly releases of one number, by their names and the numbers at the end of these; without a name it is the last.
func compareEarly(a, b string) int {
	if a == "" || b == "" {
		return cmp.Compare(len(b), len(a))
	}
	const digits = ".0123456789"
	nameA, nameB := strings.TrimRight(a, digits), strings.TrimRight(b, digits)
	number := func(early, name string) content.Version {
		return content.ReadVersionOf("dotted", strings.TrimPrefix(early[len(name):], "."))
	}
	return cmp.Or(strings.Compare(nameA, nameB), number(a, nameA).Compare(number(b, nameB)))
}
