//go:build !mutant_owner

package hub

const mutantOwner = false
