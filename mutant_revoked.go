//go:build mutant_revoked

package switchboard

// caught by: .:TestARevocationBetweenCheckAndRegistrationIsSeen

const mutantRevoked = true // nobody looks again whether a connection that was just registered is revoked
