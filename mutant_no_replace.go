//go:build !mutant_replace

package switchboard

const mutantReplace = false
