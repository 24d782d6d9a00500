package ws

import "unicode/utf8"

// validPrefix looks at the text that has arrived so far. It returns how many bytes
// of b are whole valid characters; the up to three bytes behind them are the beginning of a
// character that may still become valid. ok is false if no further bytes could make b valid:
// an error is reported by the byte that shows it, not by the end of the message.
func validPrefix(b []byte) (n int, ok bool) {
	n = len(b)
	for i := n - 1; i >= 0 && i >= n-(utf8.UTFMax-1); i-- {
		if utf8.RuneStart(b[i]) {
			// FullRune takes what can no longer be valid for full, so only a
			// hopeful tail is set aside and anything else is left to Valid.
			if !utf8.FullRune(b[i:]) {
				n = i
			}
			break
		}
	}
	return n, utf8.Valid(b[:n])
}
