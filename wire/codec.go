package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// This file is the only one that knows which JSON library is used. From Go 1.27 on the
// same three packages are in the standard library as encoding/json/v2,
// encoding/json/jsontext and encoding/json.

// values are the options for Go values: what encoding/json makes of structs and their
// tags, so that a type means the same here and elsewhere in a program, but with strict
// syntax (the default of the library), sorted keys, and [] and {} for nil slices and maps,
// which clients in other languages may then always iterate.
//
//nolint:gochecknoglobals // options cannot be changed
var values = jsonv2.JoinOptions(
	jsonv2.MatchCaseInsensitiveNames(true),
	jsonv2.Deterministic(true),
	jsonv1.MatchCaseSensitiveDelimiter(true),
	jsonv1.OmitEmptyWithLegacySemantics(true),
	jsonv1.StringifyWithLegacySemantics(true),
	jsonv1.FormatDurationAsNano(true),
	jsonv1.FormatByteArrayAsArray(true),
	jsonv2.WithMarshalers(jsonv2.MarshalToFunc(marshalNumber)),
	jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(unmarshalNumber)),
)

// A json.Number is a number: to the library it would be a string, since it has a Number of
// its own.
func marshalNumber(enc *jsontext.Encoder, n json.Number) error {
	return jsonv1.Number(n).MarshalJSONTo(enc)
}

func unmarshalNumber(dec *jsontext.Decoder, n *json.Number) error {
	return (*jsonv1.Number)(n).UnmarshalJSONFrom(dec)
}

// exact are values for bodies that may have nothing but known members.
//
//nolint:gochecknoglobals // options cannot be changed
var exact = jsonv2.JoinOptions(values, jsonv2.RejectUnknownMembers(true), jsonv2.MatchCaseInsensitiveNames(false))

// Marshal is json.Marshal with sorted keys, without HTML escapes, and with [] and {} for
// nil slices and maps. Text that is not UTF-8 is an error.
func Marshal(v any) ([]byte, error) { return jsonv2.Marshal(v, values) }

// Unmarshal reads one JSON value into v as json.Unmarshal does (names match in any case,
// unknown members are ignored), but strictly, as [Parse] reads frames: use it for bodies
// that come by other ways than a socket. The error is a [*ParseError]: INVALID_JSON for
// bad syntax, else INVALID_MESSAGE with the path of the field that does not fit.
func Unmarshal(data []byte, v any) error {
	if deeper(data, MaxLevels) {
		return errTooDeep()
	}
	return unmarshal(data, v)
}

// UnmarshalExact is Unmarshal for bodies whose every member means something: one that v does
// not have, also by the case of a letter, is INVALID_MESSAGE, so that a misspelt option is not
// ignored.
func UnmarshalExact(data []byte, v any) error {
	if deeper(data, MaxLevels) {
		return errTooDeep()
	}
	return decode(data, v, exact)
}

func unmarshal(data []byte, v any) error { return decode(data, v, values) }

func decode(data []byte, v any, opts jsonv2.Options) error {
	if dst := reflect.ValueOf(v); dst.Kind() != reflect.Pointer || dst.IsNil() {
		return fmt.Errorf("decode into %T, which is not a pointer to something", v)
	}
	err := jsonv2.Unmarshal(data, v, opts)
	if err == nil {
		return nil
	}
	if semantic, ok := errors.AsType[*jsonv2.SemanticError](err); ok {
		return fieldError(semantic)
	}
	return syntaxError(err)
}

// fieldError says in the words of JSON what a value should have been. The text of errors
// from types of other packages is not for clients.
func fieldError(err *jsonv2.SemanticError) *ParseError {
	pe := &ParseError{Code: CodeInvalidMessage, Field: path(err.JSONPointer)}
	subject := pe.Field
	if subject == "" {
		subject = "the value"
	}
	inner, nested := errors.AsType[*ParseError](err.Err)
	switch {
	case nested: // an envelope within
		pe.Code, pe.Message = inner.Code, subject+": "+inner.Message
		if inner.Field != "" {
			pe.Field = strings.TrimPrefix(pe.Field+"."+inner.Field, ".")
		}
	case errors.Is(err.Err, jsonv2.ErrUnknownName):
		pe.Message = subject + " is not known"
	case err.Err == nil:
		pe.Message = subject + " must be " + noun(err.GoType)
	case errors.Is(err.Err, strconv.ErrRange):
		pe.Message = subject + " is out of range"
	case err.GoType != nil && ownType(err.GoType):
		pe.Message = subject + " " + err.Err.Error()
	default:
		pe.Message = subject + " has a value that does not fit"
	}
	return pe
}

