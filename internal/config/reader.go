package config

import (
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// reader reads one file. Of the backends it knows only the roles.
type reader struct {
	backends []probes.Backend
	// config is what was read so far.
	config *Config
	// queueApps are the fields app of queues, which name what comes later in the file.
	queueApps []form.Value
}

// backend of a kind; an empty one where there is none.
func (r *reader) backend(kind string) probes.Backend {
	for _, k := range r.backends {
		if k.Name == kind {
			return k
		}
	}
	return probes.Backend{}
}

// kinds of the backends of which is true, as words of a sentence: redis, memcached and http.
func (r *reader) kinds(word string, is func(probes.Backend) bool) string {
	var names []string
	for _, k := range r.backends {
		if is(k) {
			names = append(names, k.Name)
		}
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " " + word + " " + names[last]
}

// choose reads the field that names a backend, of those that play a role; exactly one is to be given. what stands below it,
// and role gives how a backend's block is read, or nil where it does not play the role.
func choose[S any](b *form.Block, backends []probes.Backend, what string, role func(*probes.Backend) func(form.Value) S) (kind string, source S) {
	var names []string
	var fields []form.Value
	var reads []func(form.Value) S
	for i := range backends {
		if read := role(&backends[i]); read != nil {
			name := backends[i].Name
			names, fields, reads = append(names, name), append(fields, b.Get(name)), append(reads, read)
		}
	}
	if len(fields) == 1 {
		b.Require(fields[0], names[0]+": and, below it, "+what)
	} else {
		b.ExactlyOne(fields...)
	}
	for i, field := range fields {
		if field.Given() {
			kind, source = names[i], reads[i](field)
		}
	}
	return kind, source
}
