//go:build mutant_lent

package switchboard

const mutantLent = true // who follows is not asked again whether the right is still there