// ownType reports whether t is of this package, whose errors are made for clients.
func ownType(t reflect.Type) bool { return t.PkgPath() == reflect.TypeFor[Envelope]().PkgPath() }

func noun(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case nil:
		return "of another type"
	case reflect.TypeFor[json.Number](), reflect.TypeFor[jsonv1.Number]():
		return "a number"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number that is not negative"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return "of another type"
}

// syntaxError says what the JSON parser refused.
func syntaxError(err error) *ParseError {
	pe := &ParseError{Code: CodeInvalidJSON, Message: "invalid JSON"}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		pe.Message = "duplicate key"
		if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			pe.Field = path(syntax.JSONPointer)
		}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		pe.Message = "the JSON ends too early"
	}
	return pe
}

// path writes a JSON pointer with dots.
func path(p jsontext.Pointer) string { return strings.Join(slices.Collect(p.Tokens()), ".") }

// objectReader reads the members of one JSON object in place and can be used again.
type objectReader struct {
	dec *jsontext.Decoder // reads buf
	buf bytes.Buffer
}

func newObjectReader() *objectReader {
	r := new(objectReader)
	r.dec = jsontext.NewDecoder(&r.buf)
	return r
}

// reset drops all references to the bytes that were read.
func (r *objectReader) reset() {
	r.buf = bytes.Buffer{}
	r.dec.Reset(&r.buf)
}

// open starts to read b, which must be an object.
func (r *objectReader) open(b []byte) *ParseError {
	r.buf = *bytes.NewBuffer(b)
	if kind := r.dec.PeekKind(); kind == '{' {
		if _, err := r.dec.ReadToken(); err != nil {
			return syntaxError(err)
		}
		return nil
	}
	if err := r.dec.SkipValue(); err != nil {
		return syntaxError(err)
	}
	return &ParseError{Code: CodeInvalidJSON, Message: "a message must be a JSON object"}
}

// next returns a member: its name, still quoted, and its value. Both are valid until the
// next call. Name is nil after the last member, when nothing but space may follow.
func (r *objectReader) next() (name, value []byte, perr *ParseError) {
	if r.dec.PeekKind() == '}' {
		if _, err := r.dec.ReadToken(); err != nil {
			return nil, nil, syntaxError(err)
		}
		if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, nil, &ParseError{Code: CodeInvalidJSON, Message: "something follows the JSON object"}
		}
		return nil, nil, nil
	}
	name, err := r.dec.ReadValue()
	if err != nil {
		return nil, nil, syntaxError(err)
	}
	// The decoder may forget name at the next read, but its bytes are those of the
	// buffer that it reads in place.
	value, err = r.dec.ReadValue()
	if err != nil {
		return nil, nil, syntaxError(err)
	}
	return name, value, nil
}

// appendString appends the text of a valid quoted JSON string.
func appendString(dst, quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return append(dst, quoted[1:len(quoted)-1]...)
	}
	dst, _ = jsontext.AppendUnquote(dst, quoted) // the error is for what is not valid
	return dst
}

// appendQuoted appends s as a JSON string; it fails if s is not UTF-8.
func appendQuoted[T ~string](dst []byte, s T) ([]byte, error) {
	return jsontext.AppendQuote(dst, string(s))
}

// isValue reports whether raw is one strict JSON value and nothing else.
func isValue(raw json.RawMessage) bool { return jsontext.Value(raw).IsValid() }

// isObject reports whether raw is one strict JSON object and nothing else.
func isObject(raw json.RawMessage) bool { return jsontext.Value(raw).Kind() == '{' && isValue(raw) }
