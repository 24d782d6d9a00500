//go:build mutant_gap

// caught by: ./internal/hub ./internal/sim
package hub

const mutantGap = true // what is gone is not told
