//go:build !mutant_seam

package hub

const mutantSeam = false
