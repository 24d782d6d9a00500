//go:build !mutant_forwarded

package switchboard

const mutantForwarded = false
