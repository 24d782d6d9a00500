//go:build !mutant_tenant

package switchboard

const mutantTenant = false
