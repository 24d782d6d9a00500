//go:build mutant_drop

// caught by: ./internal/hub ./internal/sim
package hub

const mutantDrop = true
