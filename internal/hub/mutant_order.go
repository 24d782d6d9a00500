//go:build mutant_order

// caught by: ./internal/hub
package hub

const mutantOrder = true
