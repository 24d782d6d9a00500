//go:build !mutant_cut

package hub

const mutantCut = false
