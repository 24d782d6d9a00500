//go:build !mutant_order

package hub

const mutantOrder = false
