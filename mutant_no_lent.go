//go:build !mutant_lent

package switchboard

const mutantLent = false
