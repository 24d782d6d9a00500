package server

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// decode reads a body as strictly as a frame is read, and refuses members that v does
// not have: a misspelt option must not be ignored.
func decode(body []byte, v any) error { return wire.UnmarshalExact(body, v) }

// requestBody is the body of a request, which remembers how far it was read.
type requestBody struct {
	io.ReadCloser
	end error // io.EOF, or what cut it off; nil: there may be more
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.end = err
	}
	return n, err
}

// leave makes the server answer at once, and then close the connection, if the body is still
// open: who sends it may not end it before it has the answer, but http.Server would wait for
// that. length is that of the body; if it was told, the rest is on its way and may come.
func (b *requestBody) leave(w http.ResponseWriter, length int64) {
	if length == 0 || errors.Is(b.end, io.EOF) || length > 0 && b.end == nil {
		return
	}
	http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // then it waits
	for {
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = inner.Unwrap()
	}
	// Only a reader that has reached its limit can ask for what is needed: that the client has
	// time to read the answer before what it sends meanwhile is refused.
	http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1)) //nolint:errcheck // the limit
}
