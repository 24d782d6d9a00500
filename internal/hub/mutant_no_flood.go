//go:build !mutant_flood

package hub

const mutantFlood = false
