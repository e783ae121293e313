package config

import (
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// history reads one history of invalidation attempts.
func (r *reader) history(v form.Value, histories form.Taken) History {
	b := v.Block()
	h := History{}
	name := b.Get("name")
	if b.Require(name, "the history's name") {
		h.Name = name.Name("the history's name")
		histories.Add(name, h.Name, "history")
	}
	_, h.Source = choose(b, r.backends, "where attempts are recorded", func(k *probes.Backend) func(form.Value) probes.HistorySource { return k.History })
	b.Done()
	return h
}
