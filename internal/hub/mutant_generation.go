//go:build mutant_generation

// caught by: ./internal/hub
package hub

const mutantGeneration = true
