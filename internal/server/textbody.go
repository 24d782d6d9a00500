package server

import (
	"errors"
	"io"
	"net/http"
	"unicode/utf8"
)

// textReader turns a body into pieces of text.
type textReader struct {
	body    io.Reader
	left    int64 // of a body whose length is told; else negative
	total   int64
	buf     []byte
	decoder textDecoder
}

// textDecoder turns the bytes of a body into text. Its errors are problems.
type textDecoder interface {
	// decode returns the text of the next bytes, also with an error.
	decode(b []byte) (string, error)
	// end says what is missing when no more bytes come.
	end() error
}

func newTextReader(r *http.Request, format string) *textReader {
	t := &textReader{body: r.Body, left: r.ContentLength, decoder: new(plainText)}
	if format == "openai" {
		t.decoder = new(openAIText)
	}
	size := int64(pieceBytes)
	if t.left >= 0 {
		size = min(t.left, wholeBytes)
	}
	t.buf = make([]byte, size)
	return t
}

// next returns the next text, which may be empty, and with the last one io.EOF. Text that
// comes with another error counts: there is none of a body whose length is told.
func (t *textReader) next() (string, error) {
	n, err := t.read()
	if t.total += int64(n); t.total > maxTextBytes {
		return "", textTooLong()
	}
	text, bad := t.decoder.decode(t.buf[:n])
	if bad == nil && errors.Is(err, io.EOF) {
		bad = t.decoder.end()
	}
	if bad != nil {
		err = bad
	}
	if t.left >= 0 && err != nil && !errors.Is(err, io.EOF) {
		text = ""
	}
	return text, err
}

func (t *textReader) read() (int, error) {
	if t.left < 0 {
		return t.body.Read(t.buf)
	}
	n, err := io.ReadFull(t.body, t.buf[:min(t.left, int64(len(t.buf)))])
	switch t.left -= int64(n); {
	case t.left == 0:
		return n, io.EOF
	case errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// plainText decodes UTF-8.
type plainText struct {
	rest []byte // the begin of a code point whose end has not come
}

func (d *plainText) decode(b []byte) (string, error) {
	text := append(d.rest, b...)
	whole := wholeRunes(text)
	if !utf8.Valid(text[:whole]) {
		return "", notUTF8()
	}
	d.rest = append([]byte(nil), text[whole:]...)
	return string(text[:whole]), nil
}

func (d *plainText) end() error {
	if len(d.rest) > 0 {
		return notUTF8()
	}
	return nil
}

func notUTF8() error { return invalid("body", "must be valid UTF-8") }

// wholeRunes is how much of b is before a code point that its end cuts off.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= 0 && i > len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}
