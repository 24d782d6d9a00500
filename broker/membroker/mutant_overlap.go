//go:build mutant_overlap

package membroker

// caught by: . ./broker/membroker

const mutantOverlap = true // Append keeps the overlap
