//go:build !mutant_drop

package hub

const mutantDrop = false
