//go:build mutant_dedupe

package membroker

const mutantDedupe = true // Publish ignores DedupeID
