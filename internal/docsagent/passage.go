package docsagent

import (
	"errors"
	"fmt"
)

// The bounds of a passage that is read around a line.
const (
	MaxAround      = 200 // lines before and after
	maxPassage     = 400 // lines
	maxPassageSize = 32 << 10
)

// What [Agent.Passage] returns for what is not there, wrapped.
var (
	ErrNoFile = errors.New("there is no such document")
	ErrNoLine = errors.New("the document has no such line")
)

// A Passage is a line of a document in its surroundings.
type Passage struct {
	File  string     `json:"file"`
	Title string     `json:"title,omitempty"` // the first heading
	Of    int        `json:"of"`              // lines of the document
	From  int        `json:"from"`
	To    int        `json:"to"`
	Lines []readLine `json:"lines"`
}

// missing is an error about a file that cannot be read, for reasons that are its text.
type missing struct{ error }

func (m *missing) Is(target error) bool { return target == ErrNoFile }

func (m *missing) Unwrap() error { return m.error }

// Passage reads a document, as it is now, around a line: up to around lines, 0 to
// [MaxAround], before it and as many after it. There are fewer where the document ends, and
// where they would be more than 400 or than 32 KiB together. Documents are what the tools of
// the agent read, no more. The error is [ErrNoFile], [ErrNoLine], or that the folder itself
// cannot be opened.
func (a *Agent) Passage(name string, line, around int) (Passage, error) {
	doc, err := a.library.document(name)
	if err != nil {
		return Passage{}, err
	}
	if line < 1 || line > len(doc.lines) {
		return Passage{}, fmt.Errorf("%w: %q has %s, not a line %d", ErrNoLine, name, plural(len(doc.lines), "line"), line)
	}
	from, to := surroundings(doc.lines, line, around)
	p := Passage{File: doc.name, Title: excerpt(doc.title()), Of: len(doc.lines), From: from, To: to}
	for i := from; i <= to; i++ {
		p.Lines = append(p.Lines, readLine{Line: i, Text: doc.lines[i-1]})
	}
	return p, nil
}

// surroundings grows a passage from its line, in turns before and after it, as far as it may.
func surroundings(lines []string, line, around int) (from, to int) {
	from, to = line, line
	first, last := max(1, line-around), min(len(lines), line+around)
	size := len(lines[line-1])
	take := func(next int) bool {
		if next < first || next > last || to-from+1 == maxPassage || size+len(lines[next-1]) > maxPassageSize {
			return false
		}
		size += len(lines[next-1])
		return true
	}
	for before, after := true, true; before || after; {
		if before = before && take(from-1); before {
			from--
		}
		if after = after && take(to+1); after {
			to++
		}
	}
	return from, to
}
