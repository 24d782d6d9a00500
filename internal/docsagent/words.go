package docsagent

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
)

// words yields the words of text: letters, digits and underscores in a row, and a hyphen
// between two of them, so that identifiers stay whole.
func words(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		start := -1 // of the word at i
		for i, r := range text {
			switch {
			case ofWord(r):
				if start < 0 {
					start = i
				}
			case start >= 0:
				if next, _ := utf8.DecodeRuneInString(text[i+1:]); r == '-' && ofWord(next) {
					continue
				}
				if !yield(text[start:i]) {
					return
				}
				start = -1
			}
		}
		if start >= 0 {
			yield(text[start:])
		}
	}
}

func ofWord(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_'
	}
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r))
}

// terms appends what word is found by: the whole of it first, without the signs within, so
// that session_restore, sessionRestore and session-restore are the same; then its parts, if
// it has some.
func terms(dst []string, word string) []string {
	if isLower(word) {
		return append(dst, stem(word))
	}
	parts := parts(word)
	if len(parts) == 0 { // it was all underscores
		return append(dst, word)
	}
	dst = append(dst, stem(strings.Join(parts, "")))
	if len(parts) > 1 {
		for _, part := range parts {
			dst = append(dst, stem(part))
		}
	}
	return dst
}

// isLower reports whether a word is one part as it is: most are.
func isLower(word string) bool {
	for i := range len(word) {
		if c := word[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// parts cuts session_restore, HandleRun, HTTPServer and per-user, and makes lower case of
// them.
func parts(word string) []string {
	var found []string
	add := func(part string) {
		if part != "" {
			found = append(found, strings.ToLower(part))
		}
	}
	for piece := range strings.FieldsFuncSeq(word, func(r rune) bool { return r == '_' || r == '-' }) {
		runes, start := []rune(piece), 0
		for i := 1; i < len(runes); i++ {
			upper, after := unicode.IsUpper(runes[i]), unicode.IsUpper(runes[i-1])
			if upper && !after || upper && i+1 < len(runes) && unicode.IsLower(runes[i+1]) && string(runes[i+1:]) != "s" {
				add(string(runes[start:i]))
				start = i
			}
		}
		add(string(runes[start:]))
	}
	return found
}

// stem cuts the endings of English words, lightly: words of one family shall meet, and it
// does not matter that what they meet at is no word. Short words stay.
func stem(word string) string {
	w := word
	cut := func(ending string, leaves int) bool {
		short, found := strings.CutSuffix(w, ending)
		if !found || len(short) < leaves {
			return false
		}
		w = short
		return true
	}
	switch {
	case strings.HasSuffix(w, "ss"), strings.HasSuffix(w, "us"), strings.HasSuffix(w, "is"):
	case strings.HasSuffix(w, "sses"):
		cut("es", 3)
	case cut("ies", 3): // retries, retry
	default:
		cut("s", 2)
	}
	if !cut("ing", 3) && !strings.HasSuffix(w, "eed") {
		cut("ed", 3)
	}
	cut("ly", 4)
	cut("y", 3)
	if !cut("able", 4) {
		cut("e", 3)
	}
	if !cut("er", 4) && !cut("or", 4) {
		cut("ion", 4)
	}
	if n := len(w); n > 3 && w[n-1] == w[n-2] && 'a' <= w[n-1] && w[n-1] <= 'z' { // stopped, cancelled
		w = w[:n-1]
	}
	return w
}

// isCopula reports whether something is said of the word before.
func isCopula(word string) bool { return word == "is" || word == "are" || word == "means" }

// isFiller reports whether a word of a question, in lower case, says nothing about what is
// asked for. German words are asked of questions that are German.
func isFiller(word string, german bool) bool {
	if german {
		return isGermanFiller(word)
	}
	switch word {
	case "a", "about", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because", "been", "but", "by",
		"can", "could", "d", "describe", "did", "didn", "do", "does", "doesn", "doing", "don", "done", "each", "else", "ever", "every",
		"exactly", "explain", "find", "for", "from", "get", "gets", "give", "go", "had", "happen", "happened", "happening", "happens", "has", "have",
		"hello", "help", "hey", "hi", "how", "i", "if", "in", "into", "is", "isn", "it", "its", "just", "know", "let", "like", "ll", "long",
		"many", "matter", "may", "me", "mean", "means", "might", "mine", "much", "must", "my", "need", "no", "not", "now", "of", "on",
		"one", "or", "our", "out", "please", "re", "s", "shall", "should", "show", "so", "some", "such", "t", "tell",
		"than", "thank", "thanks", "that", "the", "their", "them", "then", "there", "these", "they", "thing", "things", "this", "those", "to",
		"too", "use", "used", "uses", "using", "ve", "very", "want", "was", "way", "we", "were", "what", "when", "where",
		"which", "while", "who", "whom", "whose", "why", "will", "with", "would", "work", "works", "you", "your":
		return true
	}
	return false
}

func isGermanFiller(word string) bool {
	switch word {
	case "aber", "alle", "als", "an", "auch", "auf", "aus", "bei", "beim", "bin", "bitte", "brauche", "braucht", "da", "damit", "danke", "dann", "darf", "das", "dass",
		"dem", "den", "denn", "der", "des", "die", "diese", "dieser", "dieses", "du", "durch", "ein", "eine", "einem", "einen", "einer",
		"eines", "er", "erkläre", "es", "für", "gibt", "habe", "haben", "hat", "hallo", "ich", "ihr", "im", "in", "ins", "ist", "kann", "können", "lang", "lange", "man",
		"mein", "meine", "mich", "mir", "mit", "muss", "müssen", "nach", "nicht", "noch", "nur", "ob", "oder", "ohne", "passiert", "sein", "sich",
		"sie", "sind", "so", "soll", "tun", "um", "und", "uns", "unter", "viel", "viele", "vom", "von", "vor", "wann", "warum", "was", "welche", "welcher",
		"welches", "wem", "wen", "wenn", "wer", "werden", "weshalb", "wie", "wieso", "will", "wir", "wird", "wo", "woher", "wohin", "wozu",
		"zeig", "zeige", "zu", "zum", "zur", "über":
		return true
	}
	return false
}

// A mark is how Markdown sets a text.
type mark int

const (
	unmarked mark = iota
	code
	bold
)

// spans cuts a line of Markdown by how its parts are set.
func spans(line string, marks bool) iter.Seq2[string, mark] {
	return func(yield func(string, mark) bool) {
		now, start := unmarked, 0
		for i := 0; marks && i < len(line); i++ {
			sign, length := unmarked, 1
			switch {
			case line[i] == '`' && now != bold:
				sign = code
			case now != code && strings.HasPrefix(line[i:], "**"):
				sign, length = bold, 2
			default:
				continue
			}
			if !yield(line[start:i], now) {
				return
			}
			if now == sign {
				now = unmarked
			} else {
				now = sign
			}
			i += length - 1
			start = i + 1
		}
		yield(line[start:], now)
	}
}
