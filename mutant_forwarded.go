//go:build mutant_forwarded

package switchboard

const mutantForwarded = true // what a client wrote into X-Forwarded-For is believed
