// Package dynamodb reads invalidation attempts from a DynamoDB table.
//
// history is the table with its client, position is up to where it was read: pass after pass, each item once.
package dynamodb

import (
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Backend is DynamoDB.
var Backend = probes.Backend{
	Name:    "dynamodb",
	History: func(block form.Value) probes.HistorySource { return readHistory(block) },
}

// Open implements probes.HistorySource.
func (c *tableConfig) Open(counts *probes.Tally, env *probes.Env) (probes.History, error) {
	return newHistory(*c, counts, env)
}
