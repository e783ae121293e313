package config

import (
	"slices"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// queue reads one queue.
func (r *reader) queue(v form.Value, queues form.Taken) Queue {
	b := v.Block()
	q := Queue{}
	name := b.Get("name")
	if b.Require(name, "the queue's name") {
		q.Name = name.Name("the queue's name")
		queues.Add(name, q.Name, "queue")
	}
	capacity, rate, limits := b.Get("capacity"), b.Get("target_rate"), b.Get("limits")
	q.Capacity = capacity.Whole(0, 1<<53)
	q.TargetRate = rate.Rate()
	if limits.Given() {
		q.Limits = readLimits(limits)
	}
	subscribers, app := b.Get("subscribers"), b.Get("app")
	q.Subscribers = subscribers.Whole(0, 1<<31)
	if app.Given() {
		q.App = app.Name("an application's name in versions")
		r.queueApps = append(r.queueApps, app)
	}
	if m := b.Get("message"); m.Given() {
		q.Message = readMessage(m)
	}
	_, q.Source = choose(b, r.backends, "where the queue is", func(k *probes.Backend) func(form.Value) probes.QueueSource {
		if k.Queue == nil {
			return nil
		}
		return func(block form.Value) probes.QueueSource { return k.Queue(block, r.known) }
	})
	if m := b.Get("message"); m.Given() && q.Source != nil && !q.Source.Traits().Messages {
		m.Fault("has no meaning for %s, which shows no messages; leave it out", q.Source.Kind())
	}
	if q.Source != nil {
		checkAtOnce(q.Source, []form.Value{capacity, rate, limits}, []form.Value{subscribers, app})
	}
	if subscribers.Given() && app.Given() {
		app.Fault("stands beside subscribers, and only one of them says how many there should be; leave one out")
	}
	b.Done()
	return q
}

// checkAtOnce refuses what is said of waiting messages where none wait, and of subscribers where there are none.
func checkAtOnce(source probes.QueueSource, waiting, subscribers []form.Value) {
	at := source.Traits().AtOnce
	for _, v := range waiting {
		if at && v.Given() {
			v.Fault("has no meaning for %s, in which no message waits; leave it out", source.Kind())
		}
	}
	for _, v := range subscribers {
		if !at && v.Given() {
			v.Fault("has no meaning for %s, which has no subscribers; leave it out", source.Kind())
		}
	}
}

// checkQueueApps refuses queues' applications that versions does not have.
func (r *reader) checkQueueApps() {
	for _, v := range r.queueApps {
		name := v.Name("an application's name in versions")
		if name != "" && !slices.ContainsFunc(r.config.Versions, func(a App) bool { return a.Name == name }) {
			v.Fault("%s is no application of versions; write the name of one", v.Quoted())
		}
	}
}

// ticketShare is what a ticket's depth is of a page's, where one of them is not written: 1,000 and 5,000 are usual.
const ticketShare = 5

// readLimits of a queue. Of depth and depth_ticket each follows from the other.
func readLimits(v form.Value) QueueLimits {
	b := v.Block()
	depth, ticket, oldest, drain := b.Get("depth"), b.Get("depth_ticket"), b.Get("oldest"), b.Get("drain")
	l := QueueLimits{
		Depth:       depth.Whole(0, 1<<53),
		DepthTicket: ticket.Whole(0, 1<<53),
		Oldest:      oldest.PositiveDuration(0, "how old the oldest message may be, such as 15m"),
		Drain:       drain.PositiveDuration(0, "how long the queue may take to drain, such as 10m"),
	}
	switch {
	case b.NoneGiven(depth, ticket, oldest, drain):
		b.Fault("is empty; write at least one of depth, depth_ticket, oldest and drain, such as depth: 5000")
	case l.Depth > 0 && l.DepthTicket > l.Depth:
		ticket.Fault("is above depth (%d), so that the page would come before the ticket; write %d or less", l.Depth, l.Depth)
	case l.DepthTicket == 0:
		l.DepthTicket = (l.Depth + ticketShare - 1) / ticketShare
	case l.Depth == 0:
		l.Depth = l.DepthTicket * ticketShare
	}
	b.Done()
	return l
}

// readMessage reads where the parts of an invalidation stand.
func readMessage(v form.Value) *probes.Message {
	b := v.Block()
	key, version, at := b.Get("key"), b.Get("version"), b.Get("timestamp_ms")
	m := &probes.Message{Key: key.JSONPath(), Version: version.JSONPath(), TimestampMS: at.JSONPath()}
	if b.NoneGiven(key, version, at) {
		b.Fault("is empty; write at least one of key, version and timestamp_ms, such as key: $.key")
	}
	b.Done()
	return m
}
