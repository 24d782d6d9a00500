//go:build mutant_breath

package ws

const mutantBreath = true // a flood is told without turns
