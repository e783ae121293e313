// Package backends lists the kinds of servers that the exporter knows.
package backends

import (
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/dynamodb"
	"github.com/cacheinv/cacheinv_exporter/probes/http"
	"github.com/cacheinv/cacheinv_exporter/probes/kafka"
	"github.com/cacheinv/cacheinv_exporter/probes/memcached"
	"github.com/cacheinv/cacheinv_exporter/probes/redis"
)

// All backends, a line each, in the order in which the configuration's faults name them.
var All = []probes.Backend{
	redis.Backend,
	memcached.Backend,
	kafka.Backend,
	dynamodb.Backend,
	http.Backend,
}
