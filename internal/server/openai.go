package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/netra-systems/switchboard/wire"
)

const (
	maxEventBytes = 1 << 20 // of one event
	maxErrorText  = 500     // bytes of an error in the body that are repeated in the answer
)

// openAIText decodes the answer of a chat completion as OpenAI's API streams it: server-sent
// events with a chunk each, whose choices[0].delta.content is the text, up to [DONE]. Members
// that it does not know and comments are skipped; anything else that does not fit is refused
// with the number of the event.
type openAIText struct {
	line   []byte // that has not ended
	cr     bool   // the last line ended with \r: \n belongs to it
	begun  bool   // the first line has been read
	data   []byte // of the event so far
	filled bool   // it has data
	events int    // chunks before this one
	done   bool   // [DONE] has come
}

func (d *openAIText) decode(b []byte) (string, error) {
	var text []byte
	for _, c := range b {
		after := d.cr
		d.cr = c == '\r'
		switch {
		case c == '\n' && after:
		case c == '\n' || c == '\r':
			var err error
			if text, err = d.endLine(text); err != nil {
				return string(text), err
			}
		case len(d.line)+len(d.data) >= maxEventBytes:
			return string(text), d.refuse("body", "is longer than %d bytes", maxEventBytes)
		default:
			d.line = append(d.line, c)
		}
	}
	return string(text), nil
}

// end takes what the last line of a body lacks, if it is only the line's end.
func (d *openAIText) end() error {
	if len(d.line) > 0 {
		d.field()
	}
	if d.filled && string(d.data) == "[DONE]" {
		d.done = true
	}
	if !d.done {
		return invalid("body", "ended before [DONE]")
	}
	return nil
}

// endLine takes the line and appends to text what that brings.
func (d *openAIText) endLine(text []byte) ([]byte, error) {
	if len(d.line) > 0 {
		d.field()
		return text, nil
	}
	var content string
	var err error
	if len(d.data) > 0 {
		content, err = d.event()
	}
	d.data, d.filled = d.data[:0], false
	return append(text, content...), err
}

// field takes the line, which is not empty: a comment, data, or what means nothing here.
func (d *openAIText) field() {
	if !d.begun {
		d.begun = true
		d.line = bytes.TrimPrefix(d.line, []byte("\ufeff"))
	}
	name, value, _ := bytes.Cut(d.line, []byte(":"))
	if string(name) == "data" {
		if d.filled {
			d.data = append(d.data, '\n')
		}
		d.data = append(d.data, bytes.TrimPrefix(value, []byte(" "))...)
		d.filled = true
	}
	d.line = d.line[:0]
}

// chunk is what counts of the data of an event.
type chunk struct {
	Error   json.RawMessage `json:"error"`
	Choices []struct {
		Index int `json:"index"`
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
	} `json:"choices"`
}

// event returns the content of an event.
func (d *openAIText) event() (string, error) {
	if d.done {
		return "", d.refuse("body", "follows [DONE]")
	}
	if string(d.data) == "[DONE]" {
		d.done = true
		return "", nil
	}
	var c chunk
	if d.data[0] != '{' {
		return "", d.refuse("body", "must be a JSON object or [DONE]")
	}
	if err := wire.Unmarshal(d.data, &c); err != nil {
		return "", d.refuse("body", "is no chunk of a completion: %v", err)
	}
	if len(c.Error) > 0 && string(c.Error) != "null" {
		return "", d.refuse("error", "is an error: %s", errorText(c.Error))
	}
	var text strings.Builder
	for _, choice := range c.Choices {
		if choice.Index != 0 {
			return "", d.refuse("choices.index", "is of another choice: ask for one only")
		}
		text.WriteString(choice.Delta.Content)
	}
	d.events++
	return text.String(), nil
}

// errorText is what an error object says, or the begin of that.
func errorText(raw json.RawMessage) string {
	var e struct {
		Message string `json:"message"`
	}
	text := string(raw)
	if wire.Unmarshal(raw, &e) == nil && e.Message != "" {
		text = e.Message
	}
	if len(text) > maxErrorText {
		text = text[:wholeRunes([]byte(text[:maxErrorText]))] + "…"
	}
	return text
}

// refuse says what is wrong with the event that is read.
func (d *openAIText) refuse(field, rule string, args ...any) error {
	detail := fmt.Sprintf("event %d of the body ", d.events+1) + fmt.Sprintf(rule, args...)
	return newProblem(http.StatusUnprocessableEntity, wire.CodeInvalidMessage, detail).with("field", field)
}
