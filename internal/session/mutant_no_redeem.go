//go:build !mutant_redeem

package session

const mutantRedeem = false
