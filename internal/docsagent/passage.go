package docsagent

import (
	"context"
	"errors"
	"fmt"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// ReadPassage is the type of a message that asks for lines of a document, for those who want
// to see a quote in its surroundings. Its payload is a [PassageRequest].
const ReadPassage wire.MessageType = "read_passage"

// The bounds of a passage that is read around a line.
const (
	usualAround    = 12 // lines before and after
	maxAround      = 200
	maxPassage     = 400 // lines
	maxPassageSize = 32 << 10
)

// PassageRequest asks for a line of a document in its surroundings.
type PassageRequest struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Around *int   `json:"around,omitempty"` // lines before and after, 0 to 200; nil: 12
}

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

func (m *missing) Unwrap() error { return m.error }

// ReadPassage answers a message of type [ReadPassage] with a document, as it is now, around a
// line: up to Around lines before it and as many after it. There are fewer where the document
// ends, and where they would be more than 400 or than 32 KiB together. Documents are what the
// tools of the agent read, no more. It is for switchboard.Call.
func (a *Agent) ReadPassage(_ context.Context, _ *switchboard.Conn, req PassageRequest) (Passage, error) {
	around := usualAround
	if req.Around != nil {
		around = *req.Around
	}
	switch {
	case req.File == "":
		return Passage{}, refuse(wire.CodeInvalidMessage, "file", "file is missing")
	case req.Line < 1:
		return Passage{}, refuse(wire.CodeInvalidMessage, "line", "line must be 1 or more")
	case around < 0 || around > maxAround:
		return Passage{}, refuse(wire.CodeInvalidMessage, "around", fmt.Sprintf("around must be 0 to %d", maxAround))
	}
	doc, err := a.library.document(req.File)
	if gone, ok := errors.AsType[*missing](err); ok {
		return Passage{}, refuse(wire.CodeNotFound, "file", gone.Error())
	}
	if err != nil {
		return Passage{}, err
	}
	if req.Line > len(doc.lines) {
		return Passage{}, refuse(wire.CodeNotFound, "line", fmt.Sprintf("%q has %s", req.File, plural(len(doc.lines), "line")))
	}
	from, to := surroundings(doc.lines, req.Line, around)
	p := Passage{File: doc.name, Title: excerpt(doc.title()), Of: len(doc.lines), From: from, To: to}
	for i := from; i <= to; i++ {
		p.Lines = append(p.Lines, readLine{Line: i, Text: doc.lines[i-1]})
	}
	return p, nil
}

func refuse(code switchboard.Code, field, why string) error {
	return &switchboard.Error{Code: code, Message: why, Details: map[string]any{"field": field}}
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
