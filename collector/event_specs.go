package collector

import (
	"fmt"
	"slices"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/events"
	"github.com/cacheinv/cacheinv_exporter/internal/glob"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// eventSpecs say what is followed of the queues for which classes; known gives the keys of a class that are known.
func eventSpecs(cfg *config.Config, known func(class string) []string) (out []events.Spec) {
	for i := range cfg.Canaries {
		if k := &cfg.Canaries[i]; k.Events != nil {
			out = append(out, eventSpec(cfg, k, known))
		}
	}
	return out
}

func eventSpec(cfg *config.Config, k *config.Class, known func(class string) []string) events.Spec {
	e := k.Events
	out := events.Spec{
		Class: k.Name, Queue: e.Queue, Keys: e.Keys, Vars: e.Vars, Version: e.Version, Patterns: e.Patterns, Takes: takesKey(k),
		Known:   func() []string { return known(k.Name) },
		Reading: readingOf(k),
		Sample:  e.Sample, Within: e.Within, Group: e.Group, TTLMin: e.TTLMin, Contents: consistency.ContentsOf(*k),
	}
	if i := slices.IndexFunc(cfg.Queues, func(q config.Queue) bool { return q.Name == e.Queue }); i >= 0 {
		q := &cfg.Queues[i]
		out.Message, out.Source = q.Message, q.Source.Kind()+" "+q.Source.On()+" "+q.Source.Command(probes.QueueLook{})
		out.Reading += fmt.Sprintf(" %+v", q.Message)
	}
	if k.Version != nil {
		out.VersionKind, out.MaxClockSkew = k.Version.Kind, k.Version.MaxClockSkew
	}
	for _, w := range e.Windows {
		out.Windows = append(out.Windows, events.Window{Label: w.Text, Age: w.Age})
	}
	for _, l := range k.Layers {
		out.Layers = append(out.Layers, events.Layer{Name: l.Name, MaxStaleness: l.MaxStaleness})
	}
	return out
}

// readingOf a class is what its events depend on besides the queue.
func readingOf(k *config.Class) string {
	e := k.Events
	return fmt.Sprintf("%v %q %q %q %v %q %q", e.Keys, e.Vars, e.Version, e.Patterns, k.Match, k.Pattern, e.Group)
}

// takesKey says which keys that messages name are the class's: those that match; without match and keys of events those that the class
// reads itself; nil: each is.
func takesKey(k *config.Class) func(string) bool {
	switch {
	case k.Match != nil:
		return k.Match.MatchString
	case k.Pattern != "" && len(k.Events.Keys) == 0:
		literal := map[string]bool{}
		for _, key := range k.Keys {
			literal[key] = true
		}
		return func(key string) bool { return literal[key] || glob.Match(k.Pattern, key) }
	}
	return nil
}
