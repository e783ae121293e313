// Package dynamodb reads invalidation attempts from a DynamoDB table.
//
// Types to know: history is a table with its client, position is up to where the table was read, pass after pass, so that each
// item counts once.
package dynamodb

import (
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Backend is DynamoDB: histories.
var Backend = probes.Backend{
	Name:    "dynamodb",
	History: func(block form.Value) probes.HistorySource { return readHistory(block) },
}
