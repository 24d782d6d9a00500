//go:build mutant_level

package membroker

// caught by: .:TestATenantThatFillsItsHistoryLosesItsOldestAndAnotherLosesNothing

const mutantLevel = true // where all have too much, everybody loses
