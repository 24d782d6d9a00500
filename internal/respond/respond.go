// Package respond writes HTTP answers. A large one has a deadline by its size, so that what is kept
// for a client that does not read it is given up.
package respond

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

const (
	// patience is how long any answer may take, and rate how fast a client reads a large one at
	// least, in bytes a second.
	patience = 10 * time.Second
	rate     = 64 << 10
	// small is the size up to which net/http keeps an answer until its handler has returned.
	small = 2 << 10
)

// Small reports whether an answer of so many bytes holds up no handler. The server writes it
// afterwards, within its WriteTimeout.
func Small(bytes int) bool { return bytes <= small }

// Within is how long a client may take to read so many bytes.
func Within(bytes int) time.Duration {
	return patience + time.Duration(bytes)*time.Second/rate
}

// Write answers with a body in parts. It returns when the client's connection has taken a large
// one, and fails when the client is too slow.
func Write(w http.ResponseWriter, status int, parts ...[]byte) error {
	head(w, status, parts)
	return WriteBody(w, parts...)
}

// WriteBody is Write behind a head that was written, with the length of the body.
func WriteBody(w http.ResponseWriter, parts ...[]byte) error {
	if !Small(length(parts)) {
		return send(w, parts)
	}
	for _, part := range parts {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// Send is Write that returns when the client's connection has taken the answer, however small. The
// body of the request must have been read: net/http would wait for the rest of it first.
func Send(w http.ResponseWriter, status int, parts ...[]byte) error {
	head(w, status, parts)
	return send(w, parts)
}

func head(w http.ResponseWriter, status int, parts [][]byte) {
	w.Header().Set("Content-Length", strconv.Itoa(length(parts)))
	w.WriteHeader(status)
}

func length(parts [][]byte) (bytes int) {
	for _, part := range parts {
		bytes += len(part)
	}
	return bytes
}

func send(w http.ResponseWriter, parts [][]byte) error {
	body := Begin(w)
	for _, part := range parts {
		if _, err := body.Write(part); err != nil {
			return err
		}
	}
	return body.End()
}

// Body is the body of an answer whose head was written. It is used by one goroutine.
type Body struct {
	w      http.ResponseWriter
	socket *http.ResponseController
	begun  time.Time
	size   int // bytes so far
}

// Begin begins a body; the caller calls End behind its last byte.
func Begin(w http.ResponseWriter) *Body {
	return &Body{w: w, socket: http.NewResponseController(w), begun: time.Now()}
}

// Write writes a part, within the time that all parts so far have together.
func (b *Body) Write(part []byte) (int, error) {
	b.size += len(part)
	b.deadline()
	return b.w.Write(part)
}

// End returns when the client's connection has taken all of it. Afterwards there is no deadline.
func (b *Body) End() error {
	b.deadline()
	if err := b.socket.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_ = b.socket.SetWriteDeadline(time.Time{}) // then there was none
	return nil
}

func (b *Body) deadline() {
	_ = b.socket.SetWriteDeadline(b.begun.Add(Within(b.size))) // some writers cannot: then the server's holds
}
