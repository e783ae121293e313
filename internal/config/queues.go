package config

import (
	"regexp"
	"strconv"

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
	q.Capacity = b.Get("capacity").Whole(0, 1<<53)
	q.TargetRate = readRate(b.Get("target_rate"))
	if l := b.Get("limits"); l.Given() {
		q.Limits = readLimits(l)
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
	b.Done()
	return q
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

var rate = regexp.MustCompile(`^([0-9]+)/([smh])$`)

// readRate reads messages per second; 0 where none is given, or a fault.
func readRate(v form.Value) float64 {
	const what = "messages in a second, minute or hour, such as 1000/m"
	text, ok := v.Text(what)
	if !ok {
		return 0
	}
	parts := rate.FindStringSubmatch(text)
	if parts == nil {
		v.Fault("is %s; write %s", v.Quoted(), what)
		return 0
	}
	n, err := strconv.ParseInt(parts[1], 10, 53)
	if err != nil || n == 0 {
		v.Fault("is %s; write 1 or more, such as 1000/m", v.Quoted())
		return 0
	}
	return float64(n) / map[string]float64{"s": 1, "m": 60, "h": 3600}[parts[2]]
}
