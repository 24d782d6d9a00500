//go:build mutant_redeem

package session

const mutantRedeem = true // who has read a ticket has redeemed it
