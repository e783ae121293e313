// Package situations plays the rules against situations of ordinary life: who is paged, who gets a ticket, and who is left alone.
//
// It is a table: each [situation] has the series that an exporter would give while something happens, and the severities that must
// fire for it, by subject, or must not. No alert is named, so that the rules may be cut otherwise. [Files] renders the table as tests
// for promtool; those with the usual settings are in alerts/tests.
package situations

import (
	"math"
	"time"
)

// Settings are those of the rules that situations depend on.
type Settings struct {
	// StaleShare of a class's copies from which overdue ones page; Budget is the share of reads that may be overdue.
	StaleShare, Budget float64
	// EventBudget is the share of invalidations that may miss their promise.
	EventBudget float64
	// FailureShare of invalidations pages, FailureShareTicket is told.
	FailureShare, FailureShareTicket float64
	// Latency that an invalidation may have.
	Latency time.Duration
	// ScrapeInterval is the longest that is fine.
	ScrapeInterval time.Duration
	// Page and Ticket are the severities' names.
	Page, Ticket string
	// Job is the exporter's, ClusterLabel tells one estate from another.
	Job, ClusterLabel string
}

// Default are the settings of the rules as they are committed.
func Default() Settings {
	return Settings{
		StaleShare: 0.01, Budget: 0.001, EventBudget: 0.001,
		FailureShare: 0.05, FailureShareTicket: 0.01,
		Latency:        500 * time.Millisecond,
		ScrapeInterval: 30 * time.Second,
		Page:           "page", Ticket: "ticket",
		Job: "cacheinv_exporter", ClusterLabel: "cluster",
	}
}

// late is a time by which something that lasts is surely told, where scrapes come every 30 s; longer where they are further apart.
func (s Settings) late(t time.Duration) time.Duration {
	if s.ScrapeInterval <= 30*time.Second {
		return t
	}
	return time.Duration(float64(t) * s.ScrapeInterval.Seconds() / 30).Round(time.Minute)
}

// mild is so large a part of the share of copies that pages, but less than burns the budget as fast as pages: 14.4 times within half an
// hour, and 6 times once that takes longer, which three times the tier's short window of 30 minutes have to pass for.
func (s Settings) mild(part float64) float64 {
	times := 12.0
	if s.late(30*time.Minute) >= 90*time.Minute {
		times = 5
	}
	return math.Min(part*s.StaleShare, times*s.Budget)
}
