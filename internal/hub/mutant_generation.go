//go:build mutant_generation

// caught by: ./internal/hub ./internal/sim
package hub

const mutantGeneration = true
