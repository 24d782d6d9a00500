//go:build !mutant_lead

package session

const mutantLead = false
