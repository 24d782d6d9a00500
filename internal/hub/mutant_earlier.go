//go:build mutant_earlier

package hub

// caught by: .:TestWhoJoinsWhileATextIsWrittenGetsWhatComesThen

const mutantEarlier = true // text from before a join comes to who has no right to it
