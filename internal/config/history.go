package config

import (
	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

// readHistory reads one history of invalidation attempts.
func readHistory(v form.Value, histories form.Taken) History {
	b := v.Block()
	h := History{}
	name := b.Get("name")
	if b.Require(name, "the history's name") {
		h.Name = name.Name("the history's name")
		histories.Add(name, h.Name, "history")
	}
	dynamo, http := b.Get("dynamodb"), b.Get("http")
	b.ExactlyOne(dynamo, http)
	if dynamo.Given() {
		h.DynamoDB = readDynamoDB(dynamo)
	}
	if http.Given() {
		h.HTTP = readHTTPHistory(http)
	}
	b.Done()
	return h
}
