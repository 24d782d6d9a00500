//go:build !mutant_gap

package hub

const mutantGap = false
