//go:build mutant_seam

// caught by: ./internal/hub ./internal/sim
package hub

const mutantSeam = true // the first entry behind what a window has dropped is left out
