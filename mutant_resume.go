//go:build mutant_resume

package switchboard

// caught by: .:TestACutStreamMissesAndRepeatsNothing ./internal/sim

const mutantResume = true // a resumed connection goes on one message too late
