package docsagent

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	enough    = 0.5 // of a question, for a passage to be said to be on it
	maxNamed  = 8   // words in a sentence
	maxWord   = 64  // bytes of one of them
	maxTitled = 12  // documents in a sentence
)

// A quote is lines that were read of a hit.
type quote struct {
	searchHit
	from  int
	lines []string
}

// plan says what is looked for.
func plan(q query) string {
	if len(q.words) == 0 {
		return "No word of the question tells passages apart, so I list the documents."
	}
	text := "I search the documents for " + enumerate(texts(q.words), "and") + "."
	if len(q.filler) > 0 {
		text += " I leave out " + enumerate(q.filler, "and") + ": too common to tell passages apart."
	}
	if q.more > 0 {
		text += fmt.Sprintf(" %d more words are too many.", q.more)
	}
	return text
}

// reasonFor says why a hit is read.
func reasonFor(h searchHit, found searchResult, first bool) string {
	if !first {
		return fmt.Sprintf("I also read %s from line %d: with %.2f it comes close.", h.File, h.From, h.Score)
	}
	text := fmt.Sprintf("%d of %s in %d of %s have at least one of these words", found.Passages.Matching,
		plural(found.Passages.Searched, "passage"), found.Files.Matching, plural(found.Files.Searched, "file"))
	if skipped := len(found.Skipped) + found.SkippedMore; skipped > 0 {
		text += fmt.Sprintf("; %s of the folder could not be searched", plural(skipped, "entry"))
	}
	has := "all of them"
	if len(h.Missing) > 0 {
		has = "all but " + enumerate(h.Missing, "and")
	}
	return fmt.Sprintf("%s. I read %s from line %d: it scores best, with %.2f, and has %s.", text, h.File, h.From, h.Score, has)
}

// compose makes the answer: quotes, and what introduces them.
func compose(found searchResult, quotes []quote) string {
	var b strings.Builder
	for i, q := range quotes {
		if i == 0 {
			b.WriteString(opening(found, q))
		} else {
			b.WriteString("\n" + transition(quotes[i-1], q))
		}
		if cut := q.To - q.From + 1 - len(q.lines); cut > 0 {
			fmt.Fprintf(&b, " (without %s around it)", plural(cut, "line"))
		}
		b.WriteString(":\n\n")
		for _, line := range q.lines {
			if line != "" {
				line = " " + line
			}
			b.WriteString(">" + line + "\n")
		}
		fmt.Fprintf(&b, "\n— %s:%d\n", q.File, q.from)
	}
	return b.String()
}

// opening is what comes before the first quote.
func opening(found searchResult, q quote) string {
	on := without(found.Words, q.Missing)
	apart := without(q.Missing, found.NotFound)
	says := q.File + " says" + q.place()
	text := ""
	if len(found.NotFound) > 0 {
		text = "No document has " + enumerate(found.NotFound, "or") + ". "
	}
	switch {
	case len(on) == 0:
		return text + "What comes nearest has parts of that. " + says
	case len(apart) > 0:
		return text + "What comes nearest has " + enumerate(on, "and") + " without " + enumerate(apart, "and") + ". " + says
	case q.hit.covered < enough:
		return text + "What comes nearest has " + enumerate(on, "and") + ". " + says
	}
	return text + "On " + enumerate(on, "and") + ", " + says
}

func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(word string) bool { return slices.Contains(some, word) })
}

// transition is what comes between quotes.
func transition(before, q quote) string {
	switch {
	case q.File != before.File:
		return q.File + " says" + q.place()
	case q.Section != before.Section:
		return "It also says" + q.place()
	}
	return "And in the same section"
}

// place says where in its file a quote is.
func (q quote) place() string {
	text := ""
	if q.Section != "" {
		text = " under “" + q.Section + "”"
	}
	if q.hit.columns > 0 {
		text += ", in the table of " + columns(q.hit.file.lines[q.hit.columns-1])
	}
	return text
}

// columns are the names of a table's columns.
func columns(line string) string {
	var names []string
	for cell := range strings.SplitSeq(line, "|") {
		if name := title(cell); name != "" {
			names = append(names, name)
		}
	}
	return enumerate(names, "and")
}

// nothing says that no passage has any of the words.
func nothing(found searchResult) string {
	return fmt.Sprintf("I found nothing: in %s there is no passage with %s.", plural(found.Files.Searched, "document"), enumerate(found.Words, "or"))
}

// contents says what documents there are.
func contents(all listResult) string {
	if len(all.Files) == 0 {
		if skipped := len(all.Skipped) + all.SkippedMore; skipped > 0 {
			return fmt.Sprintf("There is no document that I can read, though the folder has %s.", plural(skipped, "entry"))
		}
		return "There are no documents."
	}
	var names []string
	for _, f := range all.Files[:min(len(all.Files), maxTitled)] {
		name := f.File
		if f.Title != "" {
			name += " (“" + f.Title + "”)"
		}
		names = append(names, name)
	}
	if more := len(all.Files) + all.More - len(names); more > 0 {
		names = append(names, plural(more, "other"))
	}
	if len(names) == 1 {
		return "The only document is " + names[0] + "."
	}
	return "The documents are " + join(names, "and") + "."
}

// enumerate quotes words and puts them in a row.
func enumerate(all []string, conjunction string) string {
	var quoted []string
	for _, word := range all[:min(len(all), maxNamed)] {
		if len(word) > maxWord {
			word = strings.ToValidUTF8(word[:maxWord], "") + "…"
		}
		quoted = append(quoted, "“"+word+"”")
	}
	if more := len(all) - len(quoted); more > 0 {
		quoted = append(quoted, plural(more, "other"))
	}
	return join(quoted, conjunction)
}

func join(all []string, conjunction string) string {
	switch n := len(all); n {
	case 0:
		return ""
	case 1:
		return all[0]
	default:
		return strings.Join(all[:n-1], ", ") + " " + conjunction + " " + all[n-1]
	}
}

// plural counts things: 1 file, 2 files, 2 entries.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if stem, ok := strings.CutSuffix(thing, "y"); ok {
		return strconv.Itoa(n) + " " + stem + "ies"
	}
	return strconv.Itoa(n) + " " + thing + "s"
}
