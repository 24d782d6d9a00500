package server

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/respond"
	"github.com/netra-systems/switchboard/wire"
)

const problemType = "application/problem+json"

// problem is an RFC 9457 problem document: the one shape of all errors below /api. It is
// also the error that handlers return.
type problem struct {
	Type    string         `json:"type" enum:"about:blank"`
	Title   string         `json:"title" doc:"The text of the status"`
	Status  int            `json:"status"`
	Code    wire.Code      `json:"code" doc:"What happened, for programs"`
	Detail  string         `json:"detail" doc:"What happened, for people"`
	Details map[string]any `json:"details,omitempty" doc:"More, such as the field concerned"`

	header http.Header // of the answer, besides the content type
}

func newProblem(status int, code wire.Code, detail string) *problem {
	p := &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail, header: http.Header{}}
	switch {
	case status == http.StatusUnauthorized:
		p.header.Set("WWW-Authenticate", "Bearer")
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		p.with(retryDetail, 1000)
	}
	return p
}

// invalid refuses a field.
func invalid(field, rule string) *problem {
	return newProblem(http.StatusUnprocessableEntity, wire.CodeInvalidMessage, field+" "+rule).with("field", field)
}

// retryDetail is how long to wait, in milliseconds.
const retryDetail = "retry_after_ms"

// with adds a detail. What says how long to wait is said in the header too, in whole seconds.
func (p *problem) with(name string, value any) *problem {
	if p.Details == nil {
		p.Details = map[string]any{}
	}
	p.Details[name] = value
	if name == retryDetail {
		var ms int64
		switch v := value.(type) {
		case int:
			ms = int64(v)
		case int64:
			ms = v
		}
		p.header.Set("Retry-After", strconv.FormatInt(max(1, (ms+999)/1000), 10))
	}
	return p
}

// Error, GetStatus, GetHeaders and ContentType are what huma asks of an error.
func (p *problem) Error() string             { return p.Detail }
func (p *problem) GetStatus() int            { return p.Status }
func (p *problem) GetHeaders() http.Header   { return p.header }
func (p *problem) ContentType(string) string { return problemType }

// write answers with p.
func (p *problem) write(w http.ResponseWriter) {
	body, err := wire.Marshal(p)
	if err != nil { // details that are no JSON
		body = []byte(`{}`)
	}
	maps.Copy(w.Header(), p.header)
	w.Header().Set("Content-Type", problemType)
	_ = respond.Write(w, p.Status, body) // a client that has left needs no answer
}

// sentence is the detail of an error whose own text is not for clients.
func sentence(code wire.Code) string {
	switch code {
	case wire.CodeNotFound:
		return "there is no such thing"
	case wire.CodeForbidden:
		return "that is not allowed"
	case wire.CodeConflict:
		return "it has changed meanwhile"
	case wire.CodeUnavailable, wire.CodeBackendUnavailable, wire.CodeBusy, wire.CodeRateLimited:
		return "try again"
	case wire.CodeRunContract:
		return "run events are published through their run"
	case wire.CodeInvalidMessage:
		return "the message is not valid"
	}
	return strings.ToLower(strings.ReplaceAll(string(code), "_", " "))
}

// problemOf says what a caller is told of err; internal reports whether that is nothing,
// so that the log must have it.
func problemOf(err error) (p *problem, internal bool) {
	if errors.As(err, &p) {
		return p, false
	}
	var parse *wire.ParseError
	if errors.As(err, &parse) {
		p = newProblem(parse.Code.HTTPStatus(), parse.Code, parse.Message)
		if parse.Field != "" {
			p.with("field", parse.Field)
		}
		return p, false
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return newProblem(http.StatusGatewayTimeout, wire.CodeTimeout, "the call took too long"), false
	}
	code := switchboard.CodeOf(err)
	if code == wire.CodeInternal {
		return newProblem(http.StatusInternalServerError, code, "internal error"), true
	}
	p = newProblem(code.HTTPStatus(), code, sentence(code))
	var known *switchboard.Error
	if errors.As(err, &known) {
		p.Detail = known.Message
		for name, value := range known.Details {
			p.with(name, value)
		}
	}
	return p, false
}

// problemOfHuma turns what huma itself refuses, before a handler is called, into the one
// shape of errors.
func problemOfHuma(m *huma.ErrorModel) *problem {
	switch m.Status {
	case http.StatusRequestEntityTooLarge:
		return tooLarge()
	case http.StatusBadRequest:
		return newProblem(m.Status, wire.CodeInvalidJSON, "the body must be a JSON object")
	case http.StatusRequestTimeout:
		return newProblem(m.Status, wire.CodeTimeout, "the body did not come in time")
	case http.StatusUnprocessableEntity:
		if len(m.Errors) > 0 {
			_, field, _ := strings.Cut(m.Errors[0].Location, ".")
			return invalid(field, "is not valid: "+m.Errors[0].Message)
		}
		return newProblem(m.Status, wire.CodeInvalidMessage, m.Detail)
	}
	return newProblem(m.Status, wire.CodeInternal, "internal error")
}

func tooLarge() *problem {
	return newProblem(http.StatusRequestEntityTooLarge, wire.CodeTooLarge, "the body is too large").with("limit", maxBodyBytes)
}
