//go:build mutant_cut

package hub

const mutantCut = true // who has all up to the end of a right goes on after it
