//go:build !mutant_level

package membroker

const mutantLevel = false // where all have too much, everybody loses
