//go:build mutant_level

package membroker

// caught by: .

const mutantLevel = true // where all have too much, everybody loses
