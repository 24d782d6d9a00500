//go:build mutant_owner

// caught by: ./internal/hub ./internal/sim
package hub

const mutantOwner = true // an entry is delivered whosesoever it is
