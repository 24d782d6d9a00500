package server

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// decode reads a body as strictly as a frame is read, and refuses members that v does
// not have: a misspelt option must not be ignored. v points to a struct with json tags;
// pointers to structs in it are objects too.
func decode(body []byte, v any) error {
	if err := wire.Unmarshal(body, v); err != nil {
		return err
	}
	if path := unknown(body, reflect.TypeOf(v).Elem()); path != nil {
		return invalid(strings.Join(path, "."), "is not known")
	}
	return nil
}

// unknown returns the path of a member of object that t does not have, the first one in
// the order of the alphabet, or nil. object has been decoded into a t before.
func unknown(object []byte, t reflect.Type) []string {
	var members map[string]json.RawMessage
	if err := wire.Unmarshal(object, &members); err != nil {
		return nil // null
	}
	fields := fieldsOf(t)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		field, known := fields[name]
		if !known {
			return []string{name}
		}
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		if field.Kind() != reflect.Struct {
			continue
		}
		if path := unknown(members[name], field); path != nil {
			return append([]string{name}, path...)
		}
	}
	return nil
}

func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type, t.NumField())
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			fields[name] = f.Type
		}
	}
	return fields
}

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
