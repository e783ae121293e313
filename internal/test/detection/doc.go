// Package detection lets incidents happen on real servers, and sees what a real Prometheus and Alertmanager with the rules of
// this repository make of them: when they page, for what, and how often.
package detection
