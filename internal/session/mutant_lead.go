//go:build mutant_lead

package session

const mutantLead = true // a new key seals before others have seen it
