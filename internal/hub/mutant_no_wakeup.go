//go:build !mutant_wakeup

package hub

const mutantWakeup = false
