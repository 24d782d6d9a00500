//go:build !mutant_breath

package ws

const mutantBreath = false
