// Package ledger keeps account of every invalidation of a shop on real servers, and holds the event checks of the exporter's binary to
// it: what they tell is what happened, and nothing else.
package ledger
