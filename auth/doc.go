// Package auth has authenticators for a switchboard.Manager: JWT tokens of your own login or
// of an identity provider, and a development mode that lets a programmer's own machine in.
//
// An authenticator says who is calling and nothing else. What the user may do in rooms is
// said by the permissions of the identity, or decided by an Authorizer of the manager.
package auth
