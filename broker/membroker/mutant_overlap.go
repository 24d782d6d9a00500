//go:build mutant_overlap

package membroker

// caught by: .:TestEveryStartedRunEndsWhateverFails ./broker/membroker ./internal/sim

const mutantOverlap = true // Append keeps the overlap
