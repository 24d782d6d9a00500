//go:build mutant_wakeup

// caught by: ./internal/hub
package hub

const mutantWakeup = true
