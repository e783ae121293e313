// Package acceptance holds the exporter to what it promises, on real servers and through /metrics.
package acceptance
