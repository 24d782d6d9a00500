//go:build mutant_prev

// caught by: ./internal/hub
package hub

const mutantPrev = true
