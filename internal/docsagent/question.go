package docsagent

import (
	"slices"
	"strings"
)

// maxWords is how many words of a question are looked for.
const maxWords = 32

// A query is what to look for.
type query struct {
	words  []queryWord // none is there twice
	filler []string    // words of the question that are not looked for
	more   int         // words beyond maxWords

	defining bool // the question is for what something is
}

// queryWord is a word and what it is found by: the whole of it, its parts, and it joined
// with its neighbours, since shut down is shutdown elsewhere.
type queryWord struct {
	text  string
	terms []string
	parts int
	loose bool // all parts are as good as the whole: wake-ups, but not session_restore
}

// ask makes a query of a question: its words without the filler.
func ask(question string) query {
	var q query
	german := isGerman(question)
	for word := range words(question) {
		if isFiller(strings.ToLower(word), german) {
			q.filler = append(q.filler, word)
			continue
		}
		found := terms(nil, word)
		same := func(other queryWord) bool { return other.terms[0] == found[0] }
		switch {
		case slices.ContainsFunc(q.words, same):
		case len(q.words) == maxWords:
			q.more++
		default:
			q.words = append(q.words, queryWord{text: word, terms: found, parts: len(found) - 1, loose: strings.Contains(word, "-")})
		}
	}
	for i := 1; i < len(q.words); i++ {
		a, b := &q.words[i-1], &q.words[i]
		joined := stem(a.terms[0] + b.terms[0])
		a.terms, b.terms = append(a.terms, joined), append(b.terms, joined)
	}
	q.defining = isDefining(question)
	return q
}

// isDefining recognizes "what is …", "what does … mean" and the like.
func isDefining(question string) bool {
	said := slices.Collect(words(strings.ToLower(question)))
	if len(said) < 2 {
		return false
	}
	switch said[0] + " " + said[1] {
	case "what is", "what are", "what s", "was ist", "was sind", "was bedeutet":
		return true
	}
	return said[0] == "what" && slices.Contains(said, "mean")
}

// isGerman guesses the language by the filler.
func isGerman(question string) bool {
	english, german := 0, 0
	for word := range words(strings.ToLower(question)) {
		if isFiller(word, false) {
			english++
		}
		if isFiller(word, true) {
			german++
		}
	}
	return german > english
}
