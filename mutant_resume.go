//go:build mutant_resume

// caught by: .:TestACutStreamMissesAndRepeatsNothing ./internal/sim
package switchboard

const mutantResume = true // a resumed connection goes on one message too late
