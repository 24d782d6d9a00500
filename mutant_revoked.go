//go:build mutant_revoked

package switchboard

// caught by: .

const mutantRevoked = true // a connection is not checked again once it can be found
