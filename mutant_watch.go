//go:build mutant_watch

package switchboard

// caught by: .:TestWhoIsInARoomIsForWhoMaySeeIt

const mutantWatch = true // who follows a room sees who is in it, without the right
