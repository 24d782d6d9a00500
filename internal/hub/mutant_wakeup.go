//go:build mutant_wakeup

// caught by: ./internal/hub ./internal/sim
package hub

const mutantWakeup = true
