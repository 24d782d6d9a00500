//go:build !mutant_dedupe

package membroker

const mutantDedupe = false // Publish ignores DedupeID
