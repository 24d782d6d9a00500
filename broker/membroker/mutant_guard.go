//go:build mutant_guard

package membroker

// caught by: .:TestEveryStartedRunEndsWhateverFails

const mutantGuard = true // Publish ignores the revision of a guard
