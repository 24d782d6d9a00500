//go:build !mutant_watch

package switchboard

const mutantWatch = false
