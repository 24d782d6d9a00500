//go:build !mutant_overlap

package membroker

const mutantOverlap = false // Append keeps the overlap
