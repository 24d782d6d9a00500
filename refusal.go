package switchboard

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"strconv"
	"sync"

	"github.com/netra-systems/switchboard/internal/respond"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// retryAfter is what a client without a place waits, in seconds.
const retryAfter = 2

// refusal is an attempt to connect that failed. Why is the name of its counter.
type refusal struct {
	cause error
	why   string
	user  wire.Topic // who is refused; zero: nobody has been proved to be there
}

func (r *refusal) Error() string { return r.why + ": " + r.cause.Error() }

func (r *refusal) Unwrap() error { return r.cause }

// told is what the client hears.
func (r *refusal) told() *Error { return visible(r.cause) }

// closeCode is how a connection ends that was upgraded only to hear the refusal.
func (r *refusal) closeCode() wire.CloseCode {
	switch CodeOf(r.cause) {
	case wire.CodeRateLimited, wire.CodeUnavailable, wire.CodeBusy, wire.CodeTimeout:
		return wire.CloseTryAgain
	case wire.CodeInternal:
		return wire.CloseInternal
	}
	return wire.ClosePolicy
}

// status is the HTTP status of a refusal.
func (r *refusal) status() int {
	switch code := CodeOf(r.cause); code {
	case wire.CodeAuthError, wire.CodeForbidden, wire.CodeRateLimited, wire.CodeInternal:
		return code.HTTPStatus()
	case wire.CodeUnavailable, wire.CodeBusy, wire.CodeTimeout:
		return http.StatusServiceUnavailable
	case wire.CodeTooLarge:
		return http.StatusRequestHeaderFieldsTooLarge
	case wire.CodeInvalidMessage:
		if r.why == whyLastEvent {
			return http.StatusUnprocessableEntity
		}
	}
	return http.StatusBadRequest
}

// retryLater says in the body what Retry-After says in the head, which browsers cannot read.
func retryLater(code Code, text string) *Error {
	return &Error{Code: code, Message: text, Details: map[string]any{"retry_after_ms": 1000 * retryAfter}}
}

func errDraining() *refusal {
	return &refusal{cause: retryLater(wire.CodeUnavailable, "this node is draining"), why: "draining"}
}

func errFull() *refusal {
	return &refusal{cause: retryLater(wire.CodeUnavailable, "this node has no place left"), why: "total_limit"}
}

func errUserFull() *refusal {
	return &refusal{cause: retryLater(wire.CodeRateLimited, "too many connections"), why: "user_limit"}
}

// refused counts and logs a refusal: the one place where that is done.
func (m *Manager) refused(r *http.Request, ref *refusal) {
	m.count.refused.Add(1)
	m.count.refusals.add(ref.why)
	code, address := CodeOf(ref.cause), m.addressOf(r)
	if !isCanary(r.Context()) {
		m.audit(AuditEvent{Action: AuditConnect, Tenant: ref.user.Tenant, User: ref.user.ID, Address: address, Reason: ref.why, Code: code})
	}
	m.noticed(r, ref)
	level := slog.LevelDebug
	if code == wire.CodeInternal {
		level = slog.LevelError
	}
	if !m.log.Enabled(m.life, level) {
		return
	}
	m.log.LogAttrs(context.WithoutCancel(r.Context()), level, "connection refused", slog.String("why", ref.why),
		slog.String("code", string(code)), slog.String("address", address.String()), slog.Any("err", loggable(ref.cause)))
}

// refuse answers a request that becomes no connection.
func (h *handshake) refuse(err error) {
	if bad, ok := errors.AsType[*ws.HandshakeError](err); ok {
		told := &Error{Code: wire.CodeUnsupported, Message: bad.Reason}
		if bad.Status == http.StatusBadRequest {
			told.Code = wire.CodeInvalidMessage
		}
		h.m.refused(h.r, &refusal{cause: told, why: "handshake"})
		maps.Copy(h.w.Header(), bad.Header)
		writeProblem(h.w, bad.Status, told)
		return
	}
	ref, ok := errors.AsType[*refusal](err)
	if !ok {
		ref = &refusal{cause: err, why: "internal"}
	}
	if ref.user == (wire.Topic{}) {
		ref.user = h.user
	}
	h.m.refused(h.r, ref)
	if h.linger(ref) {
		return
	}
	writeRefusal(h.w, ref.status(), ref.told())
}

// writeRefusal is writeProblem with the headers that belong to the status.
func writeRefusal(w http.ResponseWriter, status int, told *Error) {
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", strconv.Itoa(cmp.Or(retrySeconds(told.Details), retryAfter)))
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeProblem(w, status, told)
}

// retrySeconds is what details say of when to try again, in whole seconds; 0: nothing.
func retrySeconds(details map[string]any) int {
	var ms float64
	switch v := details["retry_after_ms"].(type) {
	case int:
		ms = float64(v)
	case int64:
		ms = float64(v)
	case float64:
		ms = v
	}
	return int(math.Ceil(min(ms, 1e9) / 1000))
}

// problem is a problem document (RFC 9457).
type problem struct {
	Type    string         `json:"type"`
	Title   string         `json:"title"`
	Status  int            `json:"status"`
	Code    Code           `json:"code"`
	Detail  string         `json:"detail"`
	Details map[string]any `json:"details,omitempty"`
}

func writeProblem(w http.ResponseWriter, status int, e *Error) {
	body, err := wire.Marshal(problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: e.Code, Detail: e.Message, Details: e.Details,
	})
	if err != nil {
		http.Error(w, http.StatusText(status), status)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	_ = respond.Write(w, status, body, []byte("\n")) // a client that has left needs no answer
}

// gate counts the handshakes that are under way, so that Shutdown can wait for them.
type gate struct {
	mu     sync.Mutex // guards closed against enter
	closed bool
	inside sync.WaitGroup
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside.Add(1)
	return true
}

func (g *gate) leave() { g.inside.Done() }

// shut reports whether nobody is let in any more.
func (g *gate) shut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// close lets nobody in any more.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}
