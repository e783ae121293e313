package diagnosis

import "slices"

// checked is the id under which all event checks of a subject are remembered; they have no weight.
func checked(subject string) string { return "events_checked " + subject }

func eventSubject(class, node string) string { return class + "/" + node }

// nodeChecks are the checks of a class on one node, over the last minutes.
type nodeChecks struct {
	EventNode
	all float64
}

// share of the checks; of few it is a share of least_checks.
func (n *nodeChecks) share(part float64) float64 { return part / max(n.all, leastChecks.Value) }

// events: one node whose copies survive what reaches its peers is not reached, and where they survive on all of them, nothing was sent
// that deletes them. An instance of another version than most handles them in its own way: its version explains what survives there.
func (s *finder) events() {
	for i := range s.e.Events {
		c := &s.e.Events[i]
		byLayer := map[string][]nodeChecks{}
		var layers []string
		for _, n := range c.Nodes {
			subject := eventSubject(c.Class, n.Node)
			n.Survived, n.Restored = s.recent(eventsMissed.id(subject), n.Survived), s.recent(eventsRestored.id(subject), n.Restored)
			n.Waiting = s.recent(eventsWait.id(subject), n.Waiting)
			all := s.recent(checked(subject), n.Good+n.Survived+n.Restored+n.Waiting)
			if all == 0 {
				continue
			}
			if !slices.Contains(layers, n.Layer) {
				layers = append(layers, n.Layer)
			}
			byLayer[n.Layer] = append(byLayer[n.Layer], nodeChecks{n, all})
		}
		for _, layer := range layers {
			s.layerEvents(c.Class, byLayer[layer])
		}
	}
}

// layerEvents of a class on the nodes of one layer.
func (s *finder) layerEvents(class string, nodes []nodeChecks) {
	odd := minorities(s.e)
	reached := slices.ContainsFunc(nodes, func(n nodeChecks) bool { return n.share(n.Survived) < eventsMissed.Start })
	for _, n := range nodes {
		at := class + " on " + n.Layer + " " + n.Node
		of := func(part float64) string { return Count(part) + " of " + Count(n.all) + " copies that were looked at" }
		subject := eventSubject(class, n.Node)
		switch {
		case reached && odd[n.Node] != "":
		case reached:
			s.add(eventsMissed, subject, n.share(n.Survived), "%s: %s survived an invalidation that was processed, and its peers' did not", at, of(n.Survived)).on(n.Node)
		default:
			s.add(eventsIgnored, subject, n.share(n.Survived), "%s: %s survived an invalidation that was processed, as on all nodes of the layer", at, of(n.Survived)).class = class
		}
		s.add(eventsWait, subject, n.share(n.Waiting), "%s: %s wait for an invalidation that was not processed in time", at, of(n.Waiting)).class = class
		s.add(eventsRestored, subject, n.share(n.Restored), "%s: %s hold an old value that was stored after the invalidation", at, of(n.Restored)).class = class
	}
}
