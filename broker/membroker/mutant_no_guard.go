//go:build !mutant_guard

package membroker

const mutantGuard = false // Publish ignores the revision of a guard
