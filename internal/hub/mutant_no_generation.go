//go:build !mutant_generation

package hub

const mutantGeneration = false
