//go:build !mutant_resume

package switchboard

const mutantResume = false
