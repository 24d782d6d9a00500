//go:build mutant_tenant

package switchboard

// caught by: ./internal/isolation

const mutantTenant = true // the tenant of a connection that is named by its id is not looked at
