//go:build mutant_drop

// caught by: ./internal/hub
package hub

const mutantDrop = true
