//go:build mutant_flood

package hub

const mutantFlood = true // who goes on after it was told to slow down is not closed
