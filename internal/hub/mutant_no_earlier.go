//go:build !mutant_earlier

package hub

const mutantEarlier = false
