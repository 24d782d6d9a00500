//go:build mutant_prev

// caught by: ./internal/hub ./internal/sim
package hub

const mutantPrev = true
