package config

import (
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
	q.TargetRate = b.Get("target_rate").Rate()
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
