//go:build mutant_replace

package switchboard

// caught by: ./internal/isolation

const mutantReplace = true // a session_restore closes whosesoever connection it names
