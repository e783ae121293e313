package bundle

import (
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// repository is where the files that the bundle does not have can be read.
const repository = "https://github.com/cacheinv/cacheinv_exporter/blob/main/"

// link of Markdown, up to its target.
var link = regexp.MustCompile(`(\]\()([^()\s]+)(\))`)

// relink points the relative links of a page, which is at these paths in the repository and in the bundle, to what the bundle has, and
// else to the repository. known has the paths of all files of the bundle by those in the repository.
func relink(text, from, to string, known map[string]string) string {
	return link.ReplaceAllStringFunc(text, func(whole string) string {
		target := link.FindStringSubmatch(whole)[2]
		if strings.HasPrefix(target, "#") || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
			return whole
		}
		name, fragment, hasFragment := strings.Cut(target, "#")
		there := path.Join(path.Dir(from), name)
		url := repository + there
		if inside, ok := known[there]; ok {
			if below, err := filepath.Rel(path.Dir(to), inside); err == nil {
				url = filepath.ToSlash(below)
			}
		}
		if hasFragment {
			url += "#" + fragment
		}
		return "](" + url + ")"
	})
}
