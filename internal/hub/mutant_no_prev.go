//go:build !mutant_prev

package hub

const mutantPrev = false
