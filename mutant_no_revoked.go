//go:build !mutant_revoked

package switchboard

const mutantRevoked = false
