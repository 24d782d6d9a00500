//go:build mutant_forwarded

package switchboard

// caught by: .:TestAnAddressIsWhatATrustedProxyVouchesForAndNothingAClientWrote

const mutantForwarded = true // what a client wrote into X-Forwarded-For is believed
